// The flags of "aerate migrate" and "aerate receive" that say who the other side must be.
#pragma once

#include "migration/link/tls.hpp"

namespace CLI {
class App;
}

namespace aerate {

/// `into` must live until the command line is parsed.
void add_protection_flags(CLI::App&, migration::Protection& into);

} // namespace aerate
