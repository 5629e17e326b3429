#include "base/testing/refusing_host.hpp"
#include "memory/guest_memory.hpp"
#include "migration/copy_hints.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace aerate::migration {
namespace {

using namespace std::chrono_literals;

/// Hints when the test says so.
class HintingGuest final : public SourceGuest {
public:
    GuestMemory& memory() override { return memory_; }
    std::string config() override { return ""; }
    Result<void> start_tracking() override { return {}; }
    void gather(PageBitmap&) override {}
    void stop_tracking() override {}
    void start_hinting(Hints given, std::move_only_function<void(bool)> published) override {
        hints = std::move(given);
        published(takes_part);
    }
    void stop_hinting(std::move_only_function<void()> closed) override {
        if (before_it_stops)
            before_it_stops();
        closed();
    }
    void freeze(std::move_only_function<void(Result<>)>) override {}
    void save(std::move_only_function<void(Result<std::vector<std::byte>>)>) override {}
    void run_on() override {}
    void gone() override {}

    bool takes_part = true;
    Hints hints;
    std::function<void()> before_it_stops;

private:
    GuestMemory memory_ = *GuestMemory::create({{{{0}, {4U << 20}}}, Backing::anonymous});
};

class ACopysHints : public ::testing::Test {
protected:
    void ask() {
        hints_.ask([this](bool published) {
            published_ = published;
            loop_.stop();
        });
        loop_.run();
    }
    CopyHints make(std::chrono::milliseconds first, std::chrono::milliseconds next) {
        return {loop_,
                guest_,
                first,
                next,
                {.use =
                     [this](PageRange range) {
                         used_.set(range);
                         ++uses_;
                         return worth_;
                     },
                 .waited =
                     [this] {
                         ++waited_;
                         loop_.stop();
                     }}};
    }
    void hint(std::uint64_t first, std::uint64_t count) { guest_.hints.hinted->add({{first}, {count}}); }

    EventLoop loop_;
    HintingGuest guest_;
    std::optional<bool> published_;
    CopyHints::Duration worth_ = 1ms;
    PageBitmap used_{PageCount{1024}};
    unsigned uses_ = 0;
    unsigned waited_ = 0;
    CopyHints hints_ = make(1h, 1h);
};

TEST_F(ACopysHints, AreUsedWhenTheRoundIsOver) {
    ask();
    ASSERT_EQ(published_, true);
    hints_.wait();
    hint(0, 16);
    hint(64, 16);
    EXPECT_EQ(uses_, 0U) << "no hint wakes anybody";
    guest_.hints.round_over();
    loop_.run();
    EXPECT_EQ(waited_, 1U);
    EXPECT_EQ(used_.count(), PageCount{32});
    EXPECT_TRUE(hints_.spare());
    EXPECT_FALSE(hints_.waiting());
}

TEST_F(ACopysHints, AreNotWaitedForLongerThanPatienceLasts) {
    CopyHints impatient = make(1ms, 1ms);
    impatient.ask([&](bool) { impatient.wait(); });
    loop_.run();
    EXPECT_EQ(waited_, 1U);
    EXPECT_FALSE(impatient.spare());
    guest_.hints.round_over(); // too late to be over again
    loop_.post([this] { loop_.stop(); });
    loop_.run();
    EXPECT_EQ(waited_, 1U);
}

TEST_F(ACopysHints, C1_all_that_was_accepted_before_the_close_is_used_by_it) {
    ask();
    hints_.wait();
    guest_.before_it_stops = [this] { hint(100, 8); };
    bool closed = false;
    hints_.close([&] {
        closed = true;
        EXPECT_EQ(used_.count(), PageCount{8});
        loop_.stop();
    });
    loop_.run();
    EXPECT_TRUE(closed);
    EXPECT_EQ(waited_, 0U) << "nobody waits any more";
}

TEST_F(ACopysHints, AreTakenWheneverOneAsks) {
    ask();
    hint(0, 1);
    hints_.take();
    EXPECT_EQ(used_.count(), PageCount{1});
    hints_.take();
    EXPECT_EQ(uses_, 1U) << "each once";
    worth_ = {};
    hint(0, 1);
    hints_.take();
    EXPECT_EQ(uses_, 2U) << "a repetition is a hint too";
    EXPECT_FALSE(hints_.spare());
}

TEST_F(ACopysHints, AreNotThereWhenTheGuestTakesNoPart) {
    guest_.takes_part = false;
    ask();
    EXPECT_EQ(published_, false);
    hints_.take();
    EXPECT_EQ(uses_, 0U);
}

TEST_F(ACopysHints, S4_are_done_without_when_the_host_refuses_their_memory) {
    for (std::uint64_t n = 1; n <= 2; ++n) {
        CopyHints hints = make(1h, 1h);
        guest_.hints = {};
        {
            const aerate::testing::RefusingHost host(n, aerate::testing::RefusingHost::For::once);
            published_.reset();
            hints.ask([this](bool published) {
                published_ = published;
                loop_.stop();
            });
            loop_.run();
            EXPECT_TRUE(host.refused());
        }
        EXPECT_EQ(published_, false);
        EXPECT_EQ(guest_.hints.hinted, nullptr) << "the guest was not asked";
        bool stopped = false;
        guest_.before_it_stops = [&] { stopped = true; };
        hints.close([this] { loop_.stop(); });
        loop_.run();
        EXPECT_FALSE(stopped) << "a round that is open is somebody else's";
        guest_.before_it_stops = nullptr;
        hints.ask([this](bool published) {
            published_ = published;
            loop_.stop();
        });
        loop_.run();
        EXPECT_EQ(published_, true);
    }
}

/// The balloon's thread adds while the copying one takes.
TEST(HintInbox, LosesNothing) {
    constexpr std::uint64_t pages = 1U << 16;
    const auto inbox = *HintInbox::create(PageCount{pages});
    PageBitmap taken(PageCount{pages});
    std::jthread balloon([&inbox] {
        for (std::uint64_t page = 0; page < pages; page += 2)
            inbox->add({{page}, {1}});
    });
    for (unsigned looks = 0; looks < 1000; ++looks)
        inbox->take([&](PageRange range) { taken.set(range); });
    balloon.join();
    inbox->take([&](PageRange range) { taken.set(range); });
    EXPECT_EQ(taken.count(), PageCount{pages / 2});
}

} // namespace
} // namespace aerate::migration
