// A disk's bytes on the host: a raw image file or a block device, locked against other users of the same image; or such
// an image that many share, and a private layer over it for what one guest writes.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/granted_directory.hpp"
#include "base/units.hpp"
#include "block/disk_identity.hpp"
#include "block/image_lock.hpp"
#include "block/io_engine.hpp"
#include "block/private_layer.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace aerate {

/// What becomes of a request that the host's disk fails.
enum class OnDiskError : std::uint8_t {
    report, ///< the guest gets an I/O error, and decides
    pause,  ///< the request waits and is tried again: the guest sees a slow disk, which goes on when the host has room
};

struct DiskOptions {
    std::string path;
    std::string label{}; ///< for messages: "drive rootfs of vm1"; the path unless stated
    OnDiskError on_error = OnDiskError::report;
    bool read_only = false;
    bool direct = false; ///< O_DIRECT: past the host's page cache
    /// What is written goes to a PrivateLayer, and the image is opened for reading only, beside others who read it.
    bool is_private = false;
    std::string private_directory{}; ///< where the layer's file is; empty: beside the image
    bool arriving = false;           ///< another monitor has it, and its guest comes here: see DiskImage::arrive()
    /// Its guest has run with it before: what it has written at the beginning of its disk says nothing of the image.
    bool resumed = false;
    /// Set when the path came from outside: it is opened below this directory or not at all.
    const GrantedDirectory* within = nullptr;
};

class DiskImage {
public:
    /// Locks it for as long as it is open, as block/image_lock.hpp says: for itself alone, or beside other readers when
    /// read-only or private; when arriving, against new writers only. Refuses images that the guest would not see as
    /// they are.
    [[nodiscard]] static Result<DiskImage> open(const DiskOptions&);

    /// Returns whether this file lies at the path. It could not be opened there once more: this holds its lock.
    [[nodiscard]] bool is_at(const std::string& path) const;
    /// Returns an image of the same open file, and its lock, with the size that the file has now. REQUIRES:
    /// is_at(path), and it is not private.
    [[nodiscard]] Result<DiskImage> again(const std::string& path) const;

    /// Puts what was written on its way to the disk, and waits for it. Any thread.
    [[nodiscard]] Result<> sync() const;
    /// Syncs, and writes no more: while a guest moves, two monitors have its disk open, and only one of them runs it. A
    /// third cannot take the disk meanwhile. When it fails the disk is still this monitor's.
    [[nodiscard]] Result<> hand_over() const;
    /// Takes what the other monitor has handed over, and forgets what this host may have read of it before. Fails while
    /// somebody else writes it.
    [[nodiscard]] Result<> arrive() const;
    /// Undoes hand_over(): the guest stays.
    [[nodiscard]] Result<> take_back() const;

    /// Returns what reads and writes the disk, for `depth` operations at once. The image outlives it.
    [[nodiscard]] Result<std::unique_ptr<IoEngine>> make_engine(IoEngineKind, unsigned depth) const;
    /// Whether the image gets what the guest writes, and has to be synced and handed over.
    [[nodiscard]] bool writes_image() const { return !read_only_ && layer_ == nullptr; }
    /// Returns null unless it is private. Its owner is the thread of the disk's guest.
    [[nodiscard]] PrivateLayer* layer() const { return layer_.get(); }

    /// Returns the image's; a private layer has one of its own.
    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] bool read_only() const { return read_only_; }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] const std::string& label() const { return label_; }
    [[nodiscard]] OnDiskError on_error() const { return on_error_; }
    /// Returns what a snapshot keeps of the image.
    [[nodiscard]] Result<DiskIdentity> identity() const { return DiskIdentity::of(fd_.get(), size_.value); }
    /// A multiple of block_size().
    [[nodiscard]] ByteCount size() const { return size_; }
    /// Returns what lengths and offsets must be multiples of for direct I/O; 512 without it.
    [[nodiscard]] std::uint32_t block_size() const { return block_size_; }

private:
    DiskImage(FileDescriptor fd, const DiskOptions& options, ByteCount size, std::uint32_t block_size,
              std::unique_ptr<PrivateLayer> layer)
        : fd_(std::move(fd))
        , path_(options.path)
        , label_(described(options))
        , on_error_(options.on_error)
        , read_only_(options.read_only)
        , size_(size)
        , block_size_(block_size)
        , layer_(std::move(layer)) {}
    [[nodiscard]] static std::string described(const DiskOptions&);
    [[nodiscard]] ImageLock lock() const { return ImageLock(fd_.get()); }
    [[nodiscard]] Result<> about(Result<>) const;

    FileDescriptor fd_;
    std::string path_;
    std::string label_;
    OnDiskError on_error_;
    bool read_only_;
    ByteCount size_;
    std::uint32_t block_size_;
    std::unique_ptr<PrivateLayer> layer_; ///< borrows fd_
};

} // namespace aerate
