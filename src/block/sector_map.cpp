#include "block/sector_map.hpp"

#include "base/check.hpp"
#include "block/block_request.hpp"

#include <algorithm>
#include <bit>

namespace aerate {
namespace {

constexpr std::uint64_t word_bits = 64;

} // namespace

Result<SectorMap> SectorMap::create(ByteCount size) {
    const std::uint64_t sectors = size.value / sector_size;
    Words bits = host::zeroed<std::uint64_t>((sectors + word_bits - 1) / word_bits);
    if (bits == nullptr)
        return fail("the host has no memory for the map of its {} sectors", sectors);
    return SectorMap(sectors, std::move(bits));
}

bool SectorMap::test(std::uint64_t sector) const {
    return ((bits_[sector / word_bits] >> (sector % word_bits)) & 1) != 0;
}

SectorMap::Run SectorMap::first_run(std::uint64_t offset, std::uint64_t length) const {
    const std::uint64_t end = offset + length;
    const std::uint64_t last = (end - 1) / sector_size;
    std::uint64_t sector = offset / sector_size;
    CHECK(length > 0 && end > offset && last < sectors_);
    const bool in_layer = test(sector);
    while (sector <= last) {
        const std::uint64_t word = bits_[sector / word_bits] >> (sector % word_bits);
        const auto same = static_cast<std::uint64_t>(std::countr_zero(in_layer ? ~word : word));
        const std::uint64_t left = word_bits - sector % word_bits;
        sector += std::min(same, left);
        if (same < left)
            break;
    }
    return {.in_layer = in_layer, .length = std::min(end, sector * sector_size) - offset};
}

void SectorMap::take(std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t end = (offset + length) / sector_size;
    CHECK(end <= sectors_);
    for (std::uint64_t sector = offset / sector_size; sector < end;) {
        const std::uint64_t shift = sector % word_bits;
        const std::uint64_t count = std::min(word_bits - shift, end - sector);
        bits_[sector / word_bits] |= (~0ULL >> (word_bits - count)) << shift;
        sector += count;
    }
}

} // namespace aerate
