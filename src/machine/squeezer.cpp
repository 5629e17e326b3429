#include "machine/squeezer.hpp"

#include <algorithm>
#include <utility>

namespace aerate {
namespace {

namespace statistic = balloon::statistic;

/// Small enough that a guest which runs short is noticed before it is in trouble.
constexpr PageCount step = whole_pages_of(ByteCount{64ULL << 20});
constexpr PageCount worth_a_step = whole_pages_of(ByteCount{1ULL << 20});
constexpr std::chrono::milliseconds look_period{20};
/// Linux tries again 200 ms after it found no page for the balloon. Of a cache that is written back first, pages come
/// later.
constexpr std::chrono::seconds patience_with_a_cache{3};
constexpr std::chrono::seconds patience_to_let_go{3};

} // namespace

void Squeezer::start(ByteCount keep, Done done) {
    start(
        [keep](const balloon::GuestStatistics& guest) -> Result<ByteCount> {
            const auto available = guest.values[statistic::available_memory];
            if (!available)
                return fail("the guest does not say how much memory it could give");
            return ByteCount{*available - std::min(*available, keep.value)};
        },
        patience_with_a_cache, std::move(done));
}

void Squeezer::start(Surplus surplus, std::chrono::milliseconds patience, Done done) {
    if (done_)
        return done(fail("a squeeze is under way already"));
    done_ = std::move(done);
    surplus_ = std::move(surplus);
    patience_ = patience;
    target_before_ = balloon_.target();
    last_actual_ = balloon_.actual();
    distress_at_first_.reset();
    letting_go_ = false;
    report_ = {};
    report_.resident_before = memory_.resident();
    began_ = moved_ = Clock::now();
    look();
}

void Squeezer::look() {
    balloon_.statistics().request([this](const Result<balloon::GuestStatistics>& answer) {
        if (!answer)
            return distress_at_first_ ? let_go("the guest no longer says how it is")
                                      : end(std::unexpected(answer.error()));
        decide(*answer);
    });
}

Squeezer::Distress Squeezer::distress(const balloon::GuestStatistics& guest) const {
    return {.stalls = guest.values[statistic::alloc_stall].value_or(0),
            .kills = guest.values[statistic::oom_kill].value_or(0),
            .taken_back = balloon_.counters().unasked_deflations};
}

void Squeezer::decide(const balloon::GuestStatistics& guest) {
    const Distress now = distress(guest);
    const bool first = !distress_at_first_;
    if (first)
        distress_at_first_ = now;
    // A direct reclaim or two is what a shrinking cache looks like from inside; a kill is not, and neither is a driver
    // that takes pages back.
    constexpr std::uint64_t stalls_allowed = 64;
    if (now.kills > distress_at_first_->kills || now.taken_back > distress_at_first_->taken_back)
        return let_go("the guest ran out of memory");
    if (now.stalls > distress_at_first_->stalls + stalls_allowed)
        return let_go("the guest's allocations began to stall");
    const auto surplus = surplus_(guest);
    if (!surplus)
        return first ? end(std::unexpected(surplus.error())) : let_go(surplus.error().message);
    const PageCount more = std::min(step, whole_pages_of(*surplus));
    if (more < worth_a_step)
        return let_go("");
    const PageCount ram = whole_pages_of(memory_.size());
    inflate_to(std::min(balloon_.actual() + more, ram));
}

void Squeezer::inflate_to(PageCount target) {
    if (auto set = balloon_.set_target(target); !set)
        return let_go(set.error().message);
    moved_ = Clock::now();
    watch_balloon();
}

void Squeezer::let_go(std::string why) {
    report_.stopped_by = std::move(why);
    if (balloon_.target() == target_before_)
        return finish();
    letting_go_ = true;
    moved_ = Clock::now();
    (void)balloon_.set_target(target_before_);
    watch_balloon();
}

/// The guest writes `actual` as it goes, into a register that nobody can wait for.
void Squeezer::watch_balloon() {
    timer_ = loop_.every(look_period, [this] {
        const PageCount actual = balloon_.actual();
        report_.taken =
            std::max(report_.taken, bytes_of(actual) - std::min(bytes_of(actual), bytes_of(target_before_)));
        if (actual == balloon_.target()) {
            timer_.cancel();
            return letting_go_ ? finish() : look();
        }
        if (actual != std::exchange(last_actual_, actual))
            moved_ = Clock::now();
        if (Clock::now() - moved_ < (letting_go_ ? patience_to_let_go : patience_))
            return;
        timer_.cancel();
        letting_go_ ? finish() : let_go("the guest found no more pages for the balloon");
    });
}

void Squeezer::finish() {
    report_.resident_after = memory_.resident();
    report_.duration = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began_);
    end(report_);
}

void Squeezer::end(Result<SqueezeReport> result) {
    timer_.cancel();
    std::exchange(done_, nullptr)(std::move(result));
}

} // namespace aerate
