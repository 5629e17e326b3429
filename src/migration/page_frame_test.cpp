#include "migration/frame.hpp"
#include "migration/page_frame.hpp"
#include "migration/testing/fake_guest.hpp"

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
    EXPECT_TRUE(builder.add_zero({{100}, {1000}}));
    EXPECT_EQ(builder.counts().data, PageCount{3});
    EXPECT_EQ(builder.counts().zero, PageCount{3 + 1000});
    const auto payload = builder.finish().subspan(frame_header_size);
    EXPECT_TRUE(builder.empty());
    const auto frame = parse_pages(payload);
    ASSERT_TRUE(frame) << frame.error().message;
    using enum PageRun::Kind;
    const std::vector<PageRun> expected{{{{0}, {1}}, zero}, {{{1}, {2}}, data}, {{{3}, {1}}, zero},
                                        {{{4}, {1}}, data}, {{{5}, {1}}, zero}, {{{100}, {1000}}, zero}};
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
    EXPECT_TRUE(parse_pages(payload));
    EXPECT_EQ(builder.room(), frame_pages);
    // Each second page: as many runs as a frame may have.
    auto sparse = memory_with({});
    for (std::uint64_t frame = 0; frame < 2048; frame += 2)
        ASSERT_TRUE(builder.add_zero({{frame}, {1}}));
    EXPECT_EQ(builder.room(), PageCount{});
    EXPECT_FALSE(builder.add_zero({{4000}, {1}}));
    EXPECT_EQ(builder.add(sparse, {{4000}, {1}}), PageCount{});
}

} // namespace
} // namespace aerate::migration
