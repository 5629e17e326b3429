// Every method keeps the same promises, so every test is run for each. A guest writes pages at random; whoever follows
// it copies the pages that it gathers. A write that was lost shows as a page that differs once the guest is stopped.
#include "kvm/dirty_log.hpp"
#include "kvm/dirty_ring.hpp"
#include "kvm/ioctl.hpp"
#include "kvm/testing/dirty_methods.hpp"
#include "memory/dirty_tracker.hpp"

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <optional>

namespace aerate {
namespace {

using namespace literals;
using namespace std::chrono_literals;
using testing::EveryDirtyMethod;
using testing::let_it_write_once;
using testing::Program;
using testing::TinyGuest;
using testing::writes_to;

INSTANTIATE_TEST_SUITE_P(All, EveryDirtyMethod,
                         ::testing::Values(DirtyMethod::eager_bitmap, DirtyMethod::manual_bitmap,
                                           DirtyMethod::manual_bitmap_sliced, DirtyMethod::ring),
                         testing::name_of_method);

// --- a guest that does as it is told -------------------------------------------------------------------------------

TEST_P(EveryDirtyMethod, HasWritesSinceTheLastTake) {
    auto guest = make(writes_to({0x50000, 0x51000, 0x1fffff}), 1, 2_MiB);
    ASSERT_TRUE(guest);
    const auto log = make_dirty_log(guest->vm, guest->memory);
    ASSERT_TRUE(log->start());
    PageBitmap taken(guest->memory.address_space());
    log->take(taken);
    EXPECT_EQ(taken.count(), 0_pages) << "begins empty";

    let_it_write_once(*guest);
    let_it_write_once(*guest);
    log->take(taken);
    EXPECT_TRUE(taken.test({0x50}));
    EXPECT_TRUE(taken.test({0x51}));
    EXPECT_FALSE(taken.test({0x1ff}));

    taken.clear_all();
    let_it_write_once(*guest);
    log->take(taken);
    EXPECT_TRUE(taken.test({0x1ff}));
    // Not only this one: a processor may count a page that it has only read.
    EXPECT_FALSE(taken.test({0x50}) || taken.test({0x51})) << "what was taken is forgotten";
}

TEST_P(EveryDirtyMethod, IsSilentWhenItHasStopped) {
    auto guest = make(writes_to({0x50000, 0x51000, 0x52000}), 1, 2_MiB);
    ASSERT_TRUE(guest);
    const auto log = make_dirty_log(guest->vm, guest->memory);
    ASSERT_TRUE(log->start());
    let_it_write_once(*guest);
    ASSERT_TRUE(log->stop());
    let_it_write_once(*guest);
    ASSERT_TRUE(log->start());
    PageBitmap taken(guest->memory.address_space());
    log->take(taken);
    EXPECT_EQ(taken.count(), 0_pages) << "what was written before is not in a new log";
    let_it_write_once(*guest);
    log->take(taken);
    EXPECT_TRUE(taken.test({0x52}));
}

// A manual log is cleared in slices of 128 MiB: pages of the first, of its end, of the last; each again after a take.
TEST_P(EveryDirtyMethod, ArmsAllOfALargeGuestAgain) {
    auto guest = make(writes_to({0x50000, 0x7fff000, 0x8000000, 0x17fff000, 0x50000, 0x7fff000, 0x8000000, 0x17fff000}),
                      1, 384_MiB);
    ASSERT_TRUE(guest);
    const auto log = make_dirty_log(guest->vm, guest->memory);
    ASSERT_TRUE(log->start());
    for (int round = 0; round < 2; ++round) {
        for (int write = 0; write < 4; ++write)
            let_it_write_once(*guest);
        PageBitmap taken(guest->memory.address_space());
        log->take(taken);
        for (const std::uint64_t frame : {0x50U, 0x7fffU, 0x8000U, 0x17fffU})
            EXPECT_TRUE(taken.test({frame})) << std::hex << frame << " in round " << round;
        PageBitmap rest(guest->memory.address_space());
        log->take(rest);
        EXPECT_EQ(rest.count(), 0_pages);
    }
}

// --- a guest that never stops writing ------------------------------------------------------------------------------

constexpr GuestAddress area{8 << 20};
constexpr PageCount area_pages{2048};
constexpr PageRange area_frames{frame_of(area), area_pages};

const Program writes_for_ever{
    0x69, 0xc0, 0x0d, 0x66, 0x19, 0x00, // imul eax, eax, 1664525
    0x05, 0x5f, 0xf3, 0x6e, 0x3c,       // add eax, 1013904223
    0x89, 0xc7,                         // mov edi, eax
    0xc1, 0xef, 0x08,                   // shr edi, 8
    0x81, 0xe7, 0x00, 0xf0, 0x7f, 0x00, // and edi, 0x7ff000: one of 2048 pages
    0x41,                               // inc ecx
    0x89, 0x8f, 0x00, 0x00, 0x80, 0x00, // mov [edi + area], ecx
    0xeb, 0xe1,                         // jmp to the start
};

/// A vCPU on a thread of its own, which it keeps: it runs from resume() to pause().
class RunningVcpu {
public:
    explicit RunningVcpu(Vcpu& vcpu)
        : vcpu_(vcpu)
        , thread_([this] { serve(); }) {}
    ~RunningVcpu() { give(Order::leave); }
    RunningVcpu(const RunningVcpu&) = delete;
    RunningVcpu& operator=(const RunningVcpu&) = delete;

