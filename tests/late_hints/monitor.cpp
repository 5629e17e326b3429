// A monitor that reads its guest's hints late, to show what comes of it: the schedule on which a stock Linux guest
// loses a file to a monitor that discards on a hint.
//
//     late_hints_monitor naive|shipping KERNEL INITRD MIB COMMAND-LINE
//
// The guest's console is on standard input and output.
//     SIGHUP   publishes a command ID, and leaves the hint queue unread
//     SIGUSR2  reads it, and uses the hints: `naive` discards each at once, `shipping` sweeps as `aerate sweep` does
// `naive` is what this test is for. No shipped program has it.
#include "machine/machine.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <sys/signalfd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <variant>

namespace aerate {
namespace {

/// Discards whatever is hinted, when it is read.
class NaiveUse final : public HintSink {
public:
    explicit NaiveUse(GuestMemory& memory)
        : memory_(memory) {}
    void hinted(PageRange range) override { discarded_ += memory_.discard({&range, 1}).discarded; }
    void round_ended(RoundEnd) override {
        fmt::print(stderr, "LATE-HINTS discarded {} MiB\n", bytes_of(discarded_).value >> 20);
    }

private:
    GuestMemory& memory_;
    PageCount discarded_;
};

class LateMonitor {
public:
    LateMonitor(bool naive, control::VmConfig config, OutputSink console)
        : naive_(naive)
        , machine_(loop_, std::move(config),
                   {.console = {.kind = control::ConsoleKind::terminal,
                                .output = std::make_shared<OutputSink>(std::move(console))},
                    .ended = [this](Outcome) { loop_.stop(); },
                    .assembled = [this](Hardware& hardware) { hardware_ = &hardware; }}) {}

    Result<> run() {
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGHUP);
        sigaddset(&signals, SIGUSR2);
        const FileDescriptor queue(::signalfd(-1, &signals, SFD_CLOEXEC));
        const Subscription watch = loop_.watch(queue.get(), [&] {
            signalfd_siginfo info{};
            if (::read(queue.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info))
                info.ssi_signo == SIGHUP ? publish() : read_hints();
        });
        TRY(machine_.start());
        loop_.run();
        return {};
    }

private:
    /// The balloon rests, so that what the guest hints stays in the queue.
    void publish() {
        hardware_->balloon_thread.loop().post(
            [this] { hardware_->balloon->pause([this] { loop_.post([this] { begin_round(); }); }); });
    }

    void begin_round() {
        if (!naive_) {
            // Not by the API, which says what the host got back: here it counts what was discarded on the guest's word.
            hardware_->balloon_thread.loop().post([this] {
                hardware_->sweeper->start(Sweeper::Way::by_log, [](const Result<SweepReport>& report) {
                    if (report)
                        fmt::print(stderr, "LATE-HINTS discarded {} MiB of {}\n",
                                   bytes_of(report->discarded).value >> 20, bytes_of(report->hinted).value >> 20);
                    else
                        fmt::print(stderr, "LATE-HINTS failed: {}\n", report.error().message);
                });
            });
            return;
        }
        hardware_->balloon_thread.loop().post([this] {
            use_.emplace(hardware_->memory);
            hardware_->balloon->hinting().start(*use_);
        });
    }

    void read_hints() {
        hardware_->balloon_thread.loop().post([this] { hardware_->balloon->resume(); });
    }

    bool naive_;
    EventLoop loop_;
    Hardware* hardware_ = nullptr;
    std::optional<NaiveUse> use_;
    Machine machine_;
};

Result<> main_with(std::span<char*> arguments) {
    if (arguments.size() != 6)
        return fail("late_hints_monitor naive|shipping KERNEL INITRD MIB COMMAND-LINE");
    std::uint64_t mib = 0;
    const char* const end = arguments[4] + std::strlen(arguments[4]);
    if (std::from_chars(arguments[4], end, mib).ptr != end)
        return fail("{} is not a number of MiB", arguments[4]);
    control::VmConfig config;
    config.name = "late-hints";
    config.machine.mem_size = ByteCount{mib << 20};
    config.boot =
        control::BootSource{.kernel_image_path = arguments[2], .initrd_path = arguments[3], .boot_args = arguments[5]};
    config.balloon = control::BalloonConfig{.free_page_hinting = true};
    auto console = TRY(OutputSink::duplicate(STDOUT_FILENO));
    return LateMonitor(std::string_view(arguments[1]) == "naive", std::move(config), std::move(console)).run();
}

} // namespace
} // namespace aerate

int main(int argc, char** argv) {
    // Before any thread is there, so that all of them leave the signals to the loop.
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR2);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    const auto result = aerate::main_with({argv, static_cast<std::size_t>(argc)});
    if (!result)
        fmt::print(stderr, "late_hints_monitor: {}\n", result.error().message);
    return result ? 0 : 1;
}
