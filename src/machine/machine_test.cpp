// Whole machines, whose guest is a loop that counts in memory.
#include "base/overloaded.hpp"
#include "base/testing/temporary_directory.hpp"
#include "boot/testing/sample_kernel.hpp"
#include "kvm/testing/tiny_guest.hpp"
#include "machine/machine.hpp"

#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>

#include <array>
#include <chrono>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>

namespace aerate {
namespace {

using namespace std::chrono_literals;
using control::VmState;
using ::testing::HasSubstr;

constexpr GuestAddress counter{0x300000};

class CountingMachine : public testing::WithKvm {
protected:
    ~CountingMachine() override {
        if (!machine || hardware == nullptr)
            return;
        machine->kill();
        loop.run();
    }

    void start(bool hangs, std::chrono::milliseconds limit = Freezer::limit) {
        testing::Bytes kernel = testing::sample_elf();
        const std::array<std::uint8_t, 8> count{0xff, 0x05, 0x00, 0x00, 0x30, 0x00, // incl 0x300000
                                                0xeb, 0xf8};                        // and again
        testing::put(kernel, 0x1000 + (testing::sample_entry - testing::sample_segment), count);
        const std::string path = directory / "kernel";
        std::ofstream(path).write(reinterpret_cast<const char*>(kernel.data()), // NOLINT
                                  static_cast<std::streamsize>(kernel.size()));
        control::VmConfig config{.name = "counting", .boot = control::BootSource{.kernel_image_path = path}};
        config.entropy.emplace();
        machine = std::make_unique<Machine>(loop, std::move(config),
                                            Machine::Options{.console = {},
                                                             .ended = [this](Outcome) { loop.stop(); },
                                                             .assembled =
                                                                 [this, hangs](Hardware& assembled) {
                                                                     hardware = &assembled;
                                                                     if (hangs)
                                                                         hardware->slots.back().loop = &stuck;
                                                                 },
                                                             .rest_limit = limit});
        const auto started = machine->start();
        ASSERT_TRUE(started) << started.error().message;
    }
    control::Server::Answer answer() {
        return [this](control::Reply given) {
            replies.push_back(std::move(given));
            loop.stop();
        };
    }
    void wait_for_replies(std::size_t count) {
        const Subscription limit = loop.after(20s, [this] {
            ADD_FAILURE() << "no answer";
            loop.stop();
        });
        while (replies.size() < count && !::testing::Test::HasFailure()) {
            loop.context().restart(); // an answer that came at once has stopped it
            loop.run();
        }
    }
    void run_for(std::chrono::milliseconds time) {
        const Subscription end = loop.after(time, [this] { loop.stop(); });
        loop.context().restart();
        loop.run();
    }
    control::Reply ask(const control::Request& request) {
        replies.clear();
        machine->handle(request, answer());
        wait_for_replies(1);
        return std::exchange(replies, {}).at(0);
    }
    /// Returns the state, which is answered at once.
    VmState state() {
        std::optional<VmState> state;
        machine->handle(control::GetInstance{}, [&](control::Reply reply) {
            if (const auto* instance = std::get_if<control::Instance>(&reply))
                state = instance->state;
        });
        EXPECT_TRUE(state);
        return state.value_or(VmState::not_started);
    }
    [[nodiscard]] std::uint32_t counted() const {
        std::uint32_t value = 0;
        EXPECT_TRUE(hardware->memory.read(counter, std::as_writable_bytes(std::span(&value, 1))));
        return value;
    }
    [[nodiscard]] bool counts() const {
        const auto until = std::chrono::steady_clock::now() + 10s;
        const std::uint32_t before = counted();
        while (counted() == before)
            if (std::chrono::steady_clock::now() > until)
                return false;
        return true;
    }
    static std::string failure(const control::Reply& reply) {
        const auto* failed = std::get_if<control::Failure>(&reply);
        return failed ? failed->message : "";
    }