    /// When it returns the vCPU's thread has taken the order.
    void resume() {
        give(Order::run);
        runs_.wait(false);
    }
    /// When it returns the vCPU is at rest.
    void pause() {
        give(Order::rest);
        vcpu_.request_stop();
        runs_.wait(true);
    }

private:
    enum class Order : std::uint8_t { rest, run, leave };

    void give(Order order) {
        order_ = order;
        order_.notify_all();
    }
    void say(bool runs) {
        runs_ = runs;
        runs_.notify_all();
    }
    void serve() {
        for (order_.wait(Order::rest); order_ != Order::leave; order_.wait(Order::rest)) {
            say(true);
            while (order_ == Order::run) {
                const auto exit = vcpu_.run();
                if (exit && std::holds_alternative<Interrupted>(*exit))
                    continue;
                ADD_FAILURE() << (exit ? "exit kind " + std::to_string(exit->index()) : exit.error().message);
                order_.wait(Order::run);
            }
            say(false);
        }
    }

    Vcpu& vcpu_;
    std::atomic<Order> order_ = Order::rest;
    std::atomic<bool> runs_ = false;
    std::jthread thread_;
};

/// Copies the area whenever it is told to, by what was gathered alone.
class Follower {
public:
    Follower(DirtyTracker& tracker, const GuestMemory& memory)
        : memory_(memory)
        , writes_(tracker.track().value()) {
        copy(area_frames);
    }
    void catch_up() {
        PageBitmap gathered(memory_.address_space());
        writes_.gather(gathered);
        for (PageRange run = gathered.next_run({0}); run.count > 0_pages; run = gathered.next_run(run.end()))
            copy(run);
    }
    [[nodiscard]] unsigned differences() const {
        unsigned count = 0;
        for (std::uint64_t page = 0; page < area_pages.value; ++page)
            count += copy_.at(page) != content(page) ? 1U : 0U;
        return count;
    }

private:
    [[nodiscard]] std::uint32_t content(std::uint64_t page) const {
        return memory_.load<std::uint32_t>(address_of({area_frames.first.value + page})).value();
    }
    void copy(PageRange range) {
        for (FrameNumber frame = std::max(range.first, area_frames.first);
             frame < std::min(range.end(), area_frames.end()); ++frame.value)
            copy_.at(frame.value - area_frames.first.value) = content(frame.value - area_frames.first.value);
    }

    const GuestMemory& memory_;
    DirtyTracker::Tracking writes_;
    std::array<std::uint32_t, area_pages.value> copy_{};
};

struct FollowedGuest : EveryDirtyMethod {
    void SetUp() override {
        EveryDirtyMethod::SetUp();
        if (IsSkipped())
            return;
        guest = make(writes_for_ever, 2, 16_MiB);
        ASSERT_TRUE(guest);
        auto& second = *guest->vcpus[1];
        ASSERT_TRUE(second.enter(ProtectedModeEntry{.instruction = TinyGuest::code, .start_info = {}}));
        auto registers = second.registers().value();
        registers.rax = 12345;      // writes other pages at the same time
        registers.rcx = 0x80000000; // and other values
        ASSERT_TRUE(second.set_registers(registers));
        kvm_mp_state runnable{.mp_state = KVM_MP_STATE_RUNNABLE};
        ASSERT_TRUE(call_kvm(second.fd(), KVM_SET_MP_STATE, "KVM_SET_MP_STATE", &runnable));
        tracker.emplace(guest->memory, make_dirty_log(guest->vm, guest->memory));
        for (const auto& vcpu : guest->vcpus)
            running.emplace_back(*vcpu);
    }
    /// Then all vCPUs are at rest.
    void run_while(const std::function<void()>& f) {
        for (RunningVcpu& vcpu : running)
            vcpu.resume();
        f();
        for (RunningVcpu& vcpu : running)
            vcpu.pause();
    }
    void run_for(std::chrono::milliseconds time) {
        run_while([time] { std::this_thread::sleep_for(time); });
    }

