// A cgroup (v2) for each VM's monitor, below a directory that the daemon may write: its floor is protected from the
// host's reclaim (memory.low), and when the host is at its last a VM is slowed down that takes more than it has
// (memory.high), which kills nobody. Documentation/admin-guide/cgroup-v2.rst.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"
#include "host/host_memory.hpp"

#include <optional>
#include <string>

namespace aerate::hostd {

/// The cgroup of one VM; removed when it is empty and this goes.
class VmCgroup {
public:
    explicit VmCgroup(std::string path)
        : path_(std::move(path)) {}
    VmCgroup(VmCgroup&& other) noexcept
        : path_(std::exchange(other.path_, {})) {}
    VmCgroup& operator=(VmCgroup&&) = delete;
    ~VmCgroup();

    /// Has the kernel protect `floor`.
    void protect(ByteCount floor);
    /// Slows the VM down beyond what it has now; false: lets it go.
    void brake(bool on, ByteCount resident);
    [[nodiscard]] std::optional<Pressure> pressure() const;
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
    std::optional<ByteCount> floor_{};
    bool braked_ = true; ///< or was, by a daemon that died: the first look lets it go
};

class Cgroups {
public:
    /// Prepares `parent`, or without one a cgroup beside the daemon's own. Fails where that is no cgroup v2, or was not
    /// delegated: the message says what to do.
    [[nodiscard]] static Result<Cgroups> below(const std::string& parent);
    /// Moves the process into a cgroup of the VM's. REQUIRES: the name is valid.
    [[nodiscard]] Result<VmCgroup> adopt(const std::string& name, int pid) const;
    [[nodiscard]] const std::string& parent() const { return parent_; }

private:
    explicit Cgroups(std::string parent)
        : parent_(std::move(parent)) {}
    std::string parent_;
};

} // namespace aerate::hostd
