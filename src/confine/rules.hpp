// The rules of a kind of thread and of those that it starts, gathered by call.
#pragma once

#include "confine/thread_kind.hpp"

#include <vector>

namespace aerate::confine {

struct CallRules {
    long number = 0;
    bool always = false;         ///< whatever its arguments are
    int refusal = 0;             ///< what it fails with where no check lets it through; 0: it is fatal
    std::vector<Check> checks{}; ///< one that holds is enough; none if `always`
};

/// In the order in which they are first named.
[[nodiscard]] std::vector<CallRules> gather(const ThreadKind&);

} // namespace aerate::confine
