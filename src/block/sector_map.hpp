// Which sectors of a disk are in its private layer, and which are still the image's. A sector is the smallest thing
// that a guest reads or writes (virtio 1.2, 5.2.6), so no write covers part of one, and nothing is ever copied from the
// image to the layer.
//
// Pure: one thread, no I/O.
#pragma once

#include "base/error.hpp"
#include "base/host.hpp"
#include "base/units.hpp"

#include <cstdint>
#include <memory>
#include <utility>

namespace aerate {

class SectorMap {
public:
    /// All of a disk of that many bytes is the image's. A bit for each sector, whose memory is spent where it is set:
    /// at most size / 4096 bytes. Fails when the host refuses it.
    [[nodiscard]] static Result<SectorMap> create(ByteCount size);

    struct Run {
        bool in_layer = false;
        std::uint64_t length = 0; ///< bytes
    };
    /// Returns where the byte at `offset` is, and how many of the `length` from there on are in the same place.
    /// REQUIRES: they are within the disk, and not none.
    [[nodiscard]] Run first_run(std::uint64_t offset, std::uint64_t length) const;

    /// Takes these bytes for the layer's. What begins within a sector continues a write that was cut short there, and a
    /// sector whose end was not written is still the image's. REQUIRES: they are within the disk.
    void take(std::uint64_t offset, std::uint64_t length);

private:
    using Words = std::unique_ptr<std::uint64_t[], host::FreeMemory>;

    SectorMap(std::uint64_t sectors, Words bits)
        : sectors_(sectors)
        , bits_(std::move(bits)) {}
    [[nodiscard]] bool test(std::uint64_t sector) const;

    std::uint64_t sectors_;
    Words bits_;
};

} // namespace aerate
