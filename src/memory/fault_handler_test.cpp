// Memory that another process supplies, and what becomes of the guest when that process does not do its part.
#include "base/testing/other_user.hpp"
#include "base/testing/refusing_host.hpp"
#include "base/testing/temporary_directory.hpp"
#include "memory/fault_handler.hpp"
#include "memory/testing/fault_handler_process.hpp"
#include "memory/testing/page_file.hpp"

#include <gmock/gmock.h>

#include <array>
#include <fstream>
#include <optional>
#include <thread>
#include <utility>

namespace aerate {
namespace {

using ::testing::HasSubstr;
using namespace aerate::testing;
using Manner = FaultHandlerProcess::Manner;

class HandledMemory : public ::testing::Test {
protected:
    void SetUp() override {
        if (const auto reason = why_no_userfaultfd(); !reason.empty())
            GTEST_SKIP() << "NOT TESTED, this host gives no userfaultfd: " << reason;
    }
    Result<GuestMemory> restore() {
        return GuestMemory::restore({.regions = regions, .backing = backing},
                                    FaultHandlerPlace{.socket = directory_ / "socket", .offset = bytes_of({10})});
    }
    void begin(Manner manner = Manner::right) {
        handler.emplace(directory_ / "socket", file.fd(), manner);
        auto made = restore();
        if (!made && backing == Backing::hugetlb)
            GTEST_SKIP() << "SKIPPED: hugetlb is not tested: " << made.error().message;
        ASSERT_TRUE(made) << made.error().message;
        memory.emplace(*std::move(made));
    }
    [[nodiscard]] std::uint64_t unit() const { return memory->host_page_size().value / page_size.value; }
    [[nodiscard]] bool populated(std::uint64_t page) const {
        PageBitmap pages(memory->address_space());
        memory->collect_populated(pages);
        return pages.test({page});
    }
    /// Waits for the event, as the machine does.
    [[nodiscard]] bool told_of_the_loss() const {
        pollfd event{.fd = memory->loss_event(), .events = POLLIN, .revents = 0};
        return ::poll(&event, 1, 20'000) == 1;
    }

    Backing backing = Backing::anonymous;
    const TemporaryDirectory directory_;
    PageFile file{2058}; ///< of which the first 10 pages are not memory
    std::optional<FaultHandlerProcess> handler;
    std::optional<GuestMemory> memory;
};

class Handled : public HandledMemory, public ::testing::WithParamInterface<Backing> {
protected:
    Handled() { backing = GetParam(); }
};

TEST_P(Handled, HoldsWhatTheHandlerHas) {
    begin();
    if (IsSkipped())
        return;
    EXPECT_EQ(handler->faults(), 0U) << "nobody has touched anything";
    EXPECT_EQ(read(*memory, {{1}, {3}}), file.pages(11, 3));
    EXPECT_EQ(read(*memory, {{1023}, {2}}), file.pages(1033, 2)) << "over the border of two regions";
    EXPECT_EQ(read(*memory, {{high_first.value + 511}, {1}}), file.pages(10 + 1536 + 511, 1))
        << "memory is without the hole below 4 GiB, as in a file";
    EXPECT_GT(handler->faults(), 0U);
    ASSERT_TRUE(memory->fill(address_of({2}), 4_KiB, std::byte{0xee}));
    EXPECT_EQ(read(*memory, {{2}, {1}}), Bytes(4096, std::byte{0xee}));
    EXPECT_EQ(read(*memory, {{3}, {1}}), file.pages(13, 1));
    EXPECT_FALSE(memory->lost());
}

TEST_P(Handled, IsToldWhereMemoryIs) {
    begin();
    if (IsSkipped())
        return;
    const auto& low = memory->regions().front();
    const auto size = memory->host_page_size().value;
    EXPECT_THAT(handler->message(),
                ::testing::StartsWith(fmt::format(
                    R"([{{"base_host_virt_addr":{},"size":{},"offset":40960,"page_size":{},"page_size_kib":{}}},)",
                    reinterpret_cast<std::uintptr_t>(low.host), (4_MiB).value, size, size)));
    EXPECT_THAT(handler->message(), HasSubstr(fmt::format(R"("offset":{},)", 40960 + (6_MiB).value)));
}

TEST_P(Handled, G8_DiscardedPagesReadZeroAndTheHandlerHearsOfThem) {
    begin();
    if (IsSkipped())
        return;
    EXPECT_EQ(read(*memory, {{0}, {1}}), file.pages(10, 1));
    const std::array pieces{PageRange{{0}, {unit()}}, PageRange{{512}, {unit()}}, PageRange{{1024}, {unit()}}};
    const auto result = memory->discard(pieces);
    EXPECT_EQ(result.system_error, 0);
    EXPECT_EQ(result.discarded, PageCount{3 * unit()});
    EXPECT_TRUE(soon([&] { return handler->removed_bytes() == bytes_of({3 * unit()}).value; }));
    for (const PageRange& piece : pieces) {
        EXPECT_FALSE(populated(piece.first.value)) << "a snapshot does not ask the handler for it";
        EXPECT_EQ(read(*memory, piece), zeros(unit())) << piece.first.value;
    }
    if (unit() == 1) {
        EXPECT_EQ(read(*memory, {{1}, {1}}), file.pages(11, 1));
    }
}

TEST_P(Handled, AllThatTheHandlerHasIsPopulated) {
    begin();
    if (IsSkipped())
        return;
    EXPECT_TRUE(populated(0) && populated(700) && populated(high_first.value + 511));
    EXPECT_EQ(handler->faults(), 0U) << "that is known without asking";
}

TEST_P(Handled, F1_AHandlerMayHangUpAndServe) {
    begin(Manner::hangs_up);
    if (IsSkipped())
        return;
    EXPECT_EQ(read(*memory, {{1}, {3}}), file.pages(11, 3));
    EXPECT_FALSE(memory->lost());
}

TEST_P(Handled, F2_ThoseWhoWaitForAHandlerThatEndsAreLetGo) {
    begin(Manner::silent);
    if (IsSkipped())
        return;
    (void)handler->message(); // it has it all
    std::thread reads([&] { (void)read(*memory, {{700}, {1}}); });
    std::thread discards([&] { memory->discard(std::array{PageRange{{0}, {unit()}}}); });
    EXPECT_FALSE(memory->lost());
    handler->end();
    EXPECT_TRUE(told_of_the_loss());
    EXPECT_TRUE(memory->lost() && memory->lost_its_handler());
    reads.join();
    discards.join();
    EXPECT_EQ(read(*memory, {{5}, {1}}), zeros(1)) << "a stand-in";
}

TEST_P(Handled, F3_ASilentHandlerCanBeGivenUp) {
    begin(Manner::silent);
    if (IsSkipped())
        return;
    std::thread reads([&] { (void)read(*memory, {{700}, {1}}); });
    EXPECT_TRUE(soon([&] { return handler->faults() > 0; })) << "the reader waits";
    memory->give_up_handler();
    reads.join();
    EXPECT_TRUE(memory->lost());
}

TEST_F(HandledMemory, F4_AHandlerThatEndsBeforeItTakesTheMemory) {
    handler.emplace(directory_ / "socket", file.fd(), Manner::refuses);
    auto made = restore();
    if (!made) {
        EXPECT_THAT(made.error().message, HasSubstr("page fault handler"));
        return;
    }
    memory.emplace(*std::move(made));
    EXPECT_TRUE(told_of_the_loss());
}

TEST_P(Handled, F5_AHandlerWritesNothingButGuestMemory) {
    begin(Manner::wrong);
    if (IsSkipped())
        return;
    EXPECT_EQ(read(*memory, {{700}, {1}}), Bytes(4096, std::byte{0x5a})) << "it is trusted with what memory holds";
    EXPECT_FALSE(memory->lost());
    handler->end();
    EXPECT_TRUE(told_of_the_loss());
}

TEST_F(HandledMemory, F6_NobodyListens) {
    EXPECT_THAT(restore().error().message, HasSubstr("no page fault handler takes the guest's memory"));
    std::ofstream(directory_ / "socket") << "no socket";
    EXPECT_THAT(restore().error().message, HasSubstr("cannot connect"));
}

TEST_F(HandledMemory, F7_AnotherUsersHandlerIsRefused) {
    AERATE_NEEDS_ANOTHER_USER();
    std::array<int, 2> done{};
    ASSERT_EQ(::pipe2(done.data(), O_CLOEXEC), 0);
    const std::string place = "/tmp/aerate-handler-" + std::to_string(::getpid());
    OtherUser stranger([&] {
        const FileDescriptor listening(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const auto address = unix_address(place).value();
        const bool listens = ::bind(listening.get(), generic(address), sizeof address) == 0 &&
                             ::listen(listening.get(), 1) == 0 && ::write(done[1], "!", 1) == 1;
        const FileDescriptor connection(::accept(listening.get(), nullptr, nullptr));
        char nothing = 0;
        return listens && ::read(connection.get(), &nothing, 1) == 0;
    });
    char listens = 0;
    ASSERT_EQ(::read(done[0], &listens, 1), 1);
    const auto made = GuestMemory::restore({.regions = regions, .backing = backing}, FaultHandlerPlace{place});
    ::unlink(place.c_str());
    ::close(done[0]);
    ::close(done[1]);
    ASSERT_FALSE(made);
    EXPECT_THAT(made.error().message, HasSubstr("another user's process"));
    EXPECT_TRUE(stranger.succeeded()) << "it got nothing";
}

TEST_F(HandledMemory, S4_WhatTheHostRefusesIsAnAnswer) {
    const std::size_t before = threads();
    for_each_refusal(
        RefusingHost::For::once,
        [&]() -> Result<> {
            FaultHandlerProcess served(directory_ / "socket", file.fd());
            auto made = restore();
            ::unlink((directory_ / "socket").c_str());
            if (made && !made->lost()) {
                EXPECT_EQ(read(*made, {{1}, {1}}), file.pages(11, 1));
            }
            return made ? Result<>() : std::unexpected(made.error());
        },
        [&](const auto&, std::uint64_t) { EXPECT_TRUE(threads_fall_to(before)); });
}

INSTANTIATE_TEST_SUITE_P(Memory, Handled, ::testing::Values(Backing::anonymous, Backing::memfd, Backing::hugetlb),
                         [](const auto& instance) {
                             return instance.param == Backing::anonymous ? "Anonymous"
                                    : instance.param == Backing::memfd   ? "Memfd"
                                                                         : "Hugetlb";
                         });

} // namespace
} // namespace aerate
