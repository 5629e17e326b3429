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

    /// Does nothing the second time, for the guest that comes after a reset: this process may no longer open it.
    void keep() {
        if (process_ == ::getpid() && kept_.valid())
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

OwnFile& statm() {
    static OwnFile file("/proc/self/statm");
    return file;
}

} // namespace

void keep_own_maps() {
    pagemap().keep();
    smaps().keep();
    statm().keep();
}

FileDescriptor own_pagemap() {
    return pagemap().get();
}

FileDescriptor own_smaps() {
    return smaps().get();
}

FileDescriptor own_statm() {
    return statm().get();
}

} // namespace aerate
