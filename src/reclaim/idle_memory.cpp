#include "reclaim/idle_memory.hpp"

#include "base/check.hpp"
#include "base/since.hpp"

#include <algorithm>
#include <utility>

namespace aerate {
namespace {

namespace statistic = balloon::statistic;

/// Compares hints with the balloon. In a hint round the driver takes every free block from the guest's allocator, idle
/// or not, and Linux clears each (init_on_alloc); the balloon takes idle ones, a page at a time. In the emulated
/// machine that is some 70 against 35 MiB/s (docs/measurements.md), so hints are surely the sooner way from about a
/// third on.
bool hints_are_sooner(ByteCount idle, ByteCount free) {
    return idle.value >= free.value / 3;
}

/// For a page that Linux does not find at once.
constexpr Squeezer::Pace small_blocks{.patience = std::chrono::milliseconds(500), .limit = std::chrono::seconds(30)};
/// For hinted blocks to come back to the guest's allocator: from the last that did, and for all.
constexpr std::chrono::milliseconds return_patience{250};
constexpr std::chrono::seconds return_limit{5};
constexpr std::chrono::milliseconds return_look{50};

/// Returns what stays free whatever happens: more than Linux's watermarks, below which it would look for memory to
/// reclaim.
ByteCount reserve(const GuestMemory& memory) {
    return {std::max<std::uint64_t>(memory.size().value / 32, 8ULL << 20)};
}

/// Returns what two sweeps of the same memory came to: the guest hinted it twice.
SweepReport together(const SweepReport& first, SweepReport then) {
    then.hinted = std::max(then.hinted, first.hinted);
    then.discarded += first.discarded;
    then.read += first.read;
    then.zero += first.zero;
    then.batches += first.batches;
    then.longest_hold = std::max(then.longest_hold, first.longest_hold);
    then.duration += first.duration;
    return then;
}

} // namespace

std::optional<ByteCount> idle_memory(const balloon::GuestStatistics& guest, const GuestMemory& memory,
                                     const balloon::Balloon& balloon) {
    const auto free = guest.values[statistic::free_memory];
    if (!free)
        return std::nullopt;
    const std::uint64_t not_used = std::min(*free + bytes_of(balloon.actual()).value, memory.size().value);
    const std::uint64_t used = memory.size().value - not_used;
    const std::uint64_t resident = memory.resident().value;
    return ByteCount{resident - std::min(resident, used)};
}

template <typename F>
void IdleMemory::ask(F then) {
    balloon_.statistics().request(
        [this, run = run_, then = std::move(then)](const Result<balloon::GuestStatistics>& guest) mutable {
            if (busy() && run == run_)
                then(guest);
        });
}

void IdleMemory::give_back(Hints hints, Done done) {
    CHECK(loop_.owned_here());
    if (done_)
        return done(fail("idle memory is being given back already"));
    ++run_;
    done_ = std::move(done);
    report_ = {};
    report_.resident_before = memory_.resident();
    began_ = Clock::now();
    if (hints == Hints::always)
        return sweep(choice_.first());
    ask([this](const Result<balloon::GuestStatistics>& guest) {
        const auto idle = guest ? idle_memory(*guest, memory_, balloon_) : std::nullopt;
        if (!idle || balloon_.hinting().answered_by_reports() ||
            hints_are_sooner(*idle, {*guest->values[statistic::free_memory]}))
            return sweep(choice_.first());
        take_small_blocks();
    });
}

void IdleMemory::sweep(Sweeper::Way way) {
    sweeper_.start(way, [this, way](Result<SweepReport> swept) {
        if (!busy())
            return; // cancelled
        if (!swept)
            return end(std::unexpected(std::move(swept).error()));
        report_.sweep = together(report_.sweep, *swept);
        report_.logged = way == Sweeper::Way::by_log;
        if (report_.logged)
            choice_.learn_from_log(*swept);
        sweep_again_ = !report_.logged && choice_.wants_log(*swept);
        // Such a driver has reported the small blocks too, and inflates in large ones, which are the host's already.
        if (balloon_.hinting().answered_by_reports())
            return end(report_);
        give_up_waiting_ = Clock::now() + return_limit;
        wait_for_return({}, Clock::now());
    });
}

/// Waits until the driver has returned the blocks. It gives hinted blocks back to the allocator in a work item of its
/// own (virtio_balloon.c, return_free_pages_to_mm), and says nothing when it has. Until then another round or the
/// balloon would find little.
void IdleMemory::wait_for_return(ByteCount free_before, Clock::time_point grown) {
    ask([this, free_before, grown](const Result<balloon::GuestStatistics>& guest) {
        const auto free = guest ? guest->values[statistic::free_memory] : std::nullopt;
        if (!free)
            return sweep_again_ ? sweep(Sweeper::Way::by_log) : end(report_);
        const auto now = Clock::now();
        const auto last_grown = *free > free_before.value ? now : grown;
        if (*free >= bytes_of(report_.sweep.discarded).value || now - last_grown >= return_patience ||
            now >= give_up_waiting_)
            return sweep_again_ ? sweep(Sweeper::Way::by_log) : take_small_blocks();
        timer_ = loop_.after(return_look, [this, free = *free, last_grown] { wait_for_return({free}, last_grown); });
    });
}

/// Takes small blocks through the balloon. A guest that cannot take part has been swept, at least.
void IdleMemory::take_small_blocks() {
    // Nothing of a huge page goes back before all of it is free. And a balloon on its way to where an operator wants it
    // takes small blocks as it is.
    if (memory_.host_page_size() > page_size || balloon_.actual() != balloon_.target())
        return end(report_);
    squeezing_ = true;
    squeezer_.start(
        [this,
         idle_before = std::optional<ByteCount>()](const balloon::GuestStatistics& guest) mutable -> Result<ByteCount> {
            const auto idle = idle_memory(guest, memory_, balloon_);
            const auto free = guest.values[statistic::free_memory];
            if (!idle || !free)
                return fail("the guest does not say how much memory is free");
            // Once the balloon gets blocks that the host does not hold, there is nothing small left.
            const auto before = std::exchange(idle_before, idle);
            if (before && (before->value - std::min(before->value, idle->value)) * 4 <
                              std::min(*before, bytes_of(Squeezer::step)).value)
                return ByteCount{};
            const ByteCount spare{*free - std::min(*free, reserve(memory_).value)};
            return std::min(*idle, spare);
        },
        small_blocks,
        [this](Result<SqueezeReport> squeezed) {
            if (!busy())
                return; // cancelled
            squeezing_ = false;
            if (squeezed)
                report_.small = squeezed->taken;
            end(report_);
        });
}

void IdleMemory::cancel(std::string_view why) {
    CHECK(loop_.owned_here());
    if (!busy())
        return;
    auto done = std::exchange(done_, nullptr);
    timer_.cancel();
    sweeper_.cancel(why);
    if (squeezing_)
        squeezer_.cancel(why);
    squeezing_ = false;
    done(fail("{}", why));
}

void IdleMemory::end(Result<IdleMemoryReport> result) {
    timer_.cancel();
    if (result) {
        result->resident_after = memory_.resident();
        result->duration = since(began_);
    }
    std::exchange(done_, nullptr)(std::move(result));
}

} // namespace aerate
