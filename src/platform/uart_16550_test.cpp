#include "platform/uart_16550.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string_view>

namespace aerate {
namespace {

enum Offset : std::uint64_t { data, ier, iir, lcr, mcr, lsr, msr, scr };

std::span<const std::byte> bytes(std::string_view text) {
    return std::as_bytes(std::span(text));
}

TEST(Uart16550, PassesTheTestsThatLinuxIdentifiesA16550AWith) {
    Uart16550 uart;
    // Interrupt enable holds its four bits, and only those.
    uart.write(ier, 0x00);
    EXPECT_EQ(uart.read(ier), 0x00);
    uart.write(ier, 0x4f);
    EXPECT_EQ(uart.read(ier), 0x0f);
    uart.write(ier, 0x00);
    // In loopback RTS and OUT2 show as CTS and DCD.
    uart.write(mcr, 0x10 | 0x0a);
    EXPECT_EQ(uart.read(msr) & 0xf0, 0x90);
    uart.write(mcr, 0x00);
    EXPECT_EQ(uart.read(msr) & 0xf0, 0xb0);
    // FIFOs that work, and that are not the 64 bytes of a 16750.
    uart.write(iir, 0x01);
    EXPECT_EQ(uart.read(iir) >> 6, 3);
    uart.write(iir, 0x21);
    EXPECT_EQ(uart.read(iir) & 0xe0, 0xc0);
    // With DLAB set there is no enhanced feature register of a 16650: the identification shows through.
    uart.write(lcr, 0xbf);
    EXPECT_NE(uart.read(iir), 0);
    uart.write(lcr, 0x00);
    for (const std::uint8_t value : std::initializer_list<std::uint8_t>{0x00, 0x55, 0xff}) {
        uart.write(scr, value);
        EXPECT_EQ(uart.read(scr), value);
    }
}

TEST(Uart16550, DivisorIsBehindItsAccessBit) {
    Uart16550 uart;
    uart.write(lcr, 0x83);
    uart.write(data, 0x0c);
    uart.write(ier, 0x01);
    EXPECT_EQ(uart.read(data), 0x0c);
    EXPECT_EQ(uart.read(ier), 0x01);
    uart.write(lcr, 0x03);
    EXPECT_EQ(uart.read(ier), 0x00);
    EXPECT_EQ(uart.state().divisor, 0x010c);
}

TEST(Uart16550, TransmitInterruptComesWhenEnabledAndAfterEachAcknowledgedByte) {
    Uart16550 uart;
    EXPECT_EQ(uart.write(data, 'a'), std::byte{'a'});
    EXPECT_FALSE(uart.take_interrupt());
    EXPECT_EQ(uart.read(lsr), 0x60);

    uart.write(ier, 0x02);
    EXPECT_TRUE(uart.take_interrupt());
    EXPECT_EQ(uart.read(iir), 0x02);
    EXPECT_EQ(uart.read(iir), 0x01) << "reading it has acknowledged it";
    EXPECT_FALSE(uart.take_interrupt());

    uart.write(data, 'b');
    EXPECT_TRUE(uart.take_interrupt());
    uart.write(data, 'c');
    EXPECT_FALSE(uart.take_interrupt()) << "one edge until the guest acknowledges";
    EXPECT_EQ(uart.read(iir), 0x02);

    // Linux tests this twice before it trusts the interrupt.
    uart.write(ier, 0x00);
    uart.write(ier, 0x02);
    EXPECT_TRUE(uart.take_interrupt());
    EXPECT_EQ(uart.read(iir), 0x02);
}

TEST(Uart16550, AConsoleThatPollsGetsItsTransmitInterruptBackAfterwards) {
    Uart16550 uart;
    uart.write(ier, 0x02);
    EXPECT_TRUE(uart.take_interrupt());
    uart.write(ier, 0x00);
    EXPECT_FALSE(uart.take_interrupt());
    uart.write(data, 'x');
    uart.write(ier, 0x02);
    EXPECT_TRUE(uart.take_interrupt());
}

TEST(Uart16550, ReceivesAFifoFullAndInterruptsForEachBatch) {
    Uart16550 uart;
    uart.write(iir, 0x07);
    EXPECT_EQ(uart.receive_space(), 0U) << "the line is quiet while nobody listens";
    uart.write(ier, 0x01);
    EXPECT_EQ(uart.receive_space(), 16U);
    EXPECT_FALSE(uart.take_interrupt());

    uart.receive(bytes("0123456789"));
    EXPECT_TRUE(uart.take_interrupt());
    EXPECT_EQ(uart.read(iir), 0xc4);
    EXPECT_EQ(uart.read(lsr), 0x61);
    uart.receive(bytes("abcdef"));
    EXPECT_TRUE(uart.take_interrupt());
    EXPECT_EQ(uart.receive_space(), 0U);

    std::string got;
    while ((uart.read(lsr) & 1) != 0)
        got.push_back(static_cast<char>(uart.read(data)));
    EXPECT_EQ(got, "0123456789abcdef");
    EXPECT_EQ(uart.read(iir), 0xc1);
    EXPECT_EQ(uart.read(data), 0);
}

TEST(Uart16550, WithoutFifoHoldsOneByte) {
    Uart16550 uart;
    uart.write(ier, 0x01);
    EXPECT_EQ(uart.receive_space(), 1U);
    uart.receive(bytes("z"));
    EXPECT_EQ(uart.receive_space(), 0U);
    EXPECT_EQ(uart.read(iir), 0x04);
    EXPECT_EQ(uart.read(data), 'z');
}

TEST(Uart16550, LoopbackBringsBytesBackAndOverrunsAreTold) {
    Uart16550 uart;
    uart.write(iir, 0x01);
    uart.write(ier, 0x05);
    uart.write(mcr, 0x10);
    for (unsigned i = 0; i < 17; ++i)
        EXPECT_EQ(uart.write(data, static_cast<std::uint8_t>(i)), std::nullopt) << "nothing goes out";
    EXPECT_EQ(uart.read(iir), 0xc6) << "the line status has the highest priority";
    EXPECT_EQ(uart.read(lsr), 0x63);
    EXPECT_EQ(uart.read(lsr), 0x61) << "reading it clears the error";
    EXPECT_EQ(uart.read(iir), 0xc4);
    for (unsigned i = 0; i < 16; ++i)
        EXPECT_EQ(uart.read(data), i);
}

TEST(Uart16550, ModemChangesInterruptOnce) {
    Uart16550 uart;
    uart.write(ier, 0x08);
    uart.write(mcr, 0x1b);
    EXPECT_EQ(uart.read(msr), 0xb0) << "the same lines as without loopback: no change";
    uart.write(mcr, 0x19);
    EXPECT_TRUE(uart.take_interrupt());
    EXPECT_EQ(uart.read(iir), 0x00);
    EXPECT_EQ(uart.read(msr), 0xa1);
    EXPECT_EQ(uart.read(iir), 0x01);
}

TEST(Uart16550, ASavedStateGoesOnWhereItWasAndADamagedOneIsClamped) {
    Uart16550 before;
    before.write(iir, 0x01);
    before.write(ier, 0x03);
    before.receive(bytes("hi"));
    Uart16550 after(before.state());
    EXPECT_TRUE(after.take_interrupt());
    EXPECT_EQ(after.read(data), 'h');
    EXPECT_EQ(after.read(data), 'i');

    UartState damaged = before.state();
    damaged.received_count = 200;
    Uart16550 clamped(damaged);
    EXPECT_EQ(clamped.receive_space(), 0U);
    for (int i = 0; i < 20; ++i)
        (void)clamped.read(data);
    EXPECT_EQ(clamped.receive_space(), 16U);
}

TEST(Uart16550, AnyAccessesAreSafe) {
    std::mt19937 random(1);
    Uart16550 uart;
    for (int i = 0; i < 200'000; ++i) {
        const std::uint64_t at = random();
        if (random() % 2 == 0)
            (void)uart.read(at);
        else
            uart.write(at, static_cast<std::uint8_t>(random()));
        const std::size_t space = uart.receive_space();
        ASSERT_LE(space, 16U);
        if (space > 0 && random() % 4 == 0)
            uart.receive(bytes("0123456789abcdef").first(1 + random() % space));
        (void)uart.take_interrupt();
    }
}

} // namespace
} // namespace aerate
