// A blocking client of the control interface, for the command line. One connection a call.
//
// A question outlives no deadline. What changes something is waited for as long as the VM answers other questions:
// each operation ends by itself, and a client that gave up earlier would leave it under way.
#pragma once

#include "base/error.hpp"
#include "control/request.hpp"

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

namespace aerate::control {

class Client {
public:
    struct Answer {
        unsigned status = 0;
        std::string body;
    };

    explicit Client(std::filesystem::path socket, std::chrono::milliseconds deadline = std::chrono::seconds(5))
        : socket_(std::move(socket))
        , deadline_(deadline) {}

    /// Returns the body of a 2xx answer. Any other answer is an error with its fault message; so is a VM that does not
    /// answer.
    [[nodiscard]] Result<std::string> call(std::string_view method, std::string_view target,
                                           std::string_view body = {}) const;
    /// Returns whatever the VM answers.
    [[nodiscard]] Result<Answer> exchange(std::string_view method, std::string_view target,
                                          std::string_view body = {}) const;
    /// Sends a request that says itself where it goes, and reads what it says comes back: client.send(Sweep{}).
    template <typename T>
    [[nodiscard]] Result<typename T::Answer> send(const T& request) const;
    [[nodiscard]] Result<VmStatus> status() const { return send(GetStatus{}); }

private:
    std::filesystem::path socket_;
    std::chrono::milliseconds deadline_;
};

} // namespace aerate::control
