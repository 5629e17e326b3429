#include "balloon/balloon_state.hpp"
#include "base/codec.hpp"
#include "base/testing/sample.hpp"
#include "state/saved_vm.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

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
    saved.devices = {{"balloon", transport, {.version = 3, .bytes = {std::byte{1}, std::byte{2}}}},
                     {"block:rootfs", transport, {}}};
    return saved;
}

/// Puts a record of its own at the end, as a later monitor might.
std::vector<std::byte> with_record(std::vector<std::byte> bytes, const std::string& name) {
    Encoder record;
    record(name, std::uint32_t{7}, std::vector<std::byte>(5));
    const auto more = record.take();
    bytes.insert(bytes.end(), more.begin(), more.end());
    return bytes;
}

/// What a released monitor wrote: see samples/README.md.
std::vector<std::byte> sample(const std::string& name) {
    return testing::sample(AERATE_SAMPLES, name);
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
    ASSERT_EQ(back->devices.size(), 2U);
    EXPECT_EQ(back->devices[0].name, "balloon");
    EXPECT_EQ(back->devices[0].transport, saved.devices[0].transport);
    EXPECT_EQ(back->devices[0].device, saved.devices[0].device);
    EXPECT_EQ(back->devices[1].device, virtio::DeviceState{});
    EXPECT_TRUE(back->skipped.empty());
    EXPECT_EQ(back->serial.received, saved.serial.received);
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
    EXPECT_NE(refused.error().message.find("ends inside its record 1"), std::string::npos);
}

TEST(SavedVm, M3_ALaterVersionIsNamed) {
    auto bytes = encode(example());
    bytes[4 + 4 + 2] = std::byte{9};
    const auto refused = decode(bytes);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "record \"vm\" of the saved state has version 9, this monitor reads up to 1: "
                                       "use the monitor that saved it, or a "
                                       "later one");
}

TEST(SavedVm, C21_AnUnknownRecordIsLeftOutAndNamed) {
    const auto bytes = with_record(with_record(encode(example()), "vmgenid"), "a\n\"\x1b");
    const auto back = decode(bytes);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(encode(*back), encode(example()));
    EXPECT_EQ(back->skipped,
              (std::vector<std::string>{"\"vmgenid\" (version 7, 5 bytes)", "\"a???\" (version 7, 5 bytes)"}));
}

TEST(SavedVm, C21_RecordsMayStandInAnyOrderAndOnlyOnce) {
    // The first record of example() goes to the end.
    const auto bytes = encode(example());
    Decoder file(bytes);
    std::uint32_t magic = 0;
    std::uint32_t version = 0;
    std::string name;
    std::vector<std::byte> content;
    file(magic, name, version, content);
    ASSERT_EQ(name, "vm");
    const std::size_t length = 4 + 4 + name.size() + 4 + 4 + content.size();
    auto turned = bytes;
    std::rotate(turned.begin() + 4, turned.begin() + static_cast<std::ptrdiff_t>(length), turned.end());
    const auto back = decode(turned);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(encode(*back), bytes);

    auto twice = bytes;
    twice.insert(twice.end(), bytes.begin() + 4, bytes.begin() + static_cast<std::ptrdiff_t>(length));
    const auto refused = decode(twice);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "the saved state of the machine has two records \"vm\"");
}

TEST(SavedVm, C21_EndlessRecordsAreRefused) {
    auto bytes = encode(example());
    for (int i = 0; i < 1000; ++i)
        bytes = with_record(std::move(bytes), "record " + std::to_string(i));
    EXPECT_FALSE(decode(bytes));
}

TEST(SavedVm, C21_ADevicesNameIsPrintable) {
    SavedVm saved = example();
    saved.devices[0].name = "\x1b[2J";
    EXPECT_FALSE(decode(encode(saved)));
}

// A guest of 32 MiB with a balloon of 4 MiB, a disk and a source of entropy, saved by the commit 400126b.
TEST(SavedVm, C21_Version1OfTheDevicesIsRead) {
    const auto saved = decode(sample("virtio-1.state"));
    ASSERT_TRUE(saved) << saved.error().message;
    EXPECT_TRUE(saved->skipped.empty());
    EXPECT_EQ(saved->vcpus.size(), 1U);
    ASSERT_EQ(saved->devices.size(), 3U);

    const SavedDevice& balloon = saved->devices[0];
    EXPECT_EQ(balloon.name, "balloon");
    EXPECT_EQ(balloon.transport.status, 15);
    EXPECT_EQ(balloon.transport.queues.size(), 5U);
    const auto pages = balloon::decode(balloon.device);
    ASSERT_TRUE(pages) << pages.error().message;
    EXPECT_EQ(pages->target, 1024U);
    EXPECT_EQ(pages->actual, 1024U);
    EXPECT_FALSE(pages->ballooned.empty());
    EXPECT_FALSE(pages->reported.empty());

    const SavedDevice& disk = saved->devices[1];
    EXPECT_EQ(disk.name, "block:drive0");
    std::uint64_t size = 0;
    Decoder decoder(disk.device.bytes);
    decoder(size);
    EXPECT_EQ(disk.device.version, 1U);
    EXPECT_TRUE(decoder.complete());
    EXPECT_EQ(size, 1U << 20);

    EXPECT_EQ(saved->devices[2].name, "entropy");
    EXPECT_EQ(saved->devices[2].device, virtio::DeviceState{});
}

// What it says today is read again tomorrow.
TEST(SavedVm, C21_AnOldStateIsWrittenInTheNewFormat) {
    const auto saved = decode(sample("virtio-1.state"));
    ASSERT_TRUE(saved);
    const auto again = decode(encode(*saved));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(encode(*again), encode(*saved));
}

TEST(SavedVm, C21_EveryTruncationOfAnOldStateIsRefused) {
    const auto bytes = sample("virtio-1.state");
    ASSERT_GT(bytes.size(), 10'000U);
    for (std::size_t length = 0; length < bytes.size(); ++length)
        ASSERT_FALSE(decode(std::span(bytes).first(length))) << length;
}

} // namespace
} // namespace aerate::state
