// Where the guest's serial console goes.
#pragma once

#include <cstdint>
#include <string>

namespace aerate {

struct ConsoleOptions {
    enum class Kind : std::uint8_t {
        stdio, ///< this process's terminal, raw while the guest has it
        none,  ///< discarded
        file,  ///< `path`, truncated; no input
    };
    Kind kind = Kind::stdio;
    std::string path;
};

} // namespace aerate
