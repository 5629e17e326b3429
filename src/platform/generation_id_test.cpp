#include "platform/generation_id.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace aerate {
namespace {

using namespace literals;

constexpr GuestAddress where{0xff000};
using Bytes = std::array<std::byte, GenerationId::size>;

class GenerationIdTest : public ::testing::Test {
protected:
    [[nodiscard]] Bytes seen() const {
        Bytes bytes{};
        EXPECT_TRUE(memory.read(where, bytes));
        return bytes;
    }
    GuestMemory memory = GuestMemory::create({.regions = {{{0}, 2_MiB}}}).value();
    GenerationId id = GenerationId::create(memory, where).value();
};

TEST_F(GenerationIdTest, C9_EachIsAnother) {
    std::set<Bytes> all;
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(id.renew());
        all.insert(seen());
    }
    EXPECT_EQ(all.size(), 100U);
    EXPECT_FALSE(all.contains(Bytes{}));
}

TEST_F(GenerationIdTest, C9_TheNextCopyOfMemoryHasIt) {
    memory.write_log().start();
    ASSERT_TRUE(id.renew());
    PageBitmap written = PageBitmap::create(memory.address_space()).value();
    memory.write_log().take(written);
    EXPECT_EQ(written.count(), PageCount{1});
    EXPECT_EQ(written.count({frame_of(where), PageCount{1}}), PageCount{1});
}

TEST_F(GenerationIdTest, TheGuestIsToldByAnInterrupt) {
    ASSERT_TRUE(id.renew());
    EXPECT_FALSE(id.interrupt().drain());
    id.notify();
    EXPECT_TRUE(id.interrupt().drain());
}

TEST_F(GenerationIdTest, WithoutRamThereItIsAnError) {
    EXPECT_FALSE(GenerationId::create(memory, {4U << 20})->renew());
}

} // namespace
} // namespace aerate
