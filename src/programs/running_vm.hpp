// Reaching a VM by its name.
#pragma once

#include "base/error.hpp"
#include "control/client.hpp"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace aerate {

class RunningVm {
public:
    /// Fails when the name is not one. Whether the VM is there shows at the first call.
    [[nodiscard]] static Result<RunningVm> named(const std::string& name,
                                                 std::chrono::milliseconds deadline = std::chrono::seconds(5));

    /// Does the same for a command line "COMMAND NAME OTHER". Where NAME is no VM and OTHER is one, the error says that
    /// they are the wrong way round.
    [[nodiscard]] static Result<RunningVm> first_of(const std::string& name, const std::string& other,
                                                    std::chrono::milliseconds deadline = std::chrono::seconds(5));

    /// Calls Client::call(), with an error that says so when there is no such VM.
    [[nodiscard]] Result<std::string> call(std::string_view method, std::string_view target,
                                           std::string_view body = {}) const;
    /// Calls Client::send(), likewise.
    template <typename T>
    [[nodiscard]] Result<typename T::Answer> send(const T& request) const {
        return explained(client_.send(request));
    }
    [[nodiscard]] Result<control::VmStatus> status() const { return send(control::GetStatus{}); }

private:
    RunningVm(std::string name, control::Client client)
        : name_(std::move(name))
        , client_(std::move(client)) {}
    /// Says that there is no such VM, where that is why there was no answer.
    template <typename T>
    [[nodiscard]] Result<T> explained(Result<T> answer) const {
        if (!answer)
            return std::unexpected(explained(std::move(answer).error()));
        return answer;
    }
    [[nodiscard]] Error explained(Error) const;

    std::string name_;
    control::Client client_;
};

/// All that answer, sorted by name. Sockets of dead processes are passed over; those of monitors that do not answer in
/// time are named in `silent`.
struct RunningVms {
    std::vector<control::VmStatus> answered;
    std::vector<std::string> silent;
};
[[nodiscard]] RunningVms query_running_vms(std::chrono::milliseconds deadline);

} // namespace aerate
