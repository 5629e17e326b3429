// A hostile front-end: V1 to V12 of docs/hostile-inputs.md. In each case nothing else may suffer than its own
// connection or its own guest.
#include "vhost_user/testing/served.hpp"

#include <gtest/gtest.h>

#include <sys/epoll.h>
#include <sys/stat.h>

#include <set>

namespace aerate::vhost_user::testing {
namespace {

std::size_t open_descriptors() {
    std::size_t count = 0;
    for (int fd = 0; fd < 1024; ++fd)
        count += ::fcntl(fd, F_GETFD) >= 0 ? 1U : 0U;
    return count;
}

/// Ready for rings: features and memory are agreed.
struct Ready : Served {
    Ready() {
        CHECK(front->negotiate(split_guest));
        CHECK(front->share_memory({&ram}) == true);
        front->make_rings(ram, 5);
    }
    [[nodiscard]] bool still_serves() { return front->start_rings() && active() && send_pages(inflate, {data_start}); }
};

MemTableHead head_of(std::uint32_t regions) {
    return {regions, 0};
}

std::vector<std::byte> table_of(std::initializer_list<RegionDescription> regions,
                                std::optional<std::uint32_t> count = std::nullopt) {
    auto payload = bytes_of_struct(head_of(count.value_or(static_cast<std::uint32_t>(regions.size()))));
    for (const RegionDescription& region : regions) {
        const auto bytes = bytes_of_struct(region);
        payload.insert(payload.end(), bytes.begin(), bytes.end());
    }
    return payload;
}

// --- V1: descriptors -------------------------------------------------------------------------------------------------

TEST(HostileFrontEnd, V1_MissingAndExtraDescriptorsEndTheConnectionAndAreClosed) {
    const std::size_t before = open_descriptors();
    const auto try_with = [](RequestCode request, std::span<const std::byte> payload, std::size_t fds) {
        Served served;
        EXPECT_TRUE(served.front->negotiate(split_guest));
        const std::vector<int> many(fds, served.ram.fd());
        EXPECT_TRUE(served.front->send(request, payload, many, header_flag::version | header_flag::need_reply));
        EXPECT_TRUE(served.ended()) << static_cast<unsigned>(request) << " with " << fds;
    };
    try_with(RequestCode::set_vring_kick, bytes_of_struct(std::uint64_t{0}), 2);
    try_with(RequestCode::set_log_base, bytes_of_struct(LogDescription{4096, 0}), 0);
    try_with(RequestCode::get_features, {}, 1);
    try_with(RequestCode::set_features, bytes_of_struct(split_guest.bits), 3);
    try_with(RequestCode::set_mem_table, table_of({}), 9);
    try_with(RequestCode::set_mem_table, table_of({}), 250);
    try_with(RequestCode::set_backend_req_fd, {}, 0);
    EXPECT_EQ(open_descriptors(), before);
}

TEST(HostileFrontEnd, V1_DescriptorsThatContradictTheMessageAreRefused) {
    Ready ready;
    const std::array fd{ready.ram.fd()};
    EXPECT_EQ(ready.front->set(RequestCode::set_vring_call, std::uint64_t{0} | vring_fd_none, fd), false);
    EXPECT_EQ(ready.front->set(RequestCode::set_vring_call, std::uint64_t{0}), false);
    EXPECT_EQ(ready.front->acknowledged(RequestCode::set_mem_table, table_of({ready.ram.description()})), false);
    EXPECT_TRUE(ready.still_serves());
}

TEST(HostileFrontEnd, V1_DescriptorsOfTheWrongKindAreRefused) {
    Ready ready;
    const FileDescriptor directory(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const FileDescriptor event(::eventfd(0, EFD_CLOEXEC));
    const FileDescriptor epoll(::epoll_create1(EPOLL_CLOEXEC));
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    const FileDescriptor reader(pipe[0]);
    const FileDescriptor writer(pipe[1]);
    for (const int fd : {directory.get(), event.get(), epoll.get(), reader.get()})
        EXPECT_EQ(
            ready.front->acknowledged(RequestCode::set_mem_table, table_of({ready.ram.description()}), std::array{fd}),
            false);
    ASSERT_EQ(ready.front->share_memory({&ready.ram}), true);
    for (const RequestCode request :
         {RequestCode::set_vring_kick, RequestCode::set_vring_call, RequestCode::set_vring_err})
        for (const int fd : {directory.get(), epoll.get(), ready.ram.fd()})
            EXPECT_EQ(ready.front->set(request, std::uint64_t{0}, std::array{fd}), false);
    EXPECT_EQ(ready.front->acknowledged(RequestCode::set_backend_req_fd, {}, std::array{event.get()}), false);
    EXPECT_EQ(ready.front->set(RequestCode::set_vring_call, std::uint64_t{0}, std::array{writer.get()}), false);
    EXPECT_TRUE(ready.still_serves());
}

// --- V2, V3: memory --------------------------------------------------------------------------------------------------

TEST(HostileFrontEnd, V2_AFileThatIsSmallerThanItsRegionIsRefused) {
    Ready ready;
    RegionDescription region = ready.ram.description();
    region.size += 0x1000;
    EXPECT_EQ(ready.front->acknowledged(RequestCode::set_mem_table, table_of({region}), std::array{ready.ram.fd()}),
              false);
    region = ready.ram.description();
    region.mmap_offset = 0x1000;
    EXPECT_EQ(ready.front->acknowledged(RequestCode::set_mem_table, table_of({region}), std::array{ready.ram.fd()}),
              false);
    EXPECT_TRUE(ready.still_serves());
}

TEST(HostileFrontEnd, V2_AFileThatIsCutShortEndsThatSessionAndNoOther) {
    Served victim;
    ASSERT_TRUE(victim.start());
    Served hostile;
    ASSERT_TRUE(hostile.start());
    ASSERT_EQ(::ftruncate(hostile.ram.fd(), 0), 0);
    hostile.front->kick(inflate);
    const auto why = hostile.ended();
    ASSERT_TRUE(why);
    EXPECT_NE(why->find("cut"), std::string::npos) << *why;
    EXPECT_TRUE(victim.send_pages(inflate, {data_start}));
}

TEST(HostileFrontEnd, V2_ALogOrAnInFlightRegionThatIsCutShortEndsThatSession) {
    Served served;
    ASSERT_TRUE(served.start());
    const FileDescriptor log(::memfd_create("log", MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(log.get(), 4096), 0);
    ASSERT_TRUE(
        served.front->send(RequestCode::set_log_base, bytes_of_struct(LogDescription{4096, 0}), std::array{log.get()}));
    ASSERT_TRUE(served.front->receive());
    ASSERT_EQ(served.front->set(RequestCode::set_features, split_guest.with(feature::log_all).bits), true);
    ASSERT_EQ(::ftruncate(log.get(), 0), 0);
    (void)served.report(data_start, 0x1000);
    EXPECT_TRUE(served.ended());
}

TEST(HostileFrontEnd, V3_RegionsThatOverlapWrapAreEmptyUnalignedOrTooManyAreRefused) {
    Ready ready;
    const RegionDescription good{ram_start, 0x10000, 0x7000'0000, 0};
    const auto refused = [&](std::initializer_list<RegionDescription> regions) {
        const std::vector<int> fds(regions.size(), ready.ram.fd());
        return ready.front->acknowledged(RequestCode::set_mem_table, table_of(regions), fds) == false;
    };
    EXPECT_TRUE(refused({good, {ram_start + 0x8000, 0x10000, 0x9000'0000, 0}}));   // guest addresses
    EXPECT_TRUE(refused({good, {ram_start + 0x100000, 0x10000, 0x7000'8000, 0}})); // the front-end's
    EXPECT_TRUE(refused({{ram_start, 0, 0x7000'0000, 0}}));                        // empty
    EXPECT_TRUE(refused({{~0xfffULL, 0x2000, 0x7000'0000, 0}}));                   // wraps
    EXPECT_TRUE(refused({{ram_start, 0x2000, ~0xfffULL, 0}}));                     // wraps there
    EXPECT_TRUE(refused({{ram_start, 0x2000, 0x7000'0000, ~0xfffULL}}));           // wraps in the file
    EXPECT_TRUE(refused({{ram_start + 8, 0x2000, 0x7000'0000, 0}}));               // unaligned
    EXPECT_TRUE(refused({{ram_start, 0x2008, 0x7000'0000, 0}}));                   //
    EXPECT_TRUE(refused({{ram_start, 0x2000, 0x7000'0000, 8}}));                   //
    EXPECT_TRUE(refused({{1ULL << 44, 0x2000, 0x7000'0000, 0}}));                  // beyond 16 TiB
    EXPECT_TRUE(refused({{ram_start, 1ULL << 43, 0x7000'0000, 0}}));               // beyond its file
    const std::array fd{ready.ram.fd()};
    EXPECT_EQ(ready.front->acknowledged(RequestCode::set_mem_table, table_of({good}, 2), fd), false);
    EXPECT_EQ(ready.front->acknowledged(RequestCode::set_mem_table, table_of({good}, ~0U), fd), false);
    for (std::uint64_t i = 0; i < mem_slots_max; ++i) {
        const SingleRegion region{0, {(8ULL << 30) + i * 0x1000, 0x1000, 0x7000'0000 + i * 0x1000, 0}};
        const bool fits = i + 1 < mem_slots_max; // one is there already
        EXPECT_EQ(ready.front->set(RequestCode::add_mem_reg, region, fd), fits) << i;
    }
    EXPECT_EQ(ready.front->set(RequestCode::rem_mem_reg, SingleRegion{0, good}), false);
    EXPECT_TRUE(ready.still_serves());
}

TEST(HostileFrontEnd, V3_AllGuestsTogetherHaveABoundOnTheirMemory) {
    const auto budget = std::make_shared<MemoryBudget>(ByteCount{64U << 20});
    Served other(std::nullopt, true, budget);
    {
        Served served(std::nullopt, true, budget);
        ASSERT_TRUE(served.start());
        // A sparse file costs its owner nothing.
        const FileDescriptor sparse(::memfd_create("sparse", MFD_CLOEXEC));
        ASSERT_EQ(::ftruncate(sparse.get(), 1LL << 43), 0);
        const SingleRegion huge{0, {1ULL << 32, 1ULL << 43, 0x7000'0000'0000, 0}};
        EXPECT_EQ(served.front->set(RequestCode::add_mem_reg, huge, std::array{sparse.get()}), false);
        // Nor is a page far away a small one.
        const SingleRegion far{0, {1ULL << 40, 0x1000, 0x7000'0000'0000, 0}};
        EXPECT_EQ(served.front->set(RequestCode::add_mem_reg, far, std::array{sparse.get()}), false);
        const RegionDescription beyond_its_file{0, 60U << 20, 0x7000'0000, 0};
        EXPECT_EQ(served.front->acknowledged(RequestCode::set_mem_table, table_of({beyond_its_file}),
                                             std::array{served.ram.fd()}),
                  false);
        EXPECT_EQ(served.front->share_memory({&served.ram}), true) << "what was refused is not counted";
        EXPECT_TRUE(served.send_pages(inflate, {data_start}));
        ASSERT_TRUE(other.front->negotiate(split_guest));
        EXPECT_EQ(other.front->share_memory({&other.ram}), false) << "43 MiB and 43 MiB";
    }
    EXPECT_EQ(other.front->share_memory({&other.ram}), true);
}

// --- V4, V5: messages ------------------------------------------------------------------------------------------------

TEST(HostileFrontEnd, V4_FramingThatIsBrokenEndsTheConnection) {
    const auto ends = [](Header header, std::size_t payload) {
        Served served;
        auto bytes = bytes_of_struct(header);
        bytes.resize(bytes.size() + payload);
        EXPECT_TRUE(served.front->send_raw(bytes));
        return served.ended().has_value();
    };
    EXPECT_TRUE(ends({1, 0, 0}, 0));                                         // version 0
    EXPECT_TRUE(ends({1, 2, 0}, 0));                                         // version 2
    EXPECT_TRUE(ends({1, header_flag::version | header_flag::reply, 0}, 0)); // a reply
    EXPECT_TRUE(ends({1, header_flag::version | 0x10, 0}, 0));               // unknown flags
    EXPECT_TRUE(ends({1, header_flag::version, payload_max + 1}, 0));        // too long
    EXPECT_TRUE(ends({1, header_flag::version, ~0U}, 0));                    //
    EXPECT_TRUE(ends({1, header_flag::version, 8}, 8));                      // GET_FEATURES has no payload
    EXPECT_TRUE(ends({2, header_flag::version, 4}, 4));                      // SET_FEATURES has eight bytes
}

TEST(HostileFrontEnd, V4_MessagesCutAtAnyByteEndTheConnectionAndNothingElse) {
    auto bytes = bytes_of_struct(Header{2, header_flag::version, 8});
    bytes.resize(bytes.size() + 8);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        Served served;
        ASSERT_TRUE(served.front->send_raw(std::span(bytes).first(length)));
        served.front->hang_up();
        EXPECT_TRUE(served.ended()) << length;
    }
}

TEST(HostileFrontEnd, V4_MessagesThatComeByteByByteAreMessages) {
    Served served;
    const auto bytes = bytes_of_struct(Header{1, header_flag::version, 0});
    for (const std::byte& byte : bytes)
        ASSERT_TRUE(served.front->send_raw({&byte, 1}));
    const auto answer = served.front->receive();
    ASSERT_TRUE(answer);
    EXPECT_TRUE(split_guest.within({answer->as<std::uint64_t>()}));
}

TEST(HostileFrontEnd, V5_UnknownRequestsAreRefusedWhenAnAnswerIsWantedAndElseEndTheConnection) {
    Ready ready;
    for (const std::uint32_t code : {0U, 19U, 22U, 28U, 33U, 44U, 1000U, ~0U})
        EXPECT_EQ(ready.front->acknowledged(RequestCode{code}), false) << code;
    EXPECT_TRUE(ready.still_serves());
    ASSERT_TRUE(ready.front->send(RequestCode{1000}));
    EXPECT_TRUE(ready.ended());
}

TEST(HostileFrontEnd, V5_RequestsThatWereNotNegotiatedAreRefused) {
    Served served;
    ASSERT_TRUE(served.front->negotiate(split_guest, protocol_feature::status | protocol_feature::inflight_shmfd));
    EXPECT_EQ(served.front->set(RequestCode::set_status, std::uint64_t{15}), false);
    EXPECT_EQ(served.front->set(RequestCode::set_protocol_features, ~0ULL), false);
    EXPECT_EQ(served.front->set(RequestCode::set_features, ~0ULL), false);
    EXPECT_EQ(served.front->set(RequestCode::set_features, std::uint64_t{0}), false) << "a legacy driver";
    EXPECT_TRUE(served.front->settled());
}

TEST(HostileFrontEnd, V5_RingsBeforeMemoryAndKicksBeforeAddressesAreRefused) {
    Served served;
    ASSERT_TRUE(served.front->negotiate(split_guest));
    served.front->make_rings(served.ram, 5);
    EXPECT_EQ(served.front->set(RequestCode::set_vring_addr, served.front->ring_addresses(0)), false);
    const std::array kick{served.front->ring(0).kick.get()};
    EXPECT_EQ(served.front->set(RequestCode::set_vring_kick, std::uint64_t{0}, kick), false);
    ASSERT_EQ(served.front->share_memory({&served.ram}), true);
    EXPECT_EQ(served.front->set(RequestCode::set_vring_kick, std::uint64_t{0}, kick), false);
    EXPECT_EQ(served.front->set(RequestCode::set_vring_num, VringState{0, 64}), true);
    EXPECT_EQ(served.front->set(RequestCode::set_vring_kick, std::uint64_t{0}, kick), false);
    EXPECT_FALSE(served.active());
    EXPECT_TRUE(served.front->start_rings());
    EXPECT_TRUE(served.active());
}

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

/// False: it waited for somebody, and was woken by hand through the eventfd.
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

// --- V11: what a front-end has of us ---------------------------------------------------------------------------------

TEST(HostileFrontEnd, V11_AFrontEndThatReadsNoRepliesIsLeft) {
    Served served;
    // Never more in our memory than its socket holds.
    for (int i = 0; i < 100'000; ++i)
        if (!served.front->send(RequestCode::get_features))
            break;
    EXPECT_TRUE(served.ended());
}

TEST(HostileFrontEnd, V11_ABrokenRingSaysSoAndWaitsForAReset) {
    Served served;
    ASSERT_TRUE(served.start());
    const auto registers = served.front->ring(inflate).registers();
    const std::uint16_t jumped = 1000;
    std::memcpy(served.ram.at(registers.driver.value + 2), &jumped, 2);
    served.front->kick(inflate);
    pollfd error{.fd = served.front->ring(inflate).error.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&error, 1, FrontEnd::patience_ms), 1);
    const auto status = served.front->ask<std::uint64_t>(RequestCode::get_status);
    ASSERT_TRUE(status);
    EXPECT_NE(*status & 0x40U, 0U) << "NEEDS_RESET";
    EXPECT_TRUE(served.front->set_status(0));
    for (std::uint32_t i = 0; i < 5; ++i)
        ASSERT_TRUE(served.front->stop_ring(i));
    served.front->make_rings(served.ram, 5);
    ASSERT_TRUE(served.front->start_rings());
    EXPECT_TRUE(served.send_pages(inflate, {data_start}));
}

} // namespace
} // namespace aerate::vhost_user::testing
