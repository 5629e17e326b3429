// The sockets at which front-ends are awaited: made here, or handed over by the service manager (sd_listen_fds(3)).
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/unix_listener.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace aerate {

class VhostUserListener {
public:
    /// Replaces a socket that no process listens on. Mode 0600, or 0666 with `for_others`: who may connect is then up
    /// to whoever accepts. Removes the file in the end. Guests are called by the file's name, without what follows its
    /// last dot.
    [[nodiscard]] static Result<VhostUserListener> create(const std::filesystem::path&, bool for_others);
    /// Returns the descriptors that the service manager passes to this process, whatever they are.
    [[nodiscard]] static std::vector<int> numbers_handed_over();
    /// Returns the sockets that the service manager passes to this process, named by FileDescriptorName. None if it
    /// does not; the second call finds none either.
    [[nodiscard]] static Result<std::vector<VhostUserListener>> handed_over();
    VhostUserListener(VhostUserListener&&) noexcept = default;
    VhostUserListener& operator=(VhostUserListener&&) = delete;

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const std::string& name() const { return name_; }

private:
    VhostUserListener(FileDescriptor fd, std::string name)
        : fd_(std::move(fd))
        , name_(std::move(name)) {}
    FileDescriptor fd_;
    std::string name_;
    std::optional<SocketFile> file_; ///< nothing: not ours
};

} // namespace aerate
