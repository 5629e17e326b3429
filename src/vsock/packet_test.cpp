#include "vsock/packet.hpp"

#include <gtest/gtest.h>

#include <random>

namespace aerate::vsock {
namespace {

TEST(VsockPacket, HasTheLayoutOfTheSpecification) {
    const Header header{.source_cid = 3,
                        .destination_cid = 2,
                        .source_port = 0x11121314,
                        .destination_port = 52,
                        .length = 0x21222324,
                        .type = 1,
                        .op = Op::shutdown,
                        .flags = 3,
                        .buffer_size = 0x31323334,
                        .forwarded = 0x41424344};
    const auto bytes = encode(header);
    const auto at = [&](std::size_t offset) { return std::to_integer<unsigned>(bytes[offset]); };
    EXPECT_EQ(at(0), 3U);
    EXPECT_EQ(at(8), 2U);
    EXPECT_EQ(at(16), 0x14U);
    EXPECT_EQ(at(20), 52U);
    EXPECT_EQ(at(24), 0x24U);
    EXPECT_EQ(at(28), 1U);
    EXPECT_EQ(at(30), 4U);
    EXPECT_EQ(at(32), 3U);
    EXPECT_EQ(at(36), 0x34U);
    EXPECT_EQ(at(40), 0x44U);
    EXPECT_EQ(decode(bytes), header);
}

TEST(VsockPacket, AnyBytesAreAHeaderAndComeBackTheSame) {
    std::mt19937_64 random(7); // NOLINT: the same bytes each time
    for (int round = 0; round < 1000; ++round) {
        std::array<std::byte, header_bytes> bytes;
        for (std::byte& byte : bytes)
            byte = static_cast<std::byte>(random());
        EXPECT_EQ(encode(decode(bytes)), bytes);
    }
}

} // namespace
} // namespace aerate::vsock
