#include "memory/own_maps.hpp"

#include "base/host.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace aerate {
namespace {

class OwnFile {
public:
    explicit OwnFile(const char* path)
        : path_(path) {}

    void keep() {
        if (kept_.valid() && process_ == ::getpid())
            return;
        kept_ = open();
        process_ = ::getpid();
    }
    [[nodiscard]] FileDescriptor get() const {
        // A child would find its parent's memory in what it inherits.
        if (process_ != ::getpid())
            return open();
        return host::descriptor([this] { return ::fcntl(kept_.get(), F_DUPFD_CLOEXEC, 0); });
    }

private:
    [[nodiscard]] FileDescriptor open() const {
        return host::descriptor([this] { return ::open(path_, O_RDONLY | O_CLOEXEC); });
    }

    const char* path_;
    FileDescriptor kept_;
    pid_t process_ = 0;
};

OwnFile& pagemap() {
    static OwnFile file("/proc/self/pagemap");
    return file;
}

OwnFile& smaps() {
    static OwnFile file("/proc/self/smaps");
    return file;
}

} // namespace

void keep_own_maps() {
    pagemap().keep();
    smaps().keep();
}

FileDescriptor own_pagemap() {
    return pagemap().get();
}

FileDescriptor own_smaps() {
    return smaps().get();
}

} // namespace aerate
