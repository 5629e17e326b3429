#include "platform/boot_timer.hpp"
#include "platform/mmio_bus.hpp"

#include <gtest/gtest.h>

#include <array>

namespace aerate {
namespace {

TEST(BootTimer, TellsOnceThatTheGuestHasBooted) {
    int told = 0;
    BootTimer timer([&] { ++told; });
    MmioBus bus;
    ASSERT_TRUE(bus.add(GuestAddress{0x1000}, 0x1000, timer));
    const auto write = [&](std::uint64_t address, std::uint8_t value, std::size_t width = 1) {
        const std::array<std::byte, 4> bytes{std::byte{value}};
        EXPECT_TRUE(bus.write(GuestAddress{address}, std::span(bytes).first(width)));
    };
    write(0x1000, 122);
    write(0x1001, BootTimer::booted);
    write(0x1000, BootTimer::booted, 4);
    EXPECT_EQ(told, 0);
    write(0x1000, BootTimer::booted);
    write(0x1000, BootTimer::booted);
    EXPECT_EQ(told, 1);
    std::array<std::byte, 2> read{std::byte{1}, std::byte{1}};
    EXPECT_TRUE(bus.read(GuestAddress{0x1000}, read));
    EXPECT_EQ(read, (std::array<std::byte, 2>{}));
}

} // namespace
} // namespace aerate
