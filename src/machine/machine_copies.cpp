// What is asked of the memory of a guest that runs: sweeps, squeezes, snapshots, migrations; one at a time.
#include "base/log.hpp"
#include "machine/machine.hpp"

#include <sys/resource.h>

#include <utility>
#include <variant>

namespace aerate {

using control::conflict;

namespace {

/// Lowers our priority: unmapping gigabytes must not slow the guest, which may run on this host now.
void lower_priority() {
    (void)::setpriority(PRIO_PROCESS, 0, 19); // of this thread (setpriority(2), C library/kernel differences)
}

} // namespace

std::unique_ptr<LiveGuest> Machine::live_guest(LiveGuest::Purpose purpose) {
    LiveGuest::RunStates run_states{
        .hold = [this](LiveGuest::Held held) { freezer_.claim(Freezer::Claimant::copy, std::move(held)); },
        .release = [this] { freezer_.release(Freezer::Claimant::copy); },
        .moved =
            [this] {
                lower_priority();
                shut_down(Outcome::moved);
            },
        .throttle = [this](unsigned percent) { throttle(percent); }};
    return std::make_unique<LiveGuest>(loop_, *hardware_, control::print_vm_config(without_monitor(config_)), purpose,
                                       std::move(run_states));
}

void Machine::cancel_copy(std::string why) {
    operations_.cancel(std::move(why));
    if (freezer_.waits(Freezer::Claimant::copy))
        freezer_.release(Freezer::Claimant::copy);
}

std::optional<control::Failure> Machine::refuse_copy() const {
    if (state_ == State::ending)
        return conflict("the VM is ending");
    if (changes_drive_)
        return conflict("a drive is being changed: try again");
    if (waiting_for_sweep_)
        return conflict("a sweep is under way, and ends by itself: try again");
    if (waiting_for_squeeze_)
        return conflict("a squeeze is under way, and ends by itself: try again");
    if (!operations_.busy().empty())
        return conflict(operations_.busy() + " is under way already");
    if (crashed())
        return conflict("the guest has crashed: " + crash_);
    if (given_away())
        return conflict("the guest was given away, and may run elsewhere");
    return std::nullopt;
}

void Machine::take_snapshot(control::TakeSnapshot take, control::Server::Answer answer) {
    if (auto refusal = refuse_copy())
        return answer(std::move(*refusal));
    if (auto whole = hardware_->disks_are_whole(); !whole)
        return answer(conflict(std::move(whole).error().message));
    if (take.diff && take.memory_path.empty() && !hardware_->diff_bases().one_file.parent())
        return answer(conflict("there is no snapshot in one file that this one could be a diff of: this guest was not "
                               "restored from one, and none was taken since it started. Take a full one first"));
    take.track_dirty_pages |= config_.machine.track_dirty_pages;
    auto taken = [this, track = take.track_dirty_pages, answer = std::move(answer)](control::Reply reply) mutable {
        if (!std::holds_alternative<control::Failure>(reply))
            config_.machine.track_dirty_pages = track;
        answer(std::move(reply));
    };
    copy(take.sweep, std::move(taken), [this, take](control::Server::Answer waiting) {
        operations_.snapshot(hardware_->diff_bases(), take, std::move(waiting));
    });
}

void Machine::migrate(const control::Migrate& request, control::Server::Answer answer) {
    if (auto refusal = refuse_copy())
        return answer(std::move(*refusal));
    if (auto whole = hardware_->disks_are_whole(); !whole)
        return answer(conflict(std::move(whole).error().message));
    auto planned = OutgoingMigration::plan(request, hardware_->memory.size());
    if (!planned)
        return answer(control::Failure{400, std::move(planned).error().message});
    planned->options.guest = config_.name;
    copy(request.sweep, std::move(answer),
         [this, outgoing = *std::move(planned)](control::Server::Answer waiting) mutable {
             operations_.migrate(std::move(outgoing), std::move(waiting));
         });
}

/// Begins a copy, after a sweep if one is wanted: what the guest does not use need not be copied. A guest that takes no
/// part in that is copied as it is.
void Machine::copy(bool sweep, control::Server::Answer answer,
                   std::move_only_function<void(control::Server::Answer)> begin) {
    operations_.announce();
    if (!sweep)
        return begin(std::move(answer));
    // There is one command ID: a round of an operator's would end with the first of ours.
    hardware_->balloon_thread.loop().post([this, answer = std::move(answer), begin = std::move(begin)]() mutable {
        const bool round = hardware_->balloon->hinting().tracker().open();
        loop_.post([this, round, answer = std::move(answer), begin = std::move(begin)]() mutable {
            if (auto refusal = refuse_copy())
                return answer(std::move(*refusal));
            if (operations_.cancelled())
                return answer(conflict("it was cancelled before it began"));
            if (round)
                return answer(conflict("a round of free page hinting is under way, and a sweep would end it: stop it "
                                       "first (aerate hint stop " +
                                       config_.name + ")"));
            sweep_and_copy(std::move(answer), std::move(begin));
        });
    });
}

void Machine::sweep_and_copy(control::Server::Answer answer,
                             std::move_only_function<void(control::Server::Answer)> begin) {
    if (pausing_or_paused())
        return begin(std::move(answer));
    give_back_idle_memory(
        IdleMemory::Hints::if_much_is_idle,
        [this, answer = std::move(answer), begin = std::move(begin)](const Result<IdleMemoryReport>& result) mutable {
            if (!result)
                log::info("{}: no sweep: {}", config_.name, result.error().message);
            if (auto refusal = refuse_copy())
                return answer(std::move(*refusal));
            if (operations_.cancelled())
                return answer(conflict("it was cancelled before it began"));
            begin(std::move(answer));
        });
}

/// Ends the copy's claim. Where the guest runs is not known when the copy still holds it: it is stopped here until an
/// operator decides.
void Machine::operation_ended() {
    if (state_ == State::ending)
        return end();
    if (!freezer_.holds(Freezer::Claimant::copy))
        return;
    freezer_.give_away();
    log::error(
        "{}: the guest was given to the destination, which did not answer. It is stopped here and may run there. "
        "When it is certain that it does not: aerate resume --force {}",
        config_.name, config_.name);
}

void Machine::sweep(control::Server::Answer answer) {
    if (auto refusal = refuse_copy())
        return answer(std::move(*refusal));
    if (pausing_or_paused())
        return answer(
            conflict("the VM is paused, and a guest that is stopped cannot say what is free: resume it first"));
    give_back_idle_memory(IdleMemory::Hints::always,
                          [answer = std::move(answer)](Result<IdleMemoryReport> result) mutable {
                              if (!result)
                                  return answer(conflict(std::move(result).error().message));
                              const SweepReport& sweep = result->sweep;
                              answer(control::SweepStatus{.hinted = bytes_of(sweep.hinted),
                                                          .small = result->small,
                                                          .resident_before = result->resident_before,
                                                          .resident_after = result->resident_after,
                                                          .batches = sweep.batches,
                                                          .longest_hold = sweep.longest_hold,
                                                          .duration = result->duration,
                                                          .logged = result->logged,
                                                          .cut = sweep.cut});
                          });
}

/// REQUIRES: refuse_copy() has nothing against it, and the guest is not paused.
void Machine::give_back_idle_memory(IdleMemory::Hints hints, IdleMemory::Done done) {
    waiting_for_sweep_ = std::move(done);
    hardware_->balloon_thread.loop().post([this, hints] {
        hardware_->idle_memory->give_back(hints, [this](Result<IdleMemoryReport> result) {
            loop_.post([this, alive = std::weak_ptr(alive_), result = std::move(result)]() mutable {
                if (alive.expired() || !waiting_for_sweep_)
                    return;
                std::exchange(waiting_for_sweep_, nullptr)(std::move(result));
            });
        });
    });
}

void Machine::squeeze(ByteCount keep, control::Server::Answer answer) {
    if (auto refusal = refuse_copy())
        return answer(std::move(*refusal));
    if (pausing_or_paused())
        return answer(conflict("the VM is paused, and a guest that is stopped cannot give anything: resume it first"));
    waiting_for_squeeze_ = std::move(answer);
    hardware_->balloon_thread.loop().post([this, keep] {
        hardware_->squeezer->start(keep, [this](Result<SqueezeReport> result) {
            loop_.post([this, alive = std::weak_ptr(alive_), result = std::move(result)]() mutable {
                if (alive.expired() || !waiting_for_squeeze_)
                    return;
                auto waiting = std::move(*std::exchange(waiting_for_squeeze_, std::nullopt));
                if (!result)
                    return waiting(conflict(std::move(result).error().message));
                waiting(control::SqueezeStatus{result->taken, result->resident_before, result->resident_after,
                                               result->duration, result->stopped_by});
            });
        });
    });
}

} // namespace aerate