    TemporaryDirectory directory;
    EventLoop loop;
    EventLoop stuck; ///< the random number generator's, if it hangs
    Hardware* hardware = nullptr;
    std::unique_ptr<Machine> machine;
    std::vector<control::Reply> replies;
};

TEST_F(CountingMachine, C3_APauseThatFailsNamesTheDeviceAndTheGuestRunsOn) {
    start(true, 30ms);
    EXPECT_TRUE(counts());
    for (int attempt = 0; attempt < 2; ++attempt) {
        EXPECT_THAT(failure(ask(control::SetPaused{.paused = true})), HasSubstr("entropy is still at work"));
        EXPECT_EQ(state(), VmState::running);
        EXPECT_TRUE(counts());
    }
    // It comes to itself, and gets to its orders: two to rest, two to go on. What it answers is too late.
    hardware->slots.back().loop = &loop;
    stuck.context().poll();
    EXPECT_EQ(failure(ask(control::SetPaused{.paused = true})), "");
    EXPECT_EQ(state(), VmState::paused);
    const std::uint32_t stands_at = counted();
    EXPECT_EQ(failure(ask(control::SetPaused{.paused = true})), "");
    EXPECT_EQ(counted(), stands_at);
    EXPECT_EQ(failure(ask(control::SetPaused{.paused = false})), "");
    EXPECT_EQ(state(), VmState::running);
    EXPECT_TRUE(counts());
}

TEST_F(CountingMachine, C3_TheStateIsRunningUntilTheGuestRests) {
    start(false);
    machine->handle(control::SetPaused{.paused = true}, answer());
    EXPECT_EQ(state(), VmState::running) << "no device has heard of it so far";
    EXPECT_TRUE(replies.empty());
    wait_for_replies(1);
    EXPECT_EQ(failure(replies.at(0)), "");
    EXPECT_EQ(state(), VmState::paused);
}

TEST_F(CountingMachine, C3_AResumeTakesAPauseBack) {
    start(true);
    machine->handle(control::SetPaused{.paused = true}, answer());
    machine->handle(control::SetPaused{.paused = false}, answer());
    wait_for_replies(2);
    EXPECT_THAT(failure(replies.at(0)), HasSubstr("withdrawn"));
    EXPECT_EQ(failure(replies.at(1)), "");
    EXPECT_EQ(state(), VmState::running);
    EXPECT_TRUE(counts());
}

TEST_F(CountingMachine, APauseForATimeEndsByItself) {
    start(false);
    EXPECT_EQ(failure(ask(control::SetPaused{.paused = true, .lapse = 1000ms})), "");
    EXPECT_EQ(state(), VmState::paused);
    run_for(1500ms);
    EXPECT_EQ(state(), VmState::running);
    EXPECT_TRUE(counts());
}

TEST_F(CountingMachine, AnOperatorsPauseDoesNotBecomeOneThatEnds) {
    start(false);
    EXPECT_EQ(failure(ask(control::SetPaused{.paused = true, .lapse = 1000ms})), "");
    EXPECT_EQ(failure(ask(control::SetPaused{.paused = true})), "") << "the operator's, while the other lasts";
    EXPECT_THAT(failure(ask(control::SetPaused{.paused = true, .lapse = 1ms})), HasSubstr("until it is resumed"));
    run_for(1500ms);
    EXPECT_EQ(state(), VmState::paused);
    EXPECT_EQ(failure(ask(control::SetPaused{.paused = false})), "");
    EXPECT_EQ(state(), VmState::running);
}

TEST_F(CountingMachine, C3_AnEndAnswersAPauseThatIsUnderWay) {
    start(true);
    machine->handle(control::SetPaused{.paused = true}, answer());
    machine->kill();
    EXPECT_THAT(failure(replies.at(0)), HasSubstr("ended meanwhile"));
}

} // namespace
} // namespace aerate
