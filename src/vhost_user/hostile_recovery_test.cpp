// V9 and V10 of docs/hostile-inputs.md: a hostile front-end's dirty log, its in-flight region, and its going away.
#include "vhost_user/testing/served.hpp"

#include <gtest/gtest.h>

namespace aerate::vhost_user::testing {
namespace {

// --- V9, V10: log, disconnects, in-flight ----------------------------------------------------------------------------

TEST(HostileFrontEnd, V9_ALogThatDoesNotCoverTheGuestIsRefused) {
    Ready ready;
    const FileDescriptor log(::memfd_create("log", MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(log.get(), 4096), 0);
    const auto refused = [&](std::uint64_t size, std::uint64_t offset) {
        return ready.front->acknowledged(RequestCode::set_log_base, bytes_of_struct(LogDescription{size, offset}),
                                         std::array{log.get()}) == false;
    };
    EXPECT_TRUE(refused(0, 0));
    EXPECT_TRUE(refused(64, 0)) << "2 MiB of a guest of 42";
    EXPECT_TRUE(refused(8192, 0)) << "more than the file holds";
    EXPECT_TRUE(refused(4096, 8));
    EXPECT_TRUE(refused(~0ULL, 1));
    EXPECT_TRUE(refused(1ULL << 40, 0));
    VringAddresses addresses = ready.front->ring_addresses(0);
    addresses.flags = log_used_flag;
    addresses.log = 1ULL << 60;
    EXPECT_EQ(ready.front->set(RequestCode::set_vring_addr, addresses), false);
    EXPECT_TRUE(ready.still_serves());
    // Memory that grows beyond the log.
    ASSERT_TRUE(
        ready.front->send(RequestCode::set_log_base, bytes_of_struct(LogDescription{4096, 0}), std::array{log.get()}));
    ASSERT_TRUE(ready.front->receive());
    const SharedRam far(8ULL << 30, 1U << 20);
    EXPECT_EQ(ready.front->set(RequestCode::add_mem_reg, SingleRegion{0, far.description()}, std::array{far.fd()}),
              false);
    EXPECT_TRUE(ready.send_pages(inflate, {data_start}));
}

TEST(HostileFrontEnd, V10_AConnectionThatEndsAfterAnyMessageLeavesNothingBehind) {
    const std::size_t before = open_descriptors();
    for (int steps = 0; steps < 8; ++steps) {
        Served served;
        FrontEnd& front = *served.front;
        front.make_rings(served.ram, 5);
        const std::array kick{front.ring(0).kick.get()};
        if (steps > 0) {
            ASSERT_TRUE(front.negotiate(split_guest));
        }
        if (steps > 1) {
            ASSERT_EQ(front.share_memory({&served.ram}), true);
        }
        if (steps > 2) {
            ASSERT_EQ(front.set(RequestCode::set_vring_num, VringState{0, 64}), true);
        }
        if (steps > 3) {
            ASSERT_EQ(front.set(RequestCode::set_vring_addr, front.ring_addresses(0)), true);
        }
        if (steps > 4) {
            ASSERT_EQ(front.set(RequestCode::set_vring_kick, std::uint64_t{0}, kick), true);
        }
        if (steps > 5) {
            ASSERT_TRUE(front.enable(0, true));
        }
        if (steps > 6) {
            ASSERT_TRUE(front.start_rings());
            ASSERT_TRUE(served.send_pages(inflate, {data_start}));
        }
        front.hang_up();
        EXPECT_TRUE(served.ended()) << steps;
    }
    EXPECT_EQ(open_descriptors(), before);
}

TEST(HostileFrontEnd, V10_WhatIsKeptOfAGuestIsBoundedWhateverItReported) {
    constexpr std::uint64_t start = 1ULL << 32;
    constexpr std::uint64_t size = 1ULL << 30;
    Served served;
    ASSERT_TRUE(served.start());
    const SharedRam more(start, size);
    ASSERT_EQ(served.front->set(RequestCode::add_mem_reg, SingleRegion{0, more.description()}, std::array{more.fd()}),
              true);
    // Every other page.
    for (std::uint64_t address = start; address < start + size;) {
        std::array<virtio::DriverBuffer, 32> chain;
        for (virtio::DriverBuffer& buffer : chain) {
            buffer = {{address}, 0x1000, true};
            address += 0x2000;
        }
        ASSERT_TRUE(served.front->send_chain(reporting, chain));
    }
    ASSERT_TRUE(served.send_pages(inflate, {data_start}));
    const KeptState kept = served.stop();
    EXPECT_LE(kept.balloon.reported.size(), 100'000U);
    EXPECT_EQ(kept.balloon.ballooned.size(), 1U);
}

class InFlight : public ::testing::TestWithParam<virtio::FeatureSet> {};
INSTANTIATE_TEST_SUITE_P(HostileFrontEnd, InFlight, ::testing::Values(split_guest, packed_guest),
                         [](const auto& rings) {
                             return rings.param.has(virtio::feature::ring_packed) ? "Packed" : "Split";
                         });

FileDescriptor inflight_of(const FrontEnd& front, InflightDescription& description) {
    auto payload = bytes_of_struct(description);
    payload.resize(inflight_description_bytes);
    CHECK(front.send(RequestCode::get_inflight_fd, payload));
    auto answer = front.receive();
    CHECK(answer && answer->fd.valid());
    std::memcpy(&description, answer->payload.data(), inflight_description_bytes);
    return std::move(answer->fd);
}

std::optional<bool> give_inflight(const FrontEnd& front, const InflightDescription& description, int fd) {
    auto payload = bytes_of_struct(description);
    payload.resize(inflight_description_bytes);
    return front.acknowledged(RequestCode::set_inflight_fd, payload, std::array{fd});
}

/// A back-end that dies with a buffer in its hands: its successor gets rings, memory and region as they were.
TEST_P(InFlight, V10_ABackEndThatTakesOverDoesAgainWhatWasTakenAndNotUsed) {
    const virtio::FeatureSet guest = GetParam();
    auto first = std::make_unique<Served>();
    ASSERT_TRUE(first->front->negotiate(guest));
    ASSERT_EQ(first->front->share_memory({&first->ram}), true);
    InflightDescription description{0, 0, 5, 64, 0};
    const FileDescriptor region = inflight_of(*first->front, description);
    ASSERT_EQ(give_inflight(*first->front, description, region.get()), true);
    first->front->make_rings(first->ram, 5);
    ASSERT_TRUE(first->front->start_rings());
    for (int i = 0; i < 70; ++i) // past the end of the ring
        ASSERT_TRUE(first->send_pages(inflate, {data_start}));

    // What a crash leaves: the region and the rings at this moment. The orderly end that follows is not seen.
    const FileDescriptor copied(::memfd_create("inflight", MFD_CLOEXEC));
    std::vector<std::byte> bytes(description.mmap_size);
    ASSERT_EQ(::pread(region.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    ASSERT_EQ(::pwrite(copied.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));

    Served next;
    next.write_page(data_start + 0x1000);
    ASSERT_TRUE(next.front->negotiate(guest));
    ASSERT_EQ(next.front->share_memory({&next.ram}), true);
    ASSERT_EQ(give_inflight(*next.front, description, copied.get()), true);
    next.front->make_rings(next.ram, 5);
    std::memcpy(next.ram.at(ram_start), first->ram.at(ram_start), 5 * FrontEnd::ring_stride);
    // The driver made a chain available that nobody used: it goes into the next life's ring memory as it is.
    const std::uint64_t buffer = ram_start + (8U << 20);
    const auto frame = static_cast<std::uint32_t>((data_start + 0x1000) >> page_shift);
    std::memcpy(next.ram.at(buffer), &frame, 4);
    const auto registers = next.front->ring(inflate).registers();
    constexpr std::uint64_t slot = 70 % 64;
    if (guest.has(virtio::feature::ring_packed)) {
        const virtio::packed::Tail tail{4, 0, virtio::packed::available_flags(false)};
        const std::uint64_t word = tail.word();
        std::memcpy(next.ram.at(registers.descriptors.value + slot * 16), &buffer, 8);
        std::memcpy(next.ram.at(registers.descriptors.value + slot * 16 + 8), &word, 8);
    } else {
        const virtio::SplitDescriptor descriptor{buffer, 4, 0, 0};
        std::memcpy(next.ram.at(registers.descriptors.value), &descriptor, 16);
        const std::uint16_t head = 0;
        std::memcpy(next.ram.at(registers.driver.value + 4 + 2 * slot), &head, 2);
        const std::uint16_t index = 71;
        std::memcpy(next.ram.at(registers.driver.value + 2), &index, 2);
    }
    // The front-end does not know how far the dead back-end came: what it says is where available stood.
    for (std::uint32_t i = 0; i < 5; ++i)
        ASSERT_TRUE(next.front->start_ring(
            i, i == inflate && !guest.has(virtio::feature::ring_packed) ? 71 : next.front->fresh_base()))
            << i;
    ASSERT_TRUE(next.front->set_status(15));
    for (int i = 0; i < 2000 && !next.is_discarded(data_start + 0x1000); ++i)
        ::usleep(1000);
    EXPECT_TRUE(next.is_discarded(data_start + 0x1000));
}

TEST_P(InFlight, V10_AnInFlightRegionOfNonsenseIsRefusedOrHarmless) {
    Served served;
    ASSERT_TRUE(served.front->negotiate(GetParam()));
    ASSERT_EQ(served.front->share_memory({&served.ram}), true);
    InflightDescription description{0, 0, 5, 64, 0};
    const FileDescriptor region = inflight_of(*served.front, description);
    for (const auto& bad :
         {InflightDescription{64, 0, 5, 64, 0}, InflightDescription{description.mmap_size, 64, 5, 64, 0},
          InflightDescription{description.mmap_size, 8, 5, 64, 0}, InflightDescription{~0ULL, 0, 5, 64, 0},
          InflightDescription{description.mmap_size, 0, 6, 64, 0},
          InflightDescription{description.mmap_size, 0, 0, 64, 0},
          InflightDescription{description.mmap_size, 0, 5, 0, 0},
          InflightDescription{description.mmap_size, 0, 5, 65535, 0}})
        EXPECT_EQ(give_inflight(*served.front, bad, region.get()), false);
    const std::vector<std::byte> nonsense(description.mmap_size, std::byte{0x01});
    ASSERT_EQ(::pwrite(region.get(), nonsense.data(), nonsense.size(), 0), static_cast<ssize_t>(nonsense.size()));
    ASSERT_EQ(give_inflight(*served.front, description, region.get()), true);
    served.front->make_rings(served.ram, 5);
    EXPECT_TRUE(served.front->start_rings());
    EXPECT_TRUE(served.send_pages(inflate, {data_start}));
}

} // namespace
} // namespace aerate::vhost_user::testing
