// A hostile front-end: V1 to V5 and V11 of docs/hostile-inputs.md; hostile_rings_test.cpp and hostile_recovery_test.cpp
// have more. In each case nothing else may suffer than its own connection or its own guest.
#include "base/testing/sanitized.hpp"
#include "vhost_user/testing/served.hpp"

#include <gtest/gtest.h>

#include <sys/epoll.h>
#include <sys/stat.h>

#include <set>

namespace aerate::vhost_user::testing {
namespace {

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
    if (thread_sanitized)
        GTEST_SKIP() << "SKIPPED: ThreadSanitizer does not survive SIGBUS in an atomic access";
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
    const auto budget = std::make_shared<MemoryBudget>(ByteCount{64U << 20}, ByteCount{64U << 20});
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

TEST(HostileFrontEnd, V3_NoGuestTakesAllThatIsThereForAllOfThem) {
    const auto budget = std::make_shared<MemoryBudget>(ByteCount{100U << 20}, ByteCount{48U << 20});
    const FileDescriptor sparse(::memfd_create("sparse", MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(sparse.get(), 64LL << 20), 0);
    const SingleRegion up_to_48{0, {44U << 20, 4U << 20, 0x7000'0000'0000, 0}};
    const SingleRegion one_page_more{0, {48U << 20, 0x1000, 0x7001'0000'0000, 0}};
    Served greedy(std::nullopt, true, budget);
    ASSERT_TRUE(greedy.start());
    EXPECT_EQ(greedy.front->set(RequestCode::add_mem_reg, up_to_48, std::array{sparse.get()}), true);
    EXPECT_EQ(greedy.front->set(RequestCode::add_mem_reg, one_page_more, std::array{sparse.get()}), false);
    EXPECT_TRUE(greedy.send_pages(inflate, {data_start})) << "it goes on with what it had";
    Served other(std::nullopt, true, budget);
    EXPECT_TRUE(other.start()) << "there is as much for another";
    // Without NEED_REPLY a refusal ends the connection, and says why.
    ASSERT_TRUE(greedy.front->send(RequestCode::add_mem_reg, bytes_of_struct(one_page_more), std::array{sparse.get()}));
    const auto why = greedy.ended();
    ASSERT_TRUE(why);
    EXPECT_NE(why->find("48 MiB; see --max-guest-memory"), std::string::npos) << *why;
    EXPECT_TRUE(other.send_pages(inflate, {data_start}));
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
