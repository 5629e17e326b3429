#include "state/saved_vm.hpp"

#include <gtest/gtest.h>

namespace aerate::state {
namespace {

SavedVm example() {
    SavedVm saved;
    saved.vm.clock = 123'456'789;
    saved.vm.interrupt_controllers[2].chip_id = 2;
    VcpuState vcpu;
    vcpu.registers.rip = 0xffff'ffff'8100'0000;
    vcpu.xsave.assign(4096, std::byte{7});
    vcpu.msrs = {{.index = 0x10, .reserved = 0, .data = 99}};
    vcpu.cpuid.resize(3);
    vcpu.tsc_khz = 2'000'000;
    saved.vcpus = {vcpu, vcpu};
    saved.serial.divisor = 12;
    saved.serial.fifo_enabled = true;
    saved.serial.received[3] = 'x';
    saved.clock_register = 9;
    virtio::TransportState transport{.status = 0xf, .accepted = {1ULL << 32}, .queues = {{}}};
    transport.queues[0] = {
        {.size = 128, .descriptors = {0x1000}, .driver = {0x2000}, .device = {0x3000}, .ready = true},
        {.next_available = 5, .next_used = 4, .available_wrap = false}};
    saved.transports = {{"balloon", transport}};
    saved.disks = {{"rootfs", {1U << 20}}};
    saved.balloon = {
        .target = 10, .actual = 9, .last_command = {17}, .ballooned = {{{1}, {2}}, {{100}, {1}}}, .reported = {}};
    return saved;
}

TEST(SavedVm, ComesBackAsItWas) {
    const SavedVm saved = example();
    const auto bytes = encode(saved);
    const auto back = decode(bytes);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(encode(*back), bytes);
    EXPECT_EQ(back->vm.clock, saved.vm.clock);
    ASSERT_EQ(back->vcpus.size(), 2U);
    EXPECT_EQ(back->vcpus[1].registers.rip, saved.vcpus[1].registers.rip);
    EXPECT_EQ(back->vcpus[1].msrs[0].data, 99U);
    ASSERT_EQ(back->transports.size(), 1U);
    EXPECT_EQ(back->transports[0].transport, saved.transports[0].transport);
    EXPECT_EQ(back->balloon, saved.balloon);
    EXPECT_EQ(back->serial.received, saved.serial.received);
    EXPECT_EQ(back->disks[0].size, ByteCount{1U << 20});
}

TEST(SavedVm, M1_EveryTruncationIsRefused) {
    const auto bytes = encode(example());
    for (std::size_t length = 0; length < bytes.size(); ++length)
        ASSERT_FALSE(decode(std::span(bytes).first(length))) << length;
    auto longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decode(longer));
}

// A flipped bit may be a value like any other here: the file's checksum is what finds it. Nothing may break.
TEST(SavedVm, M7_EveryFlippedBitIsReadOrRefused) {
    auto bytes = encode(example());
    std::size_t refused = 0;
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        bytes[bit / 8] ^= std::byte{1} << (bit % 8);
        refused += decode(bytes) ? 0U : 1U;
        bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    }
    EXPECT_GT(refused, 500U);
}

TEST(SavedVm, M7_ALengthBeyondTheEndAllocatesNothing) {
    auto bytes = encode(example());
    // "vm", version 1, then the length of the record.
    const std::size_t length = 4 + 4 + 2 + 4;
    for (std::size_t i = 0; i < 4; ++i)
        bytes[length + i] = std::byte{0xff};
    const auto refused = decode(bytes);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("ends before its record \"vm\""), std::string::npos);
}

TEST(SavedVm, M3_ALaterVersionIsNamed) {
    auto bytes = encode(example());
    bytes[4 + 4 + 2] = std::byte{9};
    const auto refused = decode(bytes);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "record \"vm\" of the saved state has version 9, this monitor reads 1");
}

} // namespace
} // namespace aerate::state
