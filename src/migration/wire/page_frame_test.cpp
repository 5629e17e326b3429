#include "migration/testing/fake_guest.hpp"
#include "migration/wire/frame.hpp"
#include "migration/wire/page_frame.hpp"

#include <gtest/gtest.h>

namespace aerate::migration {
namespace {

using namespace testing;

GuestMemory memory_with(std::initializer_list<std::uint64_t> filled) {
    auto memory = make_memory({{{{0}, {8U << 20}}}, Backing::anonymous});
    for (const std::uint64_t frame : filled)
        CHECK(memory.fill(address_of({frame}), {page_size.value}, static_cast<std::byte>(frame + 1)));
    return memory;
}

TEST(PageFrame, HoldsRunsAndTheContentOfThoseThatHaveOne) {
    auto memory = memory_with({1, 2, 4});
    PageFrameBuilder builder;
    EXPECT_TRUE(builder.empty());
    EXPECT_EQ(builder.add(memory, {{0}, {6}}), PageCount{6});
    EXPECT_EQ(builder.add(memory, {{100}, {400}}), PageCount{400});
    EXPECT_EQ(builder.counts().data, PageCount{3});
    EXPECT_EQ(builder.counts().zero, PageCount{3 + 400});
    const auto payload = builder.finish().subspan(frame_header_size);
    EXPECT_TRUE(builder.empty());
    std::vector<std::byte> decoded;
    const auto frame = parse_pages(payload, {}, decoded);
    ASSERT_TRUE(frame) << frame.error().message;
    using enum PageRun::Kind;
    const std::vector<PageRun> expected{{{{0}, {1}}, zero}, {{{1}, {2}}, data}, {{{3}, {1}}, zero},
                                        {{{4}, {1}}, data}, {{{5}, {1}}, zero}, {{{100}, {400}}, zero}};
    EXPECT_EQ(frame->runs, expected);
    ASSERT_EQ(frame->content.size(), 3 * 4096U);
    EXPECT_EQ(frame->content[0], std::byte{2});
    EXPECT_EQ(frame->content[4096], std::byte{3});
    EXPECT_EQ(frame->content[2 * 4096 + 4095], std::byte{5});
}

TEST(PageFrame, TakesNoMoreThanFits) {
    auto memory = memory_with({});
    ASSERT_TRUE(memory.fill({0}, {8U << 20}, std::byte{1}));
    PageFrameBuilder builder;
    EXPECT_EQ(builder.add(memory, {{0}, {300}}), frame_pages);
    EXPECT_EQ(builder.room(), PageCount{});
    EXPECT_EQ(builder.add(memory, {{300}, {1}}), PageCount{});
    const auto payload = builder.finish().subspan(frame_header_size);
    std::vector<std::byte> decoded;
    EXPECT_TRUE(parse_pages(payload, {}, decoded));
    EXPECT_EQ(builder.room(), frame_pages);
    // Each second page: as many runs as a frame may have.
    auto sparse = memory_with({});
    for (std::uint64_t frame = 0; frame < 2048; frame += 2)
        ASSERT_EQ(builder.add(sparse, {{frame}, {1}}), PageCount{1});
    EXPECT_EQ(builder.room(), PageCount{});
    EXPECT_EQ(builder.add(sparse, {{1}, {1}}), PageCount{});
}

TEST(PageFrame, CompressedContentIsDecodedOrRefused) {
    for (const Compression kind : {Compression::lz4, Compression::zstd}) {
        auto memory = memory_with({1, 2, 3, 4});
        PageFrameBuilder builder;
        const CompressionKinds agreed{.lz4 = kind == Compression::lz4, .zstd = kind == Compression::zstd};
        const CompressionKinds other{.lz4 = !agreed.lz4, .zstd = !agreed.zstd};
        Compressor compressor({kind});
        (void)builder.add(memory, {{1}, {4}});
        const auto frame = builder.finish(&compressor);
        EXPECT_LT(builder.stored(), ByteCount{builder.length().value / 10});
        std::vector<std::byte> payload(frame.begin() + frame_header_size, frame.end());
        std::vector<std::byte> decoded;
        const auto parsed = parse_pages(payload, agreed, decoded);
        ASSERT_TRUE(parsed) << parsed.error().message;
        ASSERT_EQ(parsed->content.size(), 4 * 4096U);
        EXPECT_EQ(parsed->content[3 * 4096], std::byte{5});
        EXPECT_TRUE(parse_pages(payload, {.lz4 = true, .zstd = true}, decoded));
        EXPECT_FALSE(parse_pages(payload, {}, decoded)) << "not negotiated";
        EXPECT_FALSE(parse_pages(payload, other, decoded)) << "another was agreed on";
        // Whatever one byte is changed to, what comes out is as long as it says, or nothing does.
        std::size_t refused = 0;
        for (std::size_t at = 0; at < payload.size(); ++at) {
            const std::byte before = std::exchange(payload[at], payload[at] ^ std::byte{0x41});
            const auto changed = parse_pages(payload, agreed, decoded);
            EXPECT_TRUE(!changed || changed->content.size() == 4 * 4096U);
            refused += changed ? 0U : 1U;
            payload[at] = before;
        }
        EXPECT_GT(refused, 16U);
    }
    // Noise stays as it is.
    auto memory = memory_with({});
    std::mt19937_64 random(1);
    for (std::uint64_t at = 0; at < 4096; at += 8)
        ASSERT_TRUE(memory.store<std::uint64_t>({at}, random()));
    PageFrameBuilder builder;
    Compressor compressor({Compression::lz4});
    (void)builder.add(memory, {{0}, {1}});
    (void)builder.finish(&compressor);
    EXPECT_EQ(builder.stored(), page_size);
}

TEST(Compression, IsNamedWithItsLevel) {
    using Forms = std::vector<CompressionSetting>;
    EXPECT_EQ(parse_compression("none").value(), Forms{});
    EXPECT_EQ(parse_compression("lz4").value(), Forms{{Compression::lz4}});
    EXPECT_EQ(parse_compression("zstd").value(), (Forms{{Compression::zstd, 1}}));
    EXPECT_EQ(parse_compression("zstd:19").value(), (Forms{{Compression::zstd, 19}}));
    const Forms all = parse_compression("auto").value();
    for (const CompressionSetting& form : all)
        EXPECT_EQ(parse_compression(name_of(form)).value(), Forms{form});
    for (const char* wrong :
         {"", "gzip", "zstd:", "zstd:0", "zstd:20", "zstd:-1", "zstd:3x", "lz4:1", "auto:1", "zstd:99999999999"})
        EXPECT_FALSE(parse_compression(wrong)) << wrong;
}

} // namespace
} // namespace aerate::migration
