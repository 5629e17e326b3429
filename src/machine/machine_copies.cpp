// What is asked of the memory of a guest that runs: sweeps, squeezes, snapshots, migrations; one at a time.
#include "base/log.hpp"
#include "machine/machine.hpp"

#include <utility>

namespace aerate {

using control::conflict;

std::optional<control::Failure> Machine::refuse_copy() const {
    if (state_ == State::ending)
        return conflict("the VM is ending");
    if (waiting_for_sweep_)
        return conflict("a sweep is under way, and ends by itself: try again");
    if (waiting_for_squeeze_)
        return conflict("a squeeze is under way, and ends by itself: try again");
    if (!operations_.busy().empty())
        return conflict(operations_.busy() + " is under way already");
    if (state_ == State::crashed)
        return conflict("the guest has crashed: " + crash_);
    if (given_away_)
        return conflict("the guest was given away, and may run elsewhere");
    return std::nullopt;
}

void Machine::take_snapshot(control::TakeSnapshot take, control::Server::Answer answer) {
    if (auto refusal = refuse_copy())
        return answer(std::move(*refusal));
    if (take.diff && !hardware_->diff_base().parent())
        return answer(conflict("there is no snapshot that this one could be a diff of: this guest was not restored, "
                               "and none was taken since it started. Take a full one first"));
    config_.machine.track_dirty_pages |= take.track_dirty_pages;
    take.track_dirty_pages = config_.machine.track_dirty_pages;
    copy(take.sweep, std::move(answer), [this, take](control::Server::Answer waiting) {
        operations_.snapshot(*hardware_, control::print_vm_config(config_), take, std::move(waiting));
    });
}

void Machine::migrate(const control::Migrate& request, control::Server::Answer answer) {
    if (auto refusal = refuse_copy())
        return answer(std::move(*refusal));
    auto planned = Departure::plan(request, hardware_->memory.size());
    if (!planned)
        return answer(control::Failure{400, std::move(planned).error().message});
    copy(request.sweep, std::move(answer),
         [this, departure = *std::move(planned)](control::Server::Answer waiting) mutable {
             operations_.migrate(*hardware_, control::print_vm_config(config_), std::move(departure),
                                 std::move(waiting));
         });
}

/// What the guest does not use need not be copied. A guest that takes no part in that is copied as it is.
void Machine::copy(bool sweep, control::Server::Answer answer,
                   std::move_only_function<void(control::Server::Answer)> begin) {
    operations_.announce();
    if (!sweep || pause_wanted_)
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

/// Nobody knows where the guest runs: it stands still here until an operator decides.
void Machine::operation_ended() {
    if (state_ == State::ending)
        return end();
    if (!held_)
        return;
    given_away_ = pause_wanted_ = true;
    log::error(
        "{}: the guest was given to the destination, which did not answer. It stands still here and may run there. "
        "When it is certain that it does not: aerate resume --force {}",
        config_.name, config_.name);
}

void Machine::sweep(control::Server::Answer answer) {
    if (auto refusal = refuse_copy())
        return answer(std::move(*refusal));
    if (pause_wanted_)
        return answer(
            conflict("the VM is paused, and a guest that stands still can't say what is free: resume it first"));
    give_back_idle_memory(IdleMemory::Hints::always,
                          [answer = std::move(answer)](Result<IdleMemoryReport> result) mutable {
                              if (!result)
                                  return answer(conflict(std::move(result).error().message));
                              const SweepReport& sweep = result->sweep;
                              answer(control::SweepStatus{.hinted = bytes_of(sweep.hinted),
                                                          .discarded = bytes_of(sweep.discarded),
                                                          .small = result->small,
                                                          .batches = sweep.batches,
                                                          .longest_hold = sweep.longest_hold,
                                                          .duration = result->duration,
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
    if (pause_wanted_)
        return answer(conflict("the VM is paused, and a guest that stands still can't give anything: resume it first"));
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
