#include "platform/keyboard_controller.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace aerate {
namespace {

using Effect = KeyboardController::Effect;
using ::testing::ElementsAre;
using Bytes = std::vector<std::uint8_t>;

constexpr std::uint8_t output_full = 1;

Bytes drain(KeyboardController& controller) {
    Bytes bytes;
    while ((controller.read_status() & output_full) != 0)
        bytes.push_back(controller.read_data());
    return bytes;
}

Bytes ask(KeyboardController& controller, std::uint8_t command) {
    EXPECT_NE(controller.write_command(command), Effect::reset);
    return drain(controller);
}

/// As Linux's i8042 and atkbd leave it: translation, and interrupts of the first port.
KeyboardController with_driver() {
    KeyboardController controller;
    EXPECT_EQ(controller.write_command(0x60), Effect::nothing);
    EXPECT_EQ(controller.write_data(0x45), Effect::nothing);
    EXPECT_EQ(controller.write_data(0xf4), Effect::interrupt);
    EXPECT_THAT(drain(controller), ElementsAre(0xfa));
    return controller;
}

TEST(KeyboardController, AnswersWhatLinuxAsksAtOnce) {
    KeyboardController controller;
    EXPECT_THAT(drain(controller), ElementsAre()) << "nothing waits at the start";
    EXPECT_THAT(ask(controller, 0x20), ElementsAre(0));
    EXPECT_THAT(ask(controller, 0xaa), ElementsAre(0x55));
    EXPECT_THAT(ask(controller, 0xab), ElementsAre(0)) << "the first port works";
    EXPECT_THAT(ask(controller, 0xa9), ElementsAre(1)) << "there is no second";
    EXPECT_EQ(controller.write_data(0xf2), Effect::nothing);
    EXPECT_THAT(drain(controller), ElementsAre(0xfa, 0xab, 0x83)) << "an AT keyboard";
    EXPECT_EQ(controller.write_data(0xff), Effect::nothing);
    EXPECT_THAT(drain(controller), ElementsAre(0xfa, 0xaa));
    EXPECT_EQ(controller.write_data(0xed), Effect::nothing);
    EXPECT_THAT(drain(controller), ElementsAre(0xfa));
    EXPECT_EQ(controller.write_data(0x07), Effect::nothing) << "which LEDs";
    EXPECT_THAT(drain(controller), ElementsAre(0xfa));
}

TEST(KeyboardController, TheSecondPortsLoopIsAnsweredOnTheFirst) {
    KeyboardController controller;
    EXPECT_EQ(controller.write_command(0xd3), Effect::nothing);
    EXPECT_EQ(controller.write_data(0x5a), Effect::nothing);
    EXPECT_NE(controller.read_status() & output_full, 0);
    EXPECT_EQ(controller.read_status() & 0x20, 0) << "not from the second port";
}

TEST(KeyboardController, PressesCtrlAltDelForADriver) {
    KeyboardController controller = with_driver();
    ASSERT_TRUE(controller.has_driver());
    EXPECT_EQ(controller.press_ctrl_alt_del(), Effect::interrupt);
    EXPECT_THAT(drain(controller), ElementsAre(0x1d, 0x38, 0x53, 0xd3, 0xb8, 0x9d));
    EXPECT_FALSE(controller.interrupt_due());
}

TEST(KeyboardController, ADriverWithoutTranslationGetsItsOwnCodes) {
    KeyboardController controller;
    EXPECT_EQ(controller.write_command(0x60), Effect::nothing);
    EXPECT_EQ(controller.write_data(0x05), Effect::nothing);
    EXPECT_EQ(controller.write_data(0xf4), Effect::interrupt);
    drain(controller);
    EXPECT_EQ(controller.press_ctrl_alt_del(), Effect::interrupt);
    EXPECT_THAT(drain(controller), ElementsAre(0x14, 0x11, 0x71, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14));
}

TEST(KeyboardController, WithoutADriverThereIsNobodyToPressFor) {
    KeyboardController controller;
    EXPECT_FALSE(controller.has_driver());
    KeyboardController disabled = with_driver();
    EXPECT_EQ(disabled.write_command(0xad), Effect::nothing);
    EXPECT_FALSE(disabled.has_driver());
}

TEST(KeyboardController, ADriverThatReadsNothingGetsNoHalfOfIt) {
    KeyboardController controller = with_driver();
    EXPECT_EQ(controller.press_ctrl_alt_del(), Effect::interrupt);
    EXPECT_EQ(controller.press_ctrl_alt_del(), Effect::interrupt);
    EXPECT_EQ(controller.press_ctrl_alt_del(), Effect::nothing);
    EXPECT_EQ(drain(controller).size(), 12U);
}

TEST(KeyboardController, ItsResetLineResetsTheMachine) {
    KeyboardController controller;
    EXPECT_EQ(controller.write_command(0xfe), Effect::reset);
}

TEST(KeyboardController, IsSavedAndRestored) {
    KeyboardController controller = with_driver();
    KeyboardController other;
    other.restore(controller.save());
    EXPECT_TRUE(other.has_driver());
    EXPECT_EQ(other.save(), controller.save());
}

TEST(KeyboardController, T12_NonsenseIsBounded) {
    KeyboardController controller;
    std::mt19937 random(1); // NOLINT(cert-msc51-cpp): the same each time
    for (int i = 0; i < 100'000; ++i) {
        const auto byte = static_cast<std::uint8_t>(random());
        static_cast<void>(random() % 2 == 0 ? controller.write_data(byte) : controller.write_command(byte));
    }
    EXPECT_LE(drain(controller).size(), 16U);
}

} // namespace
} // namespace aerate
