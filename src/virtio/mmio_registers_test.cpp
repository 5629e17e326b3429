// The register file as a guest sees it: the T cases of docs/hostile-inputs.md, by number.
#include "virtio/testing/mmio_test.hpp"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace aerate::virtio {
namespace {

using namespace testing;

TEST_F(Mmio, IdentifiesItself) {
    EXPECT_EQ(read(reg::magic), 0x74726976U);
    EXPECT_EQ(read(reg::version), 2U);
    EXPECT_EQ(read(reg::device_id), 5U);
    EXPECT_NE(read(reg::vendor_id), 0U);
    EXPECT_EQ(read(reg::queue_size_max), 64U);
    EXPECT_EQ(read(reg::shared_memory_length_low), 0xffff'ffffU);
    EXPECT_EQ(read(reg::shared_memory_length_high), 0xffff'ffffU);
    const FeatureSet all{offered()};
    EXPECT_TRUE(all.has(EchoDevice::feature_bit));
    EXPECT_TRUE(all.has(feature::version_1) && all.has(feature::ring_packed) && all.has(feature::event_index));
    EXPECT_FALSE(all.has(feature::access_platform));
    write(reg::device_features_select, 2);
    EXPECT_EQ(read(reg::device_features), 0U);
}

TEST_F(Mmio, T1_StatusTakesOnlyLegalSteps) {
    const struct {
        const char* what;
        std::vector<std::uint32_t> writes;
        std::uint8_t result;
    } cases[] = {
        {"in order", {1, 3, 11, 15}, 15},
        {"two in one", {3, 11, 15}, 15},
        {"each twice", {1, 1, 3, 3, 11, 11, 15, 15}, 15},
        {"DRIVER first", {2}, 0},
        {"FEATURES_OK first", {8}, 0},
        {"DRIVER_OK without FEATURES_OK", {1, 3, 7}, 3},
        {"FEATURES_OK and DRIVER_OK together", {1, 3, 15}, 3},
        {"DRIVER skipped", {1, 9}, 1},
        {"bits cleared", {1, 3, 11, 3}, 11},
        {"bits cleared while running", {1, 3, 11, 15, 11}, 15},
        {"FAILED, then on", {1, 3, 0x83, 0x8b, 11}, 0x83},
        {"FAILED at first", {0x80}, 0x80},
        {"FAILED while running", {1, 3, 11, 15, 0x8f}, 0x8f},
        {"FAILED, then reset", {1, 3, 0x83, 0}, 0},
        {"NEEDS_RESET is not the driver's", {1, 3 | 0x40, 11}, 11},
        {"unknown bits", {1, 3, 3 | 0x10}, 3},
        {"high bits", {1, 3, 0x100 | 11}, 3},
    };
    for (const auto& test : cases) {
        write(reg::status, 0);
        accept(split_ring);
        for (const std::uint32_t value : test.writes)
            write(reg::status, value);
        EXPECT_EQ(status(), test.result) << test.what;
    }
}

TEST_F(Mmio, T2_FeaturesThatWereNotOffered) {
    const FeatureSet refused[] = {
        {},                                         // without VERSION_1
        FeatureSet{}.with(EchoDevice::feature_bit), // the same
        split_ring.with(4),                         // not the device's
        split_ring.with(feature::access_platform),  // not ours
        split_ring.with(feature::in_order),
        FeatureSet{~0ULL},
    };
    for (const FeatureSet& features : refused) {
        negotiate(features);
        EXPECT_EQ(status(), acknowledge | driver);
        write(reg::status, runs);
        EXPECT_EQ(status(), acknowledge | driver);
    }
    EXPECT_EQ(transport_->counters().refused_features, std::size(refused));
    // The driver may try again, and what it writes after FEATURES_OK is ignored.
    accept(split_ring);
    write(reg::status, ready_to_run);
    EXPECT_EQ(status(), ready_to_run);
    accept(FeatureSet{~0ULL});
    write(reg::status, runs);
    EXPECT_EQ(on_loop([&] { return device_.active_features; }), split_ring);
}

TEST_F(Mmio, T3_AccessesThatNoRegisterAnswers) {
    start();
    const std::uint64_t before = ignored();
    write(reg::queue_select, 3);
    EXPECT_EQ(read(reg::queue_size_max), 0U);
    EXPECT_EQ(read(reg::queue_ready), 0U);
    write(reg::queue_ready, 1);
    write(reg::queue_size, 8);
    write(reg::queue_select, 0xffff'ffff);
    write(reg::queue_descriptors_low, 8);
    EXPECT_EQ(read(reg::queue_ready), 0U);
    EXPECT_EQ(ignored(), before + 3);

    for (const std::size_t width : {1U, 2U, 3U, 5U, 8U}) {
        std::vector<std::byte> bytes(width, std::byte{0xff});
        transport_->read({reg::magic}, bytes);
        EXPECT_EQ(bytes, std::vector<std::byte>(width));
        transport_->write({reg::status}, bytes);
        transport_->write({reg::queue_notify}, bytes);
    }
    std::array<std::byte, 4> four{};
    for (std::uint64_t offset = 0; offset < reg::config; ++offset) {
        if (offset % 4 == 0 && (offset == reg::status || offset == reg::interrupt_status))
            continue;
        transport_->write({offset}, four);
        transport_->read({offset}, four);
    }
    transport_->read({reg::magic + 1}, four);
    EXPECT_EQ(load_little_endian<std::uint32_t>(four), 0U);
    transport_->read({~0ULL}, four);
    transport_->write({~0ULL - 3}, four);
    transport_->write({0xffff'ffff}, four);
    EXPECT_EQ(status(), runs);
}

TEST_F(Mmio, R12_QueueRegistersAreFrozenOnceReady) {
    negotiate(split_ring);
    FakeQueue queue = fake_.queue(8, split_ring);
    place(0, queue.registers());
    EXPECT_EQ(read(reg::queue_ready), 1U);
    write(reg::queue_size, 32768);
    write(reg::queue_descriptors_low, 0xffff'fff0);
    write(reg::status, runs);
    write(reg::queue_size, 32768);
    write(reg::queue_device_high, 77);
    write(reg::queue_ready, 0);
    EXPECT_EQ(read(reg::queue_ready), 1U);
    // A second queue after DRIVER_OK.
    place(1, queue.registers());
    EXPECT_EQ(read(reg::queue_ready), 0U);
    queue.add({writable(4)});
    write(reg::queue_notify, 0);
    settle();
    EXPECT_TRUE(queue.take_used());
    EXPECT_EQ(on_loop([&] { return device_.queues[0]->size(); }), 8);
}

TEST_F(Mmio, R12_R13_QueuesThatCannotBeAreNotReady) {
    negotiate(split_ring);
    const QueueRegisters good = fake_.queue(8, split_ring).registers();
    const std::uint64_t hole = 0x8000'0000;
    const QueueRegisters bad[] = {
        {0, good.descriptors, good.driver, good.device},
        {6, good.descriptors, good.driver, good.device},
        {128, good.descriptors, good.driver, good.device},
        {32768, good.descriptors, good.driver, good.device},
        {8, {hole}, good.driver, good.device},
        {8, good.descriptors, {~0ULL - 1}, good.device},
    };
    for (const QueueRegisters& registers : bad) {
        place(0, registers);
        EXPECT_EQ(read(reg::queue_ready), 0U);
    }
    EXPECT_EQ(transport_->counters().refused_queues, std::size(bad));
    // A size above 16 bits must not be taken for its low half.
    write(reg::queue_descriptors_low, static_cast<std::uint32_t>(good.descriptors.value));
    write(reg::queue_size, 0x1'0008);
    write(reg::queue_ready, 1);
    EXPECT_EQ(read(reg::queue_ready), 0U);
    place(0, good);
    EXPECT_EQ(read(reg::queue_ready), 1U);
    write(reg::queue_ready, 0);
    EXPECT_EQ(read(reg::queue_ready), 0U) << "before DRIVER_OK a driver may take it back";
}

TEST_F(Mmio, QueuesAreReadyOnlyAfterFeaturesOk) {
    write(reg::status, acknowledge | driver);
    place(0, fake_.queue(8, split_ring).registers());
    EXPECT_EQ(read(reg::queue_ready), 0U);
}

TEST_F(Mmio, QueuesThatWereNotEnabledAreNull) {
    FakeQueue queue = start(split_ring, 1);
    EXPECT_TRUE(on_loop(
        [&] { return device_.queues.size() == 3 && device_.queues[0] == nullptr && device_.queues[1] != nullptr; }));
    write(reg::queue_notify, 0); // to a queue that is not there
    settle();
    EXPECT_EQ(on_loop([&] { return device_.kicks; }), 0U);
}

TEST_F(Mmio, T5_ConfigSpaceOfAnyWidthAndOffset) {
    negotiate(split_ring);
    on_loop([&] { device_.config[0] = std::byte{0xaa}; });
    write(reg::config, 0x11111111);     // read-only
    write(reg::config + 4, 0x22222222); // the driver's
    std::array<std::byte, 8> all{};
    transport_->read({reg::config}, all);
    EXPECT_EQ(load_little_endian<std::uint64_t>(all), 0x2222'2222'0000'00aaULL);
    std::array<std::byte, 3> three{std::byte{1}, std::byte{2}, std::byte{3}};
    transport_->write({reg::config + 3}, three);
    transport_->read({reg::config}, all);
    EXPECT_EQ(load_little_endian<std::uint64_t>(all), 0x2222'0302'0000'00aaULL);
    transport_->write({reg::config + 7}, all); // over the end
    transport_->write({reg::config + 4000}, all);
    transport_->read({reg::config + 4000}, all);
    EXPECT_EQ(load_little_endian<std::uint64_t>(all), 0U);
    EXPECT_EQ(on_loop([&] { return device_.negotiated_at_config_write; }), split_ring);
}

} // namespace
} // namespace aerate::virtio
