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
    /// An error when the name is not one. Whether the VM is there shows at the first call.
    [[nodiscard]] static Result<RunningVm> named(const std::string& name,
                                                 std::chrono::milliseconds deadline = std::chrono::seconds(5));

    /// Client::call() with an error that says so when there is no such VM.
    [[nodiscard]] Result<std::string> call(std::string_view method, std::string_view target,
                                           std::string_view body = {}) const;
    [[nodiscard]] Result<control::VmStatus> status() const;

private:
    RunningVm(std::string name, control::Client client)
        : name_(std::move(name))
        , client_(std::move(client)) {}
    std::string name_;
    control::Client client_;
};

/// All that answer, sorted by name. Sockets of dead processes are passed over; those of monitors that do not answer in
/// time are named in `silent`.
struct RunningVms {
    std::vector<control::VmStatus> answered;
    std::vector<std::string> silent;
};
[[nodiscard]] RunningVms survey(std::chrono::milliseconds deadline);

} // namespace aerate