    std::optional<TinyGuest> guest;
    std::optional<DirtyTracker> tracker;
    std::deque<RunningVcpu> running;
};

INSTANTIATE_TEST_SUITE_P(All, FollowedGuest,
                         ::testing::Values(DirtyMethod::eager_bitmap, DirtyMethod::manual_bitmap,
                                           DirtyMethod::manual_bitmap_sliced, DirtyMethod::ring),
                         testing::name_of_method);

// A write that was lost is seen as long as its page is not written again: some ten milliseconds, so the guest is
// stopped often.
TEST_P(FollowedGuest, NoUserLosesAWriteWhileOthersGather) {
    std::array<Follower, 2> followers{Follower(*tracker, guest->memory), Follower(*tracker, guest->memory)};
    std::uint32_t begin = 0;
    for (int round = 0; round < 60; ++round) {
        std::vector<std::jthread> threads;
        for (Follower& follower : followers)
            threads.emplace_back([&](const std::stop_token& stop) {
                while (!stop.stop_requested())
                    follower.catch_up();
            });
        threads.emplace_back([&](const std::stop_token& stop) {
            while (!stop.stop_requested()) {
                Follower visitor(*tracker, guest->memory);
                visitor.catch_up();
            }
        });
        run_for(3ms);
        ASSERT_TRUE(guest->memory.store<std::uint32_t>(area, 0xffffff00U + begin++));
        threads.clear();
        for (Follower& follower : followers) {
            follower.catch_up();
            ASSERT_EQ(follower.differences(), 0U) << "in round " << round;
        }
    }
}

TEST_P(FollowedGuest, NothingIsLostWhenItIsStartedAmidWrites) {
    for (int round = 0; round < 60; ++round) {
        std::optional<Follower> follower;
        run_while([&] {
            std::this_thread::sleep_for(1ms);
            follower.emplace(*tracker, guest->memory); // its first copy is made while the guest writes
            std::this_thread::sleep_for(1ms);
            follower->catch_up();
            std::this_thread::sleep_for(1ms);
        });
        follower->catch_up();
        ASSERT_EQ(follower->differences(), 0U) << "in round " << round;
    }
}

// A ring holds 4096 writes. Nobody takes it until the guest has made many more.
TEST_P(FollowedGuest, RunsOnWhenNobodyGathers) {
    Follower follower(*tracker, guest->memory);
    const auto writes = [&] { return guest->vcpu().registers().value().rcx & 0xffffffff; };
    const std::uint64_t before = writes();
    for (int tries = 0; tries < 500 && writes() - before < 2 * 4096; ++tries)
        run_for(20ms);
    ASSERT_GE(writes() - before, 2 * 4096U) << "it does not run on, or too slowly";
    follower.catch_up();
    EXPECT_EQ(follower.differences(), 0U);
}

// --- the ring by itself --------------------------------------------------------------------------------------------

struct HarvestTest : ::testing::Test {
    std::array<kvm_dirty_gfn, 4> entries{};
    DirtyRing ring{entries};

    void push(std::size_t index, std::uint64_t offset) {
        entries.at(index) = {.flags = KVM_DIRTY_GFN_F_DIRTY, .slot = 0, .offset = offset};
    }
    std::vector<std::uint64_t> harvested() {
        std::vector<std::uint64_t> offsets;
        const auto count = ring.harvest([&](std::uint32_t, std::uint64_t offset) { offsets.push_back(offset); });
        EXPECT_EQ(count, offsets.size());
        return offsets;
    }
};

using Offsets = std::vector<std::uint64_t>;

TEST_F(HarvestTest, ReadsEachEntryOnceAndMarksIt) {
    EXPECT_EQ(harvested(), Offsets{});
    push(0, 10);
    push(1, 11);
    EXPECT_EQ(harvested(), (Offsets{10, 11}));
    EXPECT_EQ(entries[0].flags, KVM_DIRTY_GFN_F_RESET);
    EXPECT_EQ(entries[1].flags, KVM_DIRTY_GFN_F_RESET);
    EXPECT_EQ(harvested(), Offsets{});
}

TEST_F(HarvestTest, GoesRoundAndNeverPastWhatIsNotReset) {
    for (std::size_t index = 0; index < 4; ++index)
        push(index, index);
    EXPECT_EQ(harvested(), (Offsets{0, 1, 2, 3})) << "once round, no more";
    EXPECT_EQ(harvested(), Offsets{});
    push(0, 20); // reset by KVM, and filled again
    push(1, 21);
    EXPECT_EQ(harvested(), (Offsets{20, 21}));
}

TEST_F(HarvestTest, NoticesAnOverrun) {
    push(0, 0);
    harvested();
    EXPECT_FALSE(ring.overrun());
    for (std::size_t index = 0; index < 4; ++index)
        push(index, index); // one more than there was room for
    harvested();
    EXPECT_TRUE(ring.overrun());
}

} // namespace
} // namespace aerate
