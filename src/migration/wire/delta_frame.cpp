#include "migration/wire/delta_frame.hpp"

#include "base/check.hpp"
#include "migration/wire/bytes.hpp"
#include "migration/wire/frame.hpp"

#include <lz4.h>

#include <algorithm>
#include <array>

namespace aerate::migration {
namespace {

constexpr std::size_t deltas_at = frame_header_size + 4;
constexpr std::size_t delta_header = 20;
constexpr std::size_t largest_deltas = deltas_at + frame_deltas * (delta_header + longest_delta);
static_assert(largest_deltas <= frame_header_size + max_payload);

using PageContent = std::array<std::byte, page_size.value>;

/// Computes a ^ b; `into` may be one of them. Works on words, so that it is vectorised.
void exclusive_or(std::span<const std::byte> a, std::span<const std::byte> b, std::span<std::byte> into) {
    for (std::size_t i = 0; i < page_size.value; ++i)
        into[i] = a[i] ^ b[i];
}

} // namespace

bool DeltaFrameBuilder::add(FrameNumber page, std::span<std::byte> base, std::span<const std::byte> now) {
    CHECK(!full() && base.size() == page_size.value && now.size() == page_size.value);
    if (count_ == 0) {
        frame_.resize(largest_deltas);
        length_ = deltas_at;
    }
    PageContent difference;
    exclusive_or(base, now, difference);
    const auto into = std::span(frame_).subspan(length_ + delta_header, longest_delta);
    const int packed =
        LZ4_compress_default(reinterpret_cast<const char*>(difference.data()), reinterpret_cast<char*>(into.data()),
                             static_cast<int>(difference.size()), static_cast<int>(into.size()));
    if (packed <= 0)
        return false;
    ByteWriter writer(std::span<std::byte>(frame_).subspan(length_));
    writer.put(page.value);
    writer.put(checksum(base));
    writer.put(static_cast<std::uint32_t>(packed));
    std::ranges::copy(now, base.begin());
    length_ += delta_header + static_cast<std::size_t>(packed);
    ++count_;
    return true;
}

std::span<std::byte> DeltaFrameBuilder::finish() {
    ByteWriter(std::span<std::byte>(frame_).subspan(frame_header_size)).put(static_cast<std::uint32_t>(count_));
    count_ = 0;
    return std::span(frame_).first(length_);
}

Result<std::vector<Delta>> parse_deltas(std::span<const std::byte> payload) {
    ByteReader reader(payload);
    const auto count = reader.take<std::uint32_t>();
    if (count == 0 || count > frame_deltas)
        return fail("a frame of {} deltas: 1 to {} are allowed", count, frame_deltas);
    std::vector<Delta> deltas;
    deltas.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        Delta delta;
        delta.page = {reader.take<std::uint64_t>()};
        delta.base_sum = reader.take<std::uint64_t>();
        const auto length = reader.take<std::uint32_t>();
        if (length == 0 || length > longest_delta)
            return fail("a delta of {} bytes: 1 to {} are allowed", length, longest_delta);
        delta.packed = reader.take_bytes(length);
        deltas.push_back(delta);
    }
    if (!reader.complete())
        return fail("a frame of deltas does not hold what it says");
    return deltas;
}

bool apply_delta(const Delta& delta, std::span<std::byte> page) {
    PageContent difference;
    if (checksum(page) != delta.base_sum ||
        LZ4_decompress_safe(reinterpret_cast<const char*>(delta.packed.data()),
                            reinterpret_cast<char*>(difference.data()), static_cast<int>(delta.packed.size()),
                            static_cast<int>(difference.size())) != static_cast<int>(difference.size()))
        return false;
    exclusive_or(page, difference, page);
    return true;
}

} // namespace aerate::migration
