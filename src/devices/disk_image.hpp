// A disk's bytes on the host: a raw image file or a block device, locked against other users of the same image.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"

#include <cstdint>
#include <string>

namespace aerate {

struct DiskOptions {
    std::string path;
    bool read_only = false;
    bool direct = false;   ///< O_DIRECT: past the host's page cache
    bool arriving = false; ///< another monitor has it, and its guest comes here: see DiskImage::arrive()
};

class DiskImage {
public:
    /// Takes an open file description lock for as long as the image is open: shared when read-only, else exclusive;
    /// none when it is arriving.
    [[nodiscard]] static Result<DiskImage> open(const DiskOptions&);

    /// While a guest moves, two monitors have its disk open, and only one of them runs it. Both hold a shared lock
    /// then, so that at no moment a third could take the disk.
    void share() const;
    /// The other monitor has share()d it. Forgets what this host may have read of it before.
    [[nodiscard]] Result<> arrive() const;
    /// Back to an exclusive lock; if the other side still has its own, the shared one stays and does.
    void take_back() const;

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] bool read_only() const { return read_only_; }
    /// A multiple of 512; a file's odd tail is out of the guest's reach.
    [[nodiscard]] ByteCount size() const { return size_; }
    /// What direct I/O needs lengths and offsets to be multiples of; 512 without.
    [[nodiscard]] std::uint32_t block_size() const { return block_size_; }

private:
    DiskImage(FileDescriptor fd, bool read_only, ByteCount size, std::uint32_t block_size)
        : fd_(std::move(fd))
        , read_only_(read_only)
        , size_(size)
        , block_size_(block_size) {}
    FileDescriptor fd_;
    bool read_only_;
    ByteCount size_;
    std::uint32_t block_size_;
};

} // namespace aerate
