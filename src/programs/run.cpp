#include "programs/run.hpp"

#include "base/fd.hpp"
#include "base/log.hpp"
#include "control/runtime_directory.hpp"
#include "control/server.hpp"
#include "event/event_loop.hpp"
#include "machine/machine.hpp"
#include "programs/commands.hpp"
#include "programs/process.hpp"
#include "programs/testbed.hpp"

#include <fmt/format.h>

#include <sys/signalfd.h>

#include <optional>
#include <utility>
#include <vector>

namespace aerate {
namespace {

[[nodiscard]] ConsoleOptions console_from(const std::string& where) {
    if (where == "stdio")
        return {.kind = ConsoleOptions::Kind::stdio, .path = {}};
    if (where == "none")
        return {.kind = ConsoleOptions::Kind::none, .path = {}};
    return {.kind = ConsoleOptions::Kind::file, .path = where};
}

/// After which a monitor does little that is new.
constexpr std::chrono::seconds start_up{5};

/// The guest's lives, one after the other: a reset makes the machine anew, so that what the guest had given back or
/// taken is forgotten with it. The API's server and its connections outlive them all: a caller sees no reset.
class Lives {
public:
    Lives(RunOptions options, const FileDescriptor& signals)
        : options_(std::move(options))
        , ending_(loop_.watch(signals.get(), [this, &signals] {
            signalfd_siginfo info{};
            if (::read(signals.get(), &info, sizeof info) != static_cast<ssize_t>(sizeof info))
                return;
            if (receiving_ && receiving_->cancel())
                return; // it calls back
            leave();
        })) {}

    [[nodiscard]] Result<> live() {
        if (options_.receive)
            TRY(receive());
        else
            TRY(begin());
        for (;;) {
            loop_.run();
            if (outcome_ != Outcome::reset)
                return {};
            options_.config = machine_->config();
            renew();
            TRY(machine_->start());
            for (auto& [request, answer] : std::exchange(waiting_, {}))
                machine_->handle(request, std::move(answer));
        }
    }

private:
    Result<> begin() {
        TRY(serve());
        if (auto restored = std::exchange(options_.restored, nullptr))
            return machine_->start(TRY(saved_guest(*restored)), !options_.start);
        return options_.start ? machine_->start() : Result<>();
    }

    Result<> serve() {
        renew();
        server_.emplace(
            TRY(control::Server::create(loop_, control::socket_path(control::runtime_directory(), options_.config.name),
                                        [this](control::Request request, control::Server::Answer answer) {
                                            if (machine_->resetting())
                                                waiting_.emplace_back(std::move(request), std::move(answer));
                                            else
                                                machine_->handle(request, std::move(answer));
                                        })));
        return {};
    }

    Result<> receive() {
        receiving_ = TRY(Receiving::start(
            loop_, *options_.receive,
            {.assemble = [this](const control::VmConfig& config, GuestMemory memory) -> Result<GuestMemory*> {
                 if (discarding_)
                     return fail("the guest that came before is still being dropped");
                 auto place = make_place(config, std::move(memory));
                 if (!place)
                     discard();
                 return place;
             },
             .load = [this](const state::SavedVm& saved) { return machine_->arrive(saved); },
             .run = [this] { machine_->go(); },
             .discard = [this] { discard(); },
             .cancelled = [this] { leave(); }}));
        return {};
    }

    Result<GuestMemory*> make_place(const control::VmConfig& config, GuestMemory memory) {
        options_.config = config;
        TRY(serve());
        return machine_->expect(std::move(memory));
    }

    /// A guest that was here and must not run: this process waits for the next one.
    void discard() {
        server_.reset();
        discarding_ = machine_.has_value();
        if (machine_)
            machine_->kill();
    }

    /// Whoever runs this process wants it to end.
    void leave() {
        if (discarding_)
            cancelled_ = true;
        else
            machine_ ? machine_->kill() : end(Outcome::killed);
    }

    void end(Outcome how) {
        if (std::exchange(discarding_, false))
            return loop_.post([this] { // this is called from inside the machine
                machine_.reset();
                if (cancelled_)
                    end(Outcome::killed);
            });
        outcome_ = how;
        loop_.stop();
    }

    void renew() {
        // The old one first: there is memory, and a terminal, for one only.
        machine_.reset();
        machine_.emplace(
            loop_, options_.config,
            Machine::Options{.console = console_from(options_.console), .ended = [this](Outcome how) { end(how); }});
        started_ = loop_.after(start_up, forget_start_up_code);
    }

    RunOptions options_;
    EventLoop loop_;
    Subscription ending_;
    Subscription started_;
    Outcome outcome_ = Outcome::killed;
    std::optional<Machine> machine_;
    std::optional<control::Server> server_;
    bool discarding_ = false; ///< the machine ends, and this process does not
    bool cancelled_ = false;  ///< but this process does, after that
    std::unique_ptr<Receiving> receiving_;
    std::vector<std::pair<control::Request, control::Server::Answer>> waiting_; ///< while the guest resets
};

} // namespace

int run_vm(RunOptions options) {
    if (const auto reason = reason_for_testbed(options.testbed)) {
        log::info("running in the testbed: {}", *reason);
        return report(run_in_testbed(options));
    }
    use_small_stacks();
    auto signals = signals_to_end();
    if (!signals)
        return report(signals.error());
    if (const auto lived = Lives(std::move(options), *signals).live(); !lived)
        return report(lived.error());
    return 0;
}

} // namespace aerate
