#include "memory/own_maps.hpp"

#include "base/host.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <mutex>

namespace aerate {
namespace {

/// A child would find its parent's memory in what it inherits.
class OwnFile {
public:
    explicit OwnFile(const char* path)
        : path_(path) {}

    const FileDescriptor& get() {
        const std::lock_guard lock(mutex_);
        if (!file_.valid() || process_ != ::getpid()) {
            file_ = host::descriptor([this] { return ::open(path_, O_RDONLY | O_CLOEXEC); });
            process_ = ::getpid();
        }
        return file_;
    }

private:
    const char* path_;
    std::mutex mutex_;
    FileDescriptor file_;
    pid_t process_ = 0;
};

} // namespace

const FileDescriptor& own_pagemap() {
    static OwnFile file("/proc/self/pagemap");
    return file.get();
}

const FileDescriptor& own_smaps() {
    static OwnFile file("/proc/self/smaps");
    return file.get();
}

} // namespace aerate
