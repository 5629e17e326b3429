// V6 to V8 of docs/hostile-inputs.md: a hostile front-end's rings and what wakes them.
#include "vhost_user/testing/served.hpp"

#include <gtest/gtest.h>

namespace aerate::vhost_user::testing {
namespace {

// --- V6, V7, V8: rings -----------------------------------------------------------------------------------------------

TEST(HostileFrontEnd, V6_RingsThatCannotBeAreRefused) {
    Ready ready;
    for (const std::uint32_t index : {5U, 255U, ~0U}) {
        EXPECT_EQ(ready.front->set(RequestCode::set_vring_num, VringState{index, 64}), false);
        EXPECT_EQ(ready.front->set(RequestCode::set_vring_base, VringState{index, 0}), false);
        EXPECT_EQ(ready.front->set(RequestCode::set_vring_enable, VringState{index, 1}), false);
        VringAddresses addresses = ready.front->ring_addresses(0);
        addresses.index = index;
        EXPECT_EQ(ready.front->set(RequestCode::set_vring_addr, addresses), false);
    }
    EXPECT_EQ(ready.front->set(RequestCode::set_vring_enable, VringState{0, 2}), false);
    EXPECT_EQ(ready.front->set(RequestCode::set_vring_call, std::uint64_t{5} | vring_fd_none), false);
    EXPECT_EQ(ready.front->set(RequestCode::set_vring_call, (1ULL << 40) | vring_fd_none), false);
    for (const std::uint32_t size : {0U, 3U, 65536U, 32769U, ~0U})
        EXPECT_EQ(ready.front->set(RequestCode::set_vring_num, VringState{0, size}), false) << size;
    EXPECT_EQ(ready.front->set(RequestCode::set_vring_base, VringState{0, 0x10000}), false);

    const auto refused_at = [&](std::uint64_t VringAddresses::* part, std::uint64_t address) {
        VringAddresses addresses = ready.front->ring_addresses(0);
        addresses.*part = address;
        const std::array kick{ready.front->ring(0).kick.get()};
        return ready.front->set(RequestCode::set_vring_num, VringState{0, 64}) == true &&
               (ready.front->set(RequestCode::set_vring_addr, addresses) == false ||
                ready.front->set(RequestCode::set_vring_kick, std::uint64_t{0}, kick) == false);
    };
    const std::uint64_t end = ready.ram.description().user_address + ram_size;
    for (std::uint64_t VringAddresses::* part :
         {&VringAddresses::descriptors, &VringAddresses::available, &VringAddresses::used}) {
        EXPECT_TRUE(refused_at(part, 0));
        EXPECT_TRUE(refused_at(part, ~0ULL));
        EXPECT_TRUE(refused_at(part, end - 8));
        EXPECT_TRUE(refused_at(part, end));
        EXPECT_TRUE(refused_at(part, ready.ram.description().user_address + 1));
    }
    EXPECT_TRUE(ready.still_serves());
}

TEST(HostileFrontEnd, V6_ABaseThatNoRingCanHaveIsRefused) {
    Ready ready;
    EXPECT_FALSE(ready.front->start_ring(0, 65)) << "further than the ring is long";
    Served packed;
    ASSERT_TRUE(packed.front->negotiate(packed_guest));
    ASSERT_EQ(packed.front->share_memory({&packed.ram}), true);
    packed.front->make_rings(packed.ram, 5);
    EXPECT_FALSE(packed.front->start_ring(0, 0x8000'8040)) << "beyond the ring";
    EXPECT_FALSE(packed.front->start_ring(0, 0x8005'8003)) << "used more than was available";
    EXPECT_TRUE(packed.front->start_rings());
}

TEST(HostileFrontEnd, V7_KicksAndCallsOfAnyKindBlockNobody) {
    Served served;
    ASSERT_TRUE(served.start());
    // A call eventfd that is full, and blocking.
    const std::uint64_t nearly_full = ~0ULL - 1;
    const FileDescriptor full(::eventfd(0, EFD_CLOEXEC));
    ASSERT_EQ(::write(full.get(), &nearly_full, 8), 8);
    ASSERT_EQ(served.front->set(RequestCode::set_vring_call, std::uint64_t{inflate}, std::array{full.get()}), true);
    for (int i = 0; i < 100; ++i)
        served.with([](BackEnd& b) { return b.interrupt_queue({inflate}), 0; });
    // A call socket that nobody reads, and then one whose peer is gone.
    std::array<int, 2> pair{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
    FileDescriptor peer(pair[0]);
    const FileDescriptor given(pair[1]);
    ASSERT_EQ(served.front->set(RequestCode::set_vring_call, std::uint64_t{deflate}, std::array{given.get()}), true);
    for (int i = 0; i < 2000; ++i)
        served.with([](BackEnd& b) { return b.interrupt_queue({deflate}), 0; });
    peer.close();
    served.with([](BackEnd& b) { return b.interrupt_queue({deflate}), 0; });
    // Kicks that never end, that can be held up by others, that are none.
    const FileDescriptor zeros(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(served.front->set(RequestCode::set_vring_kick, std::uint64_t{hinting}, std::array{zeros.get()}), false);
    EXPECT_EQ(served.front->set(RequestCode::set_vring_kick, std::uint64_t{hinting}, std::array{given.get()}), false);
    EXPECT_EQ(served.front->set(RequestCode::set_vring_kick, std::uint64_t{hinting} | vring_fd_none), false);
    const FileDescriptor internet(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(served.front->set(RequestCode::set_vring_call, std::uint64_t{hinting}, std::array{internet.get()}),
              false);
    EXPECT_TRUE(served.front->settled());

    EXPECT_TRUE(served.report(data_start, 0x1000));
}

/// Returns false if it waited for somebody, and was woken by hand through the eventfd.
template <typename F>
bool does_not_block(int eventfd, F f) {
    auto done = std::async(std::launch::async, f);
    const bool at_once = done.wait_for(std::chrono::seconds(5)) == std::future_status::ready;
    std::uint64_t value = 1;
    ::fcntl(eventfd, F_SETFL, O_NONBLOCK);
    for (int i = 0; !at_once && i < 2; ++i) // whichever way round it waits
        (void)!(i == 0 ? ::read(eventfd, &value, sizeof value) : ::write(eventfd, &value, sizeof value));
    return at_once;
}

TEST(HostileFrontEnd, V7_ADescriptorMadeBlockingLaterBlocksNobodyEither) {
    const FileDescriptor full(::eventfd(0, EFD_CLOEXEC));
    const auto notifier = Notifier::of(FileDescriptor(::dup(full.get())));
    ASSERT_TRUE(notifier);
    std::uint64_t count = ~0ULL - 1;
    ASSERT_EQ(::write(full.get(), &count, sizeof count), 8);
    ASSERT_EQ(::fcntl(full.get(), F_SETFL, 0), 0); // the flag is one for both
    ASSERT_TRUE(does_not_block(full.get(), [&] {
        for (int i = 0; i < 1000; ++i) // more than there is room for at a time
            notifier->signal();
    }));
    EXPECT_EQ(::read(full.get(), &count, sizeof count), 8);
    notifier->signal();
    EXPECT_EQ(::read(full.get(), &count, sizeof count), 8);
    EXPECT_EQ(count, 1U);

    const FileDescriptor empty(::eventfd(0, EFD_CLOEXEC));
    const auto kick = Kick::of(FileDescriptor(::dup(empty.get())));
    ASSERT_TRUE(kick);
    ASSERT_EQ(::fcntl(empty.get(), F_SETFL, 0), 0);
    EXPECT_TRUE(does_not_block(empty.get(), [&] { EXPECT_TRUE(kick->drain()); }));
    EXPECT_EQ(::write(empty.get(), &count, sizeof count), 8);
    EXPECT_TRUE(kick->drain());
    EXPECT_EQ(::read(empty.get(), &count, sizeof count), -1);
}

TEST(HostileFrontEnd, V8_MemoryThatChangesUnderRunningRingsChangesNothingInTheMiddle) {
    Served served;
    ASSERT_TRUE(served.start());
    for (int i = 0; i < 20; ++i) {
        served.write_page(data_start);
        ASSERT_EQ(served.front->share_memory({&served.ram}), true);
        ASSERT_TRUE(served.report(data_start, 0x1000));
        EXPECT_TRUE(served.is_discarded(data_start));
    }
    // The ring's own memory goes: it is stopped, and comes back with its memory.
    const SharedRam other(4ULL << 30, 1U << 20);
    ASSERT_EQ(served.front->share_memory({&other}), true);
    EXPECT_FALSE(served.active());
    served.front->kick(inflate);
    EXPECT_TRUE(served.front->settled());
    ASSERT_EQ(served.front->share_memory({}), true);
    EXPECT_FALSE(served.active());
    ASSERT_EQ(served.front->share_memory({&served.ram}), true);
    for (std::uint32_t i = 0; i < 5; ++i)
        ASSERT_TRUE(served.front->stop_ring(i));
    served.front->make_rings(served.ram, 5);
    EXPECT_TRUE(served.front->start_rings());
    EXPECT_TRUE(served.send_pages(inflate, {data_start}));
}

} // namespace
} // namespace aerate::vhost_user::testing
