// A diff can be restored only with all that it is a diff of.
#pragma once

#include "base/error.hpp"
#include "snapshot/writer.hpp"

namespace aerate::snapshot {

/// Fails when the diff that would be written with these options could not be restored: its parent is not beside it, is
/// another one by now or has another key; the chain would be too long; or the file would take the place of an ancestor.
/// REQUIRES: there is a parent.
[[nodiscard]] Result<> check_chain(const Writer::Options&);

} // namespace aerate::snapshot
