// A blocking client of the control interface, for the command line. One connection a call; no call outlives its
// deadline.
#pragma once

#include "base/error.hpp"
#include "control/status.hpp"

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

    /// The body of a 2xx answer. Any other answer is an error with its fault message; so is a VM that does not answer.
    [[nodiscard]] Result<std::string> call(std::string_view method, std::string_view target,
                                           std::string_view body = {}) const;
    /// Whatever the VM answers.
    [[nodiscard]] Result<Answer> exchange(std::string_view method, std::string_view target,
                                          std::string_view body = {}) const;
    [[nodiscard]] Result<VmStatus> status() const;

private:
    std::filesystem::path socket_;
    std::chrono::milliseconds deadline_;
};

} // namespace aerate::control
