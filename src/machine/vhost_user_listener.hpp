// The sockets at which front-ends are awaited: made here, or handed over by the service manager (sd_listen_fds(3)).
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace aerate {

class VhostUserListener {
public:
    /// Takes the place of a socket that nobody listens on. Mode 0600, or 0666 with `for_others`: who may connect is
    /// then up to whoever accepts. Guests are called by the file's name, without what follows its last dot.
    [[nodiscard]] static Result<VhostUserListener> create(const std::filesystem::path&, bool for_others);
    /// What the service manager hands over to this process, each called by its FileDescriptorName. None if it does not;
    /// the second call finds none either.
    [[nodiscard]] static Result<std::vector<VhostUserListener>> handed_over();
    VhostUserListener(VhostUserListener&&) noexcept = default;
    VhostUserListener& operator=(VhostUserListener&&) = delete;
    /// Removes the file, if it is still ours.
    ~VhostUserListener();

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const std::string& name() const { return name_; }

private:
    VhostUserListener(FileDescriptor fd, std::string name)
        : fd_(std::move(fd))
        , name_(std::move(name)) {}
    FileDescriptor fd_;
    std::string name_;
    std::filesystem::path path_; ///< empty: not our file
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

} // namespace aerate
