#include "platform/cmos_rtc.hpp"
#include "platform/power.hpp"

#include <gtest/gtest.h>

#include <array>

namespace aerate {
namespace {

std::uint8_t in(const PioBus& bus, std::uint16_t port) {
    std::array<std::byte, 1> byte{};
    bus.read(Port{port}, byte);
    return std::to_integer<std::uint8_t>(byte[0]);
}
void out(const PioBus& bus, std::uint16_t port, std::uint8_t value) {
    const std::byte byte{value};
    bus.write(Port{port}, {&byte, 1});
}

class PowerTest : public testing::Test {
protected:
    void SetUp() override {
        auto made = Power::create({.reset = {0x602},
                                   .reset_value = 1,
                                   .sleep_control = {0x600},
                                   .sleep_control_off = 0x34,
                                   .sleep_status = {0x601}},
                                  {.on_reset = [this] { ++resets; }, .on_power_off = [this] { ++power_offs; }});
        ASSERT_TRUE(made);
        power = std::move(*made);
        ASSERT_TRUE(power->add_to(bus));
    }
    PioBus bus;
    std::unique_ptr<Power> power;
    int resets = 0;
    int power_offs = 0;
};

TEST_F(PowerTest, ItsRegisterResetsTheMachine) {
    out(bus, 0x602, 1);
    EXPECT_EQ(resets, 1);
    EXPECT_EQ(power_offs, 0);
}

TEST_F(PowerTest, OnlyTheRightValuesDoAnything) {
    for (unsigned value = 0; value < 256; ++value) {
        const auto byte = static_cast<std::uint8_t>(value);
        out(bus, 0x601, byte);
        if (value != 1)
            out(bus, 0x602, byte);
        if (value != 0x34)
            out(bus, 0x600, byte);
    }
    EXPECT_EQ(resets + power_offs, 0);
    out(bus, 0x600, 0x34);
    EXPECT_EQ(power_offs, 1);
}

TEST_F(PowerTest, TheStatusIsNothing) {
    EXPECT_EQ(in(bus, 0x601), 0);
}

TEST_F(PowerTest, TheButtonIsAnEdge) {
    EXPECT_FALSE(power->interrupt().drain());
    power->press_power_button();
    EXPECT_TRUE(power->interrupt().drain());
}

TEST(CmosRtc, TellsTheTimeInBcdAndKeepsItConsistent) {
    std::time_t now = 1'735'689'599; // 2024-12-31 23:59:59 UTC, a Tuesday
    CmosRtc rtc([&now] { return now; });
    PioBus bus;
    ASSERT_TRUE(bus.add(CmosRtc::first_port, CmosRtc::port_count, rtc));
    const auto get = [&](std::uint8_t index) {
        out(bus, 0x70, index);
        return in(bus, 0x71);
    };
    EXPECT_EQ(get(0x0a) & 0x80, 0);
    EXPECT_EQ(get(0x00), 0x59);
    ++now; // in the middle of the guest's reading
    EXPECT_EQ(get(0x02), 0x59);
    EXPECT_EQ(get(0x04), 0x23);
    EXPECT_EQ(get(0x06), 0x03);
    EXPECT_EQ(get(0x07), 0x31);
    EXPECT_EQ(get(0x08), 0x12);
    EXPECT_EQ(get(0x09), 0x24);
    EXPECT_EQ(get(0x32), 0x20);
    (void)get(0x0a);
    EXPECT_EQ(get(0x09), 0x25);
    EXPECT_EQ(get(0x8b), 0x02) << "bit 7 of the index is the NMI mask";
    EXPECT_EQ(get(0x0d), 0x80);
    EXPECT_EQ(in(bus, 0x70), 0xff);
}

} // namespace
} // namespace aerate
