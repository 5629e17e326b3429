// The devices that a monitor may open in a jail.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <sys/types.h>

#include <string>
#include <vector>

namespace aerate::jail {

struct Device {
    std::string directory; ///< below dev; empty: dev itself
    std::string name;
    dev_t number;
    bool required; ///< a monitor can do without the others

    [[nodiscard]] std::string path() const { return "/dev/" + (directory.empty() ? name : directory + "/" + name); }
};

/// Returns those that this host has: /dev/kvm, /dev/net/tun, /dev/urandom, /dev/userfaultfd.
[[nodiscard]] std::vector<Device> devices();

/// Makes its node in that directory, and opens it (O_PATH).
[[nodiscard]] Result<FileDescriptor> make_node(const Device&, int directory);
/// Mounts the host's device over an empty file there. Fails if this user may not open it and it is required; if it is
/// not, it is left out.
[[nodiscard]] Result<> bind_node(const Device&, int directory);

} // namespace aerate::jail
