// Where the guest's serial console goes.
#pragma once

#include "control/status.hpp"
#include "platform/console_socket.hpp"
#include "platform/output_sink.hpp"

#include <memory>

namespace aerate {

struct ConsoleOptions {
    /// A terminal's input comes from this process's standard input, raw while the guest has it.
    control::ConsoleKind kind = control::ConsoleKind::none;
    /// Belongs to the process, which lends it to one machine after the other: a guest's reset is not visible in it.
    std::shared_ptr<ConsoleOutput> output = std::make_shared<OutputSink>();
    std::shared_ptr<ConsoleSocket> socket{}; ///< the output, when it is a socket: input comes from there
};

} // namespace aerate
