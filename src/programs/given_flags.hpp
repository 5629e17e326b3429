// --record and --lease of the commands that start a VM which a move may have given away.
#pragma once

#include "base/error.hpp"

#include <string>

namespace CLI {
class App;
}

namespace aerate {

struct GivenFlags {
    std::string record{}; ///< directory of notes that a VM was given away; empty: nobody looks
    std::string lease{};  ///< of the moves that wrote them
};

/// `flags` outlives the parsing.
void add_given_flags(CLI::App& command, GivenFlags& flags);

/// Fails if the flags do not go together. `name` is the VM's, empty if none was given.
[[nodiscard]] Result<> check_usage(const GivenFlags&, const std::string& name);
/// Fails if a move has given the VM away and it may run elsewhere.
[[nodiscard]] Result<> check_not_given(const GivenFlags&, const std::string& name);

} // namespace aerate
