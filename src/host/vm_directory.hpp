// Which VMs there are: the names that have a socket in the runtime directory, and word of each change (inotify).
//
// On the loop's thread.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "event/event_loop.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace aerate::hostd {

class VmDirectory {
public:
    /// `changed` is called after names have come, gone, or been taken by other processes. Fails if there is no such
    /// directory, or the host gives no watch.
    [[nodiscard]] static Result<std::unique_ptr<VmDirectory>> watch(EventLoop&, std::filesystem::path,
                                                                    std::function<void()> changed);
    /// Returns the names, sorted: at most as many as the law takes, the first of them.
    [[nodiscard]] std::vector<std::string> names() const;
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    VmDirectory(std::filesystem::path path, FileDescriptor inotify, std::function<void()> changed)
        : path_(std::move(path))
        , inotify_(std::move(inotify))
        , changed_(std::move(changed)) {}
    void read();

    std::filesystem::path path_;
    FileDescriptor inotify_;
    std::function<void()> changed_;
    Subscription readable_;
};

} // namespace aerate::hostd
