#include "migration/wire/frame.hpp"

#include "base/check.hpp"
#include "base/endian.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>

namespace aerate::migration {
namespace {

constexpr std::size_t kind_at = 4;
constexpr std::size_t stream_at = 5;
constexpr std::size_t reserved_at = 6;
constexpr std::size_t length_at = 8;
constexpr std::size_t header_sum_at = 12;
constexpr std::size_t sequence_at = 16;
constexpr std::size_t session_at = 24;
constexpr std::size_t payload_sum_at = 40;

using Header = std::array<std::byte, frame_header_size>;

std::uint32_t header_sum(Header header) {
    store_little_endian<std::uint32_t>(std::span(header).subspan(header_sum_at), 0);
    return static_cast<std::uint32_t>(checksum(header));
}

} // namespace

std::uint64_t checksum(std::span<const std::byte> bytes) {
    return XXH3_64bits(bytes.data(), bytes.size());
}

std::string_view name_of(FrameKind kind) {
    static constexpr std::array<std::string_view, frame_kinds> names{
        "nothing", "greeting",     "hello",          "accept", "round",      "pages", "unneeded ranges",
        "state",   "end of state", "ready",          "go",     "ack",        "error", "alive",
        "join",    "deltas",       "end of a round", "sum up", "attachment",
    };
    const auto index = static_cast<std::size_t>(kind);
    return index < names.size() ? names[index] : "an unknown kind";
}

std::vector<std::byte>& FrameWriter::begin() {
    buffer_.resize(frame_header_size);
    return buffer_;
}

Result<> FrameWriter::send(FrameKind kind) {
    return send_whole(kind, buffer_);
}

Result<> FrameWriter::send_whole(FrameKind kind, std::span<std::byte> frame) {
    CHECK(frame.size() >= frame_header_size && frame.size() <= frame_header_size + max_payload);
    const auto payload = frame.subspan(frame_header_size);
    Header header{};
    const std::span<std::byte> bytes(header);
    store_little_endian(bytes, frame_magic);
    header[kind_at] = static_cast<std::byte>(kind);
    header[stream_at] = static_cast<std::byte>(stream_);
    store_little_endian(bytes.subspan(length_at), static_cast<std::uint32_t>(payload.size()));
    store_little_endian(bytes.subspan(sequence_at), sequence_++);
    std::ranges::copy(session_.value, bytes.subspan(session_at).begin());
    store_little_endian(bytes.subspan(payload_sum_at), checksum(payload));
    store_little_endian(bytes.subspan(header_sum_at), header_sum(header));
    std::ranges::copy(header, frame.begin());
    transcript_.add(header);
    sent_ += ByteCount{frame.size()};
    return channel_.send(frame, limit_);
}

Result<> FrameWriter::send(FrameKind kind, std::span<const std::byte> payload) {
    auto& buffer = begin();
    buffer.insert(buffer.end(), payload.begin(), payload.end());
    return send(kind);
}

Result<Frame> FrameReader::receive(std::chrono::milliseconds limit) {
    const auto until = std::chrono::steady_clock::now() + limit;
    Header header{};
    TRY(channel_.receive(header, limit));
    const std::span<const std::byte> bytes(header);
    if (load_little_endian<std::uint32_t>(bytes) != frame_magic)
        return fail("what arrives is not a migration stream: it does not begin with AERM");
    if (load_little_endian<std::uint32_t>(bytes.subspan(header_sum_at)) != header_sum(header))
        return fail("frame {} of the migration stream is damaged: its header's checksum is wrong", sequence_);
    const auto length = load_little_endian<std::uint32_t>(bytes.subspan(length_at));
    const auto sequence = load_little_endian<std::uint64_t>(bytes.subspan(sequence_at));
    if (length > max_payload)
        return fail("a frame of {} bytes: no more than {} are allowed", length, max_payload);
    if (!std::ranges::equal(bytes.subspan(session_at, session_.value.size()), session_.value))
        return fail("frame {} belongs to another migration", sequence_);
    if (stream_ == any_stream)
        stream_ = std::to_integer<std::uint8_t>(header[stream_at]);
    if (sequence != sequence_ || header[stream_at] != static_cast<std::byte>(stream_) ||
        load_little_endian<std::uint16_t>(bytes.subspan(reserved_at)) != 0)
        return fail("frame {} of stream {} was expected, not frame {} of stream {}", sequence_, stream_, sequence,
                    std::to_integer<unsigned>(header[stream_at]));
    if (payload_.size() < length)
        payload_.resize(length);
    const auto payload = std::span(payload_).first(length);
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    TRY(channel_.receive(payload, std::max(left, std::chrono::milliseconds(1))));
    if (load_little_endian<std::uint64_t>(bytes.subspan(payload_sum_at)) != checksum(payload))
        return fail("frame {} of the migration stream is damaged: its payload's checksum is wrong", sequence_);
    ++sequence_;
    transcript_.add(header);
    received_ += ByteCount{header.size() + payload.size()};
    return Frame{static_cast<FrameKind>(header[kind_at]), payload};
}

} // namespace aerate::migration
