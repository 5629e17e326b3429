#include "platform/keyboard_port.hpp"

#include <gtest/gtest.h>

#include <array>

namespace aerate {
namespace {

class KeyboardPortTest : public ::testing::Test {
protected:
    void SetUp() override {
        auto made = KeyboardPort::create([this] { ++resets_; });
        ASSERT_TRUE(made);
        keyboard_ = *std::move(made);
        ASSERT_TRUE(keyboard_->add_to(bus_));
    }
    std::uint8_t in(std::uint16_t port) {
        std::array<std::byte, 1> byte{};
        EXPECT_TRUE(bus_.read(Port{port}, byte));
        return std::to_integer<std::uint8_t>(byte[0]);
    }
    void out(std::uint16_t port, std::uint8_t value) {
        const std::byte byte{value};
        EXPECT_TRUE(bus_.write(Port{port}, {&byte, 1}));
    }
    void install_driver() {
        out(0x64, 0x60);
        out(0x60, 0x45);
        out(0x60, 0xf4);
        EXPECT_TRUE(keyboard_->interrupt().drain());
        EXPECT_EQ(in(0x60), 0xfa);
    }

    PioBus bus_;
    int resets_ = 0;
    std::unique_ptr<KeyboardPort> keyboard_;
};

TEST_F(KeyboardPortTest, CtrlAltDelReachesADriverByteByByte) {
    EXPECT_FALSE(keyboard_->press_ctrl_alt_del()) << "nobody listens";
    install_driver();
    EXPECT_TRUE(keyboard_->press_ctrl_alt_del());
    for (const auto expected : std::to_array<std::uint8_t>({0x1d, 0x38, 0x53, 0xd3, 0xb8, 0x9d})) {
        EXPECT_TRUE(keyboard_->interrupt().drain()) << "an edge for each";
        EXPECT_EQ(in(0x64) & 1, 1);
        EXPECT_EQ(in(0x60), expected);
    }
    EXPECT_FALSE(keyboard_->interrupt().drain());
    EXPECT_EQ(in(0x64) & 3, 0) << "neither full nor busy: a reboot waits for nothing";
}

TEST_F(KeyboardPortTest, TheResetLine) {
    out(0x64, 0xfe);
    EXPECT_EQ(resets_, 1);
    out(0x60, 0xfe);
    EXPECT_EQ(resets_, 1) << "that is the keyboard's";
}

TEST_F(KeyboardPortTest, ARestoredGuestStillListens) {
    install_driver();
    auto other = KeyboardPort::create([] {});
    ASSERT_TRUE(other);
    (*other)->restore(keyboard_->save());
    EXPECT_TRUE((*other)->press_ctrl_alt_del());
}

} // namespace
} // namespace aerate
