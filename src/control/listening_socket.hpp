// The control socket's file: claimed by one process, and removed with it.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <sys/types.h>

#include <filesystem>

namespace aerate::control {

class ListeningSocket {
public:
    /// See Server::create().
    [[nodiscard]] static Result<ListeningSocket> create(const std::filesystem::path&);
    ListeningSocket(ListeningSocket&&) noexcept = default;
    ListeningSocket& operator=(ListeningSocket&&) = delete;
    /// Removes the file, if it is still ours.
    ~ListeningSocket();
    [[nodiscard]] int fd() const { return fd_.get(); }

private:
    ListeningSocket(FileDescriptor fd, std::filesystem::path path, dev_t device, ino_t inode)
        : fd_(std::move(fd))
        , path_(std::move(path))
        , device_(device)
        , inode_(inode) {}
    FileDescriptor fd_;
    std::filesystem::path path_;
    dev_t device_;
    ino_t inode_;
};

/// Whether somebody listens at `path`.
[[nodiscard]] bool answers(const std::filesystem::path& path);

/// A socket connected to `path`; errno is ECONNREFUSED when nobody listens there any more.
[[nodiscard]] Result<FileDescriptor> connect_to(const std::filesystem::path& path);

} // namespace aerate::control
