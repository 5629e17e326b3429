// What a guest writes to a disk that is its own while the image beneath it is shared: a file without a name, which the
// host forgets with the monitor, however that ends.
//
// Where the file system can, the file begins as a clone of the image that shares its blocks (FICLONE), and is all of
// the disk from then on. Where it cannot, the file is empty, and a SectorMap says what is in it. The image is never
// written.
#pragma once

#include "base/fd.hpp"
#include "block/io_engine.hpp"
#include "block/sector_map.hpp"

#include <memory>
#include <optional>
#include <utility>

namespace aerate {

class PrivateLayer {
public:
    /// Makes the layer of an open image of that many bytes, in an open directory.
    [[nodiscard]] static Result<std::unique_ptr<PrivateLayer>> create(int image, int directory, ByteCount size);

    [[nodiscard]] int fd() const { return file_.get(); }
    /// Borrowed; the image's owner closes it.
    [[nodiscard]] int image() const { return image_; }
    /// Whether it is a clone of the image.
    [[nodiscard]] bool cloned() const { return !map_; }
    /// Whether the disk may differ from its image.
    [[nodiscard]] bool written() const { return written_; }

    // By the engine, on the thread of the disk's guest.
    [[nodiscard]] SectorMap::Run first_run(std::uint64_t offset, std::uint64_t length) const {
        return map_ ? map_->first_run(offset, length) : SectorMap::Run{.in_layer = true, .length = length};
    }
    void about_to_write() { written_ = true; }
    void wrote(std::uint64_t offset, std::uint64_t length) {
        if (map_)
            map_->take(offset, length);
    }

private:
    PrivateLayer(int image, FileDescriptor file, std::optional<SectorMap> map)
        : image_(image)
        , file_(std::move(file))
        , map_(std::move(map)) {}

    int image_;
    FileDescriptor file_;
    std::optional<SectorMap> map_;
    bool written_ = false;
};

/// Returns an engine that reads each part of the disk from where it is, and writes the layer only. A read ends early
/// where the disk goes on in the other file, as any read may. Takes an engine for the layer's file and `depth`
/// operations; the layer outlives both.
[[nodiscard]] std::unique_ptr<IoEngine> make_private_engine(std::unique_ptr<IoEngine>, PrivateLayer&, unsigned depth);

} // namespace aerate
