// Takes the monitor's own keys out of what is typed to the guest: Ctrl-A, then a letter.
#pragma once

#include <cstddef>
#include <optional>

namespace aerate {

class EscapeKeys {
public:
    enum class Command { quit, detach, help };
    struct Result {
        std::optional<std::byte> to_guest;
        std::optional<Command> command;
    };

    static constexpr const char* help_text = "\r\nCtrl-A x  stop the virtual machine\r\n"
                                             "Ctrl-A a  send Ctrl-A to the guest\r\n"
                                             "Ctrl-A h  this help\r\n";

    [[nodiscard]] Result typed(std::byte key) {
        constexpr std::byte control_a{0x01};
        if (!escaped_) {
            escaped_ = key == control_a;
            return escaped_ ? Result{} : Result{key, {}};
        }
        escaped_ = false;
        switch (static_cast<char>(key)) {
        case 'x':
            return {{}, Command::quit};
        case 'd':
            return {{}, Command::detach};
        case 'h':
        case '?':
            return {{}, Command::help};
        case 'a':
        case '\x01':
            return {control_a, {}};
        default:
            return {};
        }
    }

private:
    bool escaped_ = false;
};

} // namespace aerate
