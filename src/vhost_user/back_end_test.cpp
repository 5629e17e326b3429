// An honest front-end: what the balloon does for it, over split and packed rings.
#include "vhost_user/testing/served.hpp"

#include <gtest/gtest.h>

namespace aerate::vhost_user::testing {
namespace {

class Rings : public ::testing::TestWithParam<virtio::FeatureSet> {};
INSTANTIATE_TEST_SUITE_P(VhostUser, Rings,
                         ::testing::Values(split_guest, packed_guest, split_guest.with(virtio::feature::event_index),
                                           packed_guest.with(virtio::feature::event_index)),
                         [](const auto& rings) {
                             return std::string(rings.param.has(virtio::feature::ring_packed) ? "Packed" : "Split") +
                                    (rings.param.has(virtio::feature::event_index) ? "Events" : "");
                         });

TEST_P(Rings, InflatedPagesGoBackToTheHost) {
    Served served;
    ASSERT_TRUE(served.start(GetParam()));
    served.write_page(data_start);
    served.write_page(data_start + 0x1000);
    ASSERT_TRUE(served.send_pages(inflate, {data_start}));
    EXPECT_TRUE(served.is_discarded(data_start));
    EXPECT_FALSE(served.is_discarded(data_start + 0x1000));
    EXPECT_EQ(served.with([](BackEnd& b) { return b.balloon().memory_state().ballooned; }), PageCount{1});
    ASSERT_TRUE(served.send_pages(deflate, {data_start}));
    EXPECT_EQ(served.with([](BackEnd& b) { return b.balloon().memory_state().ballooned; }), PageCount{0});
}

TEST_P(Rings, ReportedBlocksGoBackToTheHostAcrossManyLaps) {
    Served served;
    ASSERT_TRUE(served.start(GetParam()));
    for (unsigned i = 0; i < 200; ++i) {
        const std::uint64_t address = data_start + std::uint64_t{i} * 0x4000;
        served.write_page(address);
        ASSERT_TRUE(served.report(address, 0x4000)) << i;
        EXPECT_TRUE(served.is_discarded(address)) << i;
    }
}

TEST_P(Rings, StatisticsAreAskedForAndAnswered) {
    Served served;
    ASSERT_TRUE(served.start(GetParam()));
    const std::uint64_t buffer = ram_start + (9U << 20);
    const std::array<std::byte, 10> free_memory{std::byte{4}, std::byte{0}, std::byte{77}};
    std::memcpy(served.ram.at(buffer), free_memory.data(), free_memory.size());
    const std::array chain{virtio::DriverBuffer{{buffer}, 10, false}};
    ASSERT_TRUE(served.front->ring(statistics).add(chain));
    ASSERT_TRUE(served.front->ring(statistics).publish());
    served.front->kick(statistics);
    while (served.with([](BackEnd& b) { return b.transport_counters().kicks; }) == 0)
        ;
    std::promise<std::uint64_t> answer;
    served.with([&](BackEnd& b) {
        b.balloon().statistics().request(
            [&](const Result<balloon::GuestStatistics>& got) { answer.set_value(got ? *got->values[4] : 0); });
        return 0;
    });
    ASSERT_TRUE(served.front->wait_used(statistics)); // asked
    ASSERT_TRUE(served.front->ring(statistics).add(chain));
    ASSERT_TRUE(served.front->ring(statistics).publish());
    served.front->kick(statistics);
    EXPECT_EQ(answer.get_future().get(), 77U);
}

TEST_P(Rings, HintsAreCountedAndNothingIsDiscarded) {
    Served served;
    ASSERT_TRUE(served.start(GetParam()));
    const std::uint32_t id =
        served.with([](BackEnd& b) { return b.balloon().hinting().start(b.counted_hints()).value; });
    ASSERT_NE(id, 0U);
    EXPECT_TRUE(served.front->config_change());
    EXPECT_EQ(served.front->read_config(8), id);
    const std::uint64_t buffer = ram_start + (9U << 20);
    std::memcpy(served.ram.at(buffer), &id, 4);
    served.write_page(data_start);
    ASSERT_TRUE(served.front->send_chain(hinting, std::array{virtio::DriverBuffer{{buffer}, 4, false}}));
    ASSERT_TRUE(served.front->send_chain(hinting, std::array{virtio::DriverBuffer{{data_start}, 4U << 20, true}}));
    EXPECT_FALSE(served.is_discarded(data_start));
    EXPECT_EQ(served.with([](BackEnd& b) { return b.counted_hints().unique(); }), PageCount{1024});
    EXPECT_EQ(served.with([](BackEnd& b) { return b.counters().discarded; }), PageCount{0});
}

TEST_P(Rings, AGuestThatIsPausedGoesOnWhereItWas) {
    Served served;
    ASSERT_TRUE(served.start(GetParam()));
    ASSERT_TRUE(served.send_pages(inflate, {data_start, data_start + 0x3000}));
    ASSERT_TRUE(served.front->write_config(4, 2));
    std::array<std::uint32_t, 5> bases{};
    for (std::uint32_t i = 0; i < 5; ++i) {
        const auto base = served.front->stop_ring(i);
        ASSERT_TRUE(base);
        bases[i] = *base;
    }
    EXPECT_TRUE(served.front->set_status(0)); // as QEMU does when it stops a VM
    EXPECT_FALSE(served.active());
    for (std::uint32_t i = 0; i < 5; ++i)
        ASSERT_TRUE(served.front->start_ring(i, bases[i])) << i;
    ASSERT_TRUE(served.front->set_status(15));
    ASSERT_TRUE(served.active());
    EXPECT_EQ(served.with([](BackEnd& b) { return b.balloon().memory_state().ballooned; }), PageCount{2});
    EXPECT_EQ(served.front->read_config(4), 2U);
    ASSERT_TRUE(served.send_pages(deflate, {data_start}));
    EXPECT_EQ(served.with([](BackEnd& b) { return b.balloon().memory_state().ballooned; }), PageCount{1});
}

TEST_P(Rings, ADriverThatBeginsAnewFindsAnEmptyBalloon) {
    Served served;
    ASSERT_TRUE(served.start(GetParam()));
    ASSERT_TRUE(served.send_pages(inflate, {data_start}));
    for (std::uint32_t i = 0; i < 5; ++i)
        ASSERT_TRUE(served.front->enable(i, false));
    EXPECT_FALSE(served.active());
    served.front->make_rings(served.ram, 5);
    ASSERT_TRUE(served.front->start_rings());
    EXPECT_EQ(served.with([](BackEnd& b) { return b.balloon().memory_state().ballooned; }), PageCount{0});
    ASSERT_TRUE(served.send_pages(inflate, {data_start + 0x5000}));
}

TEST_P(Rings, AFrontEndThatReconnectsFindsItsBalloon) {
    auto served = std::make_unique<Served>();
    ASSERT_TRUE(served->start(GetParam()));
    ASSERT_TRUE(served->with([](BackEnd& b) { return b.balloon().set_target({300}); }));
    ASSERT_TRUE(served->send_pages(inflate, {data_start}));
    std::array<std::uint32_t, 5> bases{};
    for (std::uint32_t i = 0; i < 5; ++i)
        bases[i] = served->front->stop_ring(i).value_or(~0U);
    Served again(served->stop());
    ASSERT_TRUE(again.front->negotiate(GetParam()));
    ASSERT_EQ(again.front->share_memory({&again.ram}), true);
    again.front->make_rings(again.ram, 5);
    std::memcpy(again.ram.at(ram_start), served->ram.at(ram_start), 5 * FrontEnd::ring_stride);
    for (std::uint32_t i = 0; i < 5; ++i)
        ASSERT_TRUE(again.front->start_ring(i, bases[i])) << i;
    ASSERT_TRUE(again.front->set_status(15));
    ASSERT_TRUE(again.active());
    EXPECT_EQ(again.with([](BackEnd& b) { return b.balloon().memory_state().ballooned; }), PageCount{1});
    EXPECT_EQ(again.front->read_config(0), 300U);
}

TEST(VhostUser, WithoutStatusTheFirstKickIsEnough) {
    Served served;
    ASSERT_TRUE(served.front->negotiate(split_guest, protocol_feature::status));
    ASSERT_EQ(served.front->share_memory({&served.ram}), true);
    served.front->make_rings(served.ram, 2);
    ASSERT_TRUE(served.front->start_rings());
    EXPECT_FALSE(served.active()); // five queues were negotiated
    EXPECT_TRUE(served.send_pages(inflate, {data_start}));
    EXPECT_TRUE(served.active());
}

TEST(VhostUser, WithoutTheProtocolFeaturesBitRingsAreEnabledFromTheirStart) {
    // As User Mode Linux does when its driver clears a bit: it never enables, and asks for the features when it removes
    // the device.
    Served served;
    ASSERT_TRUE(served.start(split_guest));
    ASSERT_TRUE(served.front->negotiate(split_guest.with(feature::protocol_features, false), protocol_feature::status));
    EXPECT_FALSE(served.active());
    served.front->make_rings(served.ram, 5);
    for (std::uint32_t i = 0; i < 5; ++i)
        ASSERT_TRUE(served.front->start_ring(i));
    EXPECT_TRUE(served.active());
    ASSERT_TRUE(served.front->ask<std::uint64_t>(RequestCode::get_features));
    EXPECT_FALSE(served.active());
}

TEST(VhostUser, AFrontEndThatTellsTheStatusIsWaitedFor) {
    Served served;
    ASSERT_TRUE(served.front->negotiate(split_guest));
    ASSERT_EQ(served.front->share_memory({&served.ram}), true);
    served.front->make_rings(served.ram, 5);
    ASSERT_TRUE(served.front->set_status(3));
    for (std::uint32_t i = 0; i < 5; ++i)
        ASSERT_TRUE(served.front->start_ring(i));
    served.front->kick(inflate);
    EXPECT_FALSE(served.active());
    ASSERT_TRUE(served.front->set_status(15));
    EXPECT_TRUE(served.active());
}

TEST(VhostUser, MemoryThatChangesLeavesThePoisonValueKnown) {
    Served served;
    ASSERT_TRUE(served.start(split_guest.with(4)));
    ASSERT_EQ(served.front->share_memory({&served.ram}), true);
    served.write_page(data_start);
    ASSERT_TRUE(served.report(data_start, 0x1000));
    EXPECT_TRUE(served.is_discarded(data_start)) << "the driver left the value at 0";
}

TEST(VhostUser, ThePoisonValueMayBeWrittenAfterTheRingsAreSetUp) {
    Served served;
    ASSERT_TRUE(served.start(split_guest.with(4), protocol_feature::status));
    ASSERT_TRUE(served.front->write_config(12, 0xaaaa'aaaa));
    served.write_page(data_start);
    ASSERT_TRUE(served.report(data_start, 0x1000));
    EXPECT_FALSE(served.is_discarded(data_start)) << "the guest expects its poison value there";
    ASSERT_TRUE(served.front->write_config(12, 0)); // too late
    ASSERT_TRUE(served.report(data_start, 0x1000));
    EXPECT_FALSE(served.is_discarded(data_start));
}

TEST(VhostUser, ThePoisonValueMayBeWrittenBeforeTheFeaturesAreKnown) {
    // As QEMU does: it passes config writes on at once, and sends the features with DRIVER_OK.
    Served served;
    ASSERT_EQ(served.front->set(RequestCode::set_protocol_features, protocol_feature::offered), true);
    ASSERT_TRUE(served.front->write_config(12, 0xaaaa'aaaa));
    ASSERT_TRUE(served.start(split_guest.with(4)));
    served.write_page(data_start);
    ASSERT_TRUE(served.report(data_start, 0x1000));
    EXPECT_FALSE(served.is_discarded(data_start)) << "the guest expects its poison value there";
}

TEST(VhostUser, AStatusOfZeroStopsEveryRing) {
    Served served;
    ASSERT_TRUE(served.start());
    ASSERT_TRUE(served.front->set_status(0));
    EXPECT_FALSE(served.active());
    ASSERT_TRUE(served.front->set_status(15));
    served.front->kick(inflate);
    EXPECT_TRUE(served.front->settled());
    EXPECT_FALSE(served.active());
    served.front->make_rings(served.ram, 5);
    ASSERT_TRUE(served.front->start_rings());
    EXPECT_TRUE(served.send_pages(inflate, {data_start}));
}

TEST(VhostUser, AResumedGuestWhosePoisonValueIsUnknownKeepsItsPages) {
    Served served;
    ASSERT_TRUE(served.start(split_guest.with(4)));
    served.write_page(data_start);
    ASSERT_TRUE(served.report(data_start, 0x1000));
    EXPECT_TRUE(served.is_discarded(data_start)); // 0 by reset, and the driver left it
    const auto base = served.front->stop_ring(reporting);
    ASSERT_TRUE(base);
    Served next;
    ASSERT_TRUE(next.front->negotiate(split_guest.with(4), protocol_feature::status));
    ASSERT_EQ(next.front->share_memory({&next.ram}), true);
    next.front->make_rings(next.ram, 5);
    std::memcpy(next.ram.at(ram_start), served.ram.at(ram_start), 5 * FrontEnd::ring_stride);
    ASSERT_TRUE(next.front->start_ring(reporting, *base));
    next.write_page(data_start);
    const std::uint64_t frame = data_start; // the ring's next descriptor, written by hand: its driver half is new
    const auto addresses = next.front->ring(reporting).registers();
    const virtio::SplitDescriptor descriptor{frame, 0x1000, virtio::descriptor_flag::write, 0};
    std::memcpy(next.ram.at(addresses.descriptors.value), &descriptor, sizeof descriptor);
    const auto available = addresses.driver.value;
    const std::uint16_t slot = 0;
    std::memcpy(next.ram.at(available + 4 + 2 * (*base % 64)), &slot, 2);
    const auto index = static_cast<std::uint16_t>(*base + 1);
    std::memcpy(next.ram.at(available + 2), &index, 2);
    next.front->kick(reporting);
    for (int i = 0;
         i < 500 && next.with([](BackEnd& b) { return b.counters().skips(balloon::SkipReason::page_poison); }) == 0;
         ++i)
        ::usleep(1000);
    EXPECT_EQ(next.with([](BackEnd& b) { return b.counters().skips(balloon::SkipReason::page_poison); }), 1U);
    EXPECT_FALSE(next.is_discarded(data_start));
}

TEST(VhostUser, TargetsReachTheGuest) {
    Served served;
    ASSERT_TRUE(served.start());
    ASSERT_TRUE(served.with([](BackEnd& b) { return b.balloon().set_target({1000}); }));
    const auto change = served.front->config_change();
    ASSERT_TRUE(change);
    EXPECT_EQ(change->header.request, static_cast<std::uint32_t>(BackEndRequestCode::config_change));
    EXPECT_EQ(change->header.flags, header_flag::version);
    EXPECT_EQ(served.front->read_config(0), 1000U);
}

TEST(VhostUser, ADeviceResetForgetsTheGuest) {
    Served served;
    ASSERT_TRUE(served.start());
    ASSERT_TRUE(served.send_pages(inflate, {data_start}));
    EXPECT_EQ(served.front->acknowledged(RequestCode::reset_device), true);
    EXPECT_FALSE(served.active());
    EXPECT_EQ(served.front->ask<std::uint64_t>(RequestCode::get_status), 0U);
    served.front->make_rings(served.ram, 5);
    ASSERT_TRUE(served.front->start_rings());
    EXPECT_EQ(served.with([](BackEnd& b) { return b.balloon().memory_state().ballooned; }), PageCount{0});
}

TEST(VhostUser, WhatTheDeviceWritesAndDiscardsIsInTheFrontEndsLog) {
    Served served;
    ASSERT_TRUE(served.start());
    const FileDescriptor file(::memfd_create("log", MFD_CLOEXEC));
    constexpr std::size_t log_size = 4096;
    ASSERT_EQ(::ftruncate(file.get(), log_size), 0);
    const auto* log =
        static_cast<const std::uint8_t*>(::mmap(nullptr, log_size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
    const auto logged = [&](std::uint64_t address) {
        const std::uint64_t page = address >> page_shift;
        return ((static_cast<unsigned>(log[page / 8]) >> (page % 8)) & 1U) != 0;
    };
    ASSERT_TRUE(served.report(data_start, 0x2000));
    ASSERT_TRUE(served.front->send(RequestCode::set_log_base, bytes_of_struct(LogDescription{log_size, 0}),
                                   std::array{file.get()}));
    const auto reply = served.front->receive();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->header.request, static_cast<std::uint32_t>(RequestCode::set_log_base));
    EXPECT_EQ(served.front->set(RequestCode::set_features, split_guest.with(feature::log_all).bits), true);
    EXPECT_TRUE(served.active()) << "logging is switched on while the device runs";
    EXPECT_FALSE(logged(data_start));
    ASSERT_TRUE(served.report(data_start + 0x10000, 0x2000));
    ASSERT_TRUE(served.front->settled());
    EXPECT_TRUE(logged(data_start + 0x10000) && logged(data_start + 0x11000));
    EXPECT_FALSE(logged(data_start) || logged(data_start + 0x12000));
    EXPECT_TRUE(logged(served.front->ring(reporting).registers().device.value));
    EXPECT_EQ(served.front->set(RequestCode::set_features, split_guest.bits), true);
    ASSERT_TRUE(served.report(data_start + 0x20000, 0x1000));
    ASSERT_TRUE(served.front->settled());
    EXPECT_FALSE(logged(data_start + 0x20000));
    // The migration is over, its log too: memory that it does not cover may come.
    const SharedRam far(8ULL << 30, 1U << 20);
    EXPECT_EQ(served.front->set(RequestCode::add_mem_reg, SingleRegion{0, far.description()}, std::array{far.fd()}),
              true);
    EXPECT_TRUE(served.report(data_start, 0x1000));
}

TEST(VhostUser, MemorySlotsComeAndGoWhileTheDeviceRuns) {
    Served served;
    ASSERT_TRUE(served.start());
    ASSERT_TRUE(served.send_pages(inflate, {data_start}));
    const SharedRam more(1ULL << 32, 4U << 20, 0x3000);
    EXPECT_EQ(served.front->ask<std::uint64_t>(RequestCode::get_max_mem_slots), mem_slots_max);
    const SingleRegion region{0, more.description()};
    ASSERT_EQ(served.front->set(RequestCode::add_mem_reg, region, std::array{more.fd()}), true);
    EXPECT_TRUE(served.active());
    std::memset(more.at(1ULL << 32), 0xaa, 4U << 20);
    ASSERT_TRUE(served.report(1ULL << 32, 0x4000));
    EXPECT_EQ(*more.at(1ULL << 32), std::byte{0});
    EXPECT_EQ(*more.at((1ULL << 32) + 0x4000), std::byte{0xaa});
    EXPECT_EQ(served.with([](BackEnd& b) { return b.balloon().memory_state().ballooned; }), PageCount{1});
    ASSERT_EQ(served.front->set(RequestCode::rem_mem_reg, region), true);
    ASSERT_TRUE(served.report((1ULL << 32) + 0x4000, 0x4000));
    EXPECT_EQ(*more.at((1ULL << 32) + 0x4000), std::byte{0xaa});
    EXPECT_EQ(served.with([](BackEnd& b) { return b.counters().skips(balloon::SkipReason::frame_outside_ram); }), 4U);
}

TEST(VhostUser, ATargetIsForAllOfTheMemoryThoughThatComesPieceByPiece) {
    const auto half = [](std::uint64_t i) { return SingleRegion{0, {i << 20, 1U << 20, (7ULL << 32) + (i << 20), 0}}; };
    Served served(KeptState{{.target = 512, .last_command = {}, .ballooned = {}, .reported = {}}, std::nullopt});
    ASSERT_TRUE(served.front->negotiate(split_guest));
    const std::array file{served.ram.fd()};
    ASSERT_EQ(served.front->set(RequestCode::add_mem_reg, half(0), file), true);
    EXPECT_EQ(served.front->read_config(0), 256U) << "all that there is";
    ASSERT_EQ(served.front->set(RequestCode::add_mem_reg, half(1), file), true);
    EXPECT_EQ(served.front->read_config(0), 512U);
    // One that was set since counts, whatever was kept, also when all memory goes and comes.
    ASSERT_TRUE(served.with([](BackEnd& b) { return b.balloon().set_target({300}); }));
    for (const std::uint64_t i : {0U, 1U})
        ASSERT_EQ(served.front->set(RequestCode::rem_mem_reg, half(i)), true);
    for (const std::uint64_t i : {0U, 1U})
        ASSERT_EQ(served.front->set(RequestCode::add_mem_reg, half(i), file), true);
    EXPECT_EQ(served.front->read_config(0), 300U);
    EXPECT_EQ(served.stop().balloon.target, 300U);
}

} // namespace
} // namespace aerate::vhost_user::testing
