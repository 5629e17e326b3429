// A vhost-user back-end that reads its guest's hints late, to show what comes of it: the schedule on which a stock
// Linux guest loses a file to a host that discards on a hint.
//
//     late_hints_back_end naive|shipping SOCKET
//
//     SIGUSR1  publishes a command ID; from the moment that the guest has read it, nothing is read of its queues
//     SIGUSR2  goes on, and reads the hints: `naive` discards each at once, `shipping` counts it as `aerate hint` does
// `naive` is what this test is for. No shipped program has it.
#include "daemon/vhost_user_listener.hpp"
#include "vhost_user/session.hpp"

#include <boost/asio/io_context.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <sys/signalfd.h>
#include <sys/socket.h>

#include <csignal>
#include <cstdio>
#include <optional>
#include <string_view>

namespace aerate {
namespace {

/// Discards whatever is hinted, when it is read.
class NaiveHintUse final : public HintSink {
public:
    explicit NaiveHintUse(GuestMemory& memory)
        : memory_(memory) {}
    void hinted(PageRange range) override { discarded_ += memory_.discard({&range, 1}).discarded; }
    [[nodiscard]] PageCount discarded() const { return discarded_; }

private:
    GuestMemory& memory_;
    PageCount discarded_;
};

void say(std::string_view text) {
    fmt::print(stderr, "{}\n", text);
}

Result<> serve(bool naive, const char* socket) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGUSR2);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    const FileDescriptor queue(::signalfd(-1, &signals, SFD_CLOEXEC));
    const auto listener = TRY(VhostUserListener::create(socket, false));
    ::fcntl(listener.fd(), F_SETFL, 0);
    say("LATE-HINTS listening");
    EventLoop loop;
    bool over = false;
    const auto session =
        TRY(vhost_user::Session::create(loop, FileDescriptor(::accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC)),
                                        {.balloon = {.deflate_on_oom = true, .free_page_hinting = true}},
                                        {.replacing = {}, .ended = [&](const std::string&) { over = true; }}));

    std::optional<NaiveHintUse> naive_use;
    std::optional<std::uint64_t> hold_after; // messages
    const auto hinting = [&]() -> balloon::FreePageHinting& { return session->back_end().balloon().hinting(); };
    const Subscription watch = loop.watch(queue.get(), [&] {
        signalfd_siginfo info{};
        if (::read(queue.get(), &info, sizeof info) != sizeof info || info.ssi_signo != SIGUSR1)
            return;
        vhost_user::BackEnd& back_end = session->back_end();
        if (naive)
            hinting().start(naive_use.emplace(back_end.memory()));
        else
            hinting().start(back_end.counted_hints());
        // The guest reads the balloon's target and the command.
        hold_after = session->counters().messages + 2;
    });
    while (!over) {
        loop.context().run_one();
        if (!hold_after || session->counters().messages < *hold_after)
            continue;
        hold_after.reset();
        say("LATE-HINTS held");
        sigset_t awaited;
        sigemptyset(&awaited);
        sigaddset(&awaited, SIGUSR2);
        int number = 0;
        ::sigwait(&awaited, &number);
        const auto hinted = [&] { return hinting().hinted_this_round(); };
        while (!over && hinting().tracker().phase == protocol::HintTracker::Phase::requested)
            loop.context().run_one();
        while (!over && hinting().tracker().phase == protocol::HintTracker::Phase::started)
            loop.context().run_one();
        say(fmt::format("LATE-HINTS read {} MiB, discarded {} MiB", bytes_of(hinted()).value >> 20,
                        naive_use ? bytes_of(naive_use->discarded()).value >> 20 : 0));
        hinting().done();
    }
    return {};
}

} // namespace
} // namespace aerate

int main(int argc, char** argv) {
    if (argc != 3)
        return 2;
    const auto served = aerate::serve(std::string_view(argv[1]) == "naive", argv[2]);
    if (served)
        return 0;
    aerate::say(served.error().message);
    return 1;
}
