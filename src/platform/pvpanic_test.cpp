#include "platform/pvpanic.hpp"

#include <gtest/gtest.h>

#include <array>

namespace aerate {
namespace {

TEST(PvPanic, C24_APanicIsToldOnce) {
    int told = 0;
    PvPanic device([&] { ++told; });
    std::array<std::byte, 4> read{std::byte{9}, std::byte{9}, std::byte{9}, std::byte{9}};
    device.read(0, read);
    EXPECT_EQ(read[0], std::byte{3});
    EXPECT_EQ(read[1], std::byte{0});
    const auto write = [&](std::uint8_t value) {
        const std::byte byte{value};
        device.write(0, {&byte, 1});
    };
    write(0);
    write(PvPanic::crash_loaded);
    write(0xfc);
    EXPECT_EQ(told, 0);
    write(PvPanic::panicked);
    EXPECT_EQ(told, 1);
    for (int i = 0; i < 1000; ++i)
        write(0xff);
    EXPECT_EQ(told, 1) << "a guest cannot flood the loop with it";
}

} // namespace
} // namespace aerate
