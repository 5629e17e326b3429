// What released monitors sent, read by this one. A sample is one direction of a migration's control stream, without the
// frames that carry pages: see testing/samples/README.md.
#include "base/endian.hpp"
#include "base/testing/sample.hpp"
#include "migration/wire/messages.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace aerate::migration {
namespace {

struct SampleFrame {
    FrameKind kind{};
    std::span<const std::byte> payload;
};

/// As the head of frame.hpp draws them. FrameReader would miss the frames that are not there.
std::vector<SampleFrame> frames_of(std::span<const std::byte> stream) {
    std::vector<SampleFrame> frames;
    while (stream.size() >= frame_header_size) {
        EXPECT_EQ(load_little_endian<std::uint32_t>(stream), frame_magic);
        const auto length = load_little_endian<std::uint32_t>(stream.subspan(8));
        if (length > stream.size() - frame_header_size)
            break;
        const auto payload = stream.subspan(frame_header_size, length);
        EXPECT_EQ(load_little_endian<std::uint64_t>(stream.subspan(40)), checksum(payload));
        std::vector<std::byte> header(stream.begin(), stream.begin() + frame_header_size);
        store_little_endian<std::uint32_t>(std::span(header).subspan(12), 0);
        EXPECT_EQ(load_little_endian<std::uint32_t>(stream.subspan(12)), static_cast<std::uint32_t>(checksum(header)));
        frames.push_back({static_cast<FrameKind>(stream[4]), payload});
        stream = stream.subspan(frame_header_size + length);
    }
    EXPECT_TRUE(stream.empty());
    return frames;
}

const SampleFrame& first(const std::vector<SampleFrame>& frames, FrameKind kind) {
    const auto found = std::ranges::find(frames, kind, &SampleFrame::kind);
    EXPECT_NE(found, frames.end()) << name_of(kind);
    return *found;
}

TEST(ReleasedStreams, C21_Version3OfASourceIsRead) {
    const auto bytes = testing::sample(AERATE_SAMPLES, "stream-3.to_destination");
    const auto frames = frames_of(bytes);
    ASSERT_GE(frames.size(), 6U);

    const auto hello = parse_hello(first(frames, FrameKind::hello).payload);
    ASSERT_TRUE(hello) << hello.error().message;
    EXPECT_EQ(hello->version, 3);
    EXPECT_EQ(hello->streams, 1U);
    EXPECT_NE(hello->config.find("\"mem_size_mib\":16"), std::string::npos);
    ASSERT_EQ(hello->regions.size(), 1U);
    EXPECT_EQ(hello->regions[0].length, ByteCount{16U << 20});
    const auto accepted = check_peer(*hello, std::nullopt);
    EXPECT_TRUE(accepted) << accepted.error().message;

    const auto round = parse_round(first(frames, FrameKind::round).payload);
    ASSERT_TRUE(round);
    EXPECT_FALSE(round->last);
    const auto state = first(frames, FrameKind::state).payload;
    const auto end = parse_state_end(first(frames, FrameKind::state_end).payload);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->length, state.size());
    // state/saved_vm_test.cpp reads what is in there.
    EXPECT_EQ(load_little_endian<std::uint32_t>(state), 0x54534541U);
    EXPECT_TRUE(first(frames, FrameKind::go).payload.empty());
}

TEST(ReleasedStreams, C21_Version3OfADestinationIsRead) {
    const auto bytes = testing::sample(AERATE_SAMPLES, "stream-3.to_source");
    const auto frames = frames_of(bytes);
    ASSERT_EQ(frames.size(), 4U);
    const auto greeting = parse_greeting(first(frames, FrameKind::greeting).payload);
    ASSERT_TRUE(greeting) << greeting.error().message;
    EXPECT_EQ(greeting->oldest, 3);
    EXPECT_EQ(greeting->newest, 3);
    EXPECT_TRUE(parse_sums(first(frames, FrameKind::ready).payload));
    EXPECT_TRUE(first(frames, FrameKind::accept).payload.empty());
    EXPECT_TRUE(first(frames, FrameKind::ack).payload.empty());

    // It reads saved state of its own time only, and that is found out before the guest is stopped.
    const auto refused = check_peer(*greeting, always_used);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("the destination does not support what was requested (feature bits 0x20)"),
              std::string::npos);
}

} // namespace
} // namespace aerate::migration
