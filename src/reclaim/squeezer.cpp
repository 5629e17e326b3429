#include "reclaim/squeezer.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <utility>

namespace aerate {
namespace {

namespace statistic = balloon::statistic;

constexpr PageCount worth_a_step = whole_pages_of(ByteCount{1ULL << 20});
/// Linux tries again 200 ms after it found no page for the balloon. Of a cache that is written back first, pages come
/// later.
constexpr Squeezer::Pace with_a_cache{.patience = std::chrono::seconds(3), .limit = std::chrono::minutes(30)};
constexpr Squeezer::Pace to_let_go{.patience = std::chrono::seconds(3), .limit = std::chrono::minutes(1)};

} // namespace

void Squeezer::start(ByteCount keep, Done done) {
    start(
        [keep](const balloon::GuestStatistics& guest) -> Result<ByteCount> {
            const auto available = guest.values[statistic::available_memory];
            if (!available)
                return fail("the guest does not say how much memory it could give");
            return ByteCount{*available - std::min(*available, keep.value)};
        },
        with_a_cache, std::move(done));
}

void Squeezer::start(Surplus surplus, Pace pace, Done done) {
    CHECK(loop_.owned_here());
    if (done_)
        return done(fail("a squeeze is under way already"));
    ++run_;
    done_ = std::move(done);
    surplus_ = std::move(surplus);
    target_before_ = balloon_.target();
    distress_at_first_.reset();
    letting_go_ = false;
    report_ = {};
    report_.resident_before = memory_.resident();
    began_ = Clock::now();
    patience_ = pace.patience;
    deadline_ = began_ + pace.limit;
    look();
}

void Squeezer::look() {
    balloon_.statistics().request([this, run = run_](const Result<balloon::GuestStatistics>& answer) {
        if (!busy() || run != run_)
            return; // a squeeze that has ended asked
        if (!answer)
            return distress_at_first_ ? let_go("the guest no longer reports statistics")
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
    const PageCount target = std::min(balloon_.actual() + more, whole_pages_of(memory_.size()));
    if (more < worth_a_step || target <= balloon_.actual())
        return let_go("");
    inflate_to(target);
}

void Squeezer::inflate_to(PageCount target) {
    if (auto set = balloon_.set_target(target, balloon::TargetOf::monitor); !set)
        return let_go(set.error().message);
    watch_balloon();
}

void Squeezer::let_go(std::string why) {
    report_.stopped_by = std::move(why);
    if (balloon_.target() == target_before_)
        return finish();
    letting_go_ = true;
    patience_ = to_let_go.patience;
    deadline_ = Clock::now() + to_let_go.limit;
    put_target_back();
    watch_balloon();
}

/// Puts the target back, but never above what a guest that ran out of memory has left in the balloon.
void Squeezer::put_target_back() {
    (void)balloon_.set_target(std::min(target_before_, balloon_.target()), balloon::TargetOf::monitor);
}

/// Watches the balloon: the guest writes `actual` as it goes.
void Squeezer::watch_balloon() {
    moved_ = Clock::now();
    nearest_ = distance();
    balloon_.on_actual([this] { balloon_moved(); });
    balloon_moved();
}

/// Schedules a look after the write, which a vCPU waits for.
void Squeezer::balloon_moved() {
    if (look_at_balloon_.active())
        return;
    look_at_balloon_ = loop_.after({}, [this] {
        look_at_balloon_.cancel();
        look_at_balloon();
    });
}

void Squeezer::look_at_balloon() {
    const PageCount actual = balloon_.actual();
    report_.taken = std::max(report_.taken, bytes_of(actual) - std::min(bytes_of(actual), bytes_of(target_before_)));
    if (actual == balloon_.target()) {
        leave_balloon();
        return letting_go_ ? finish() : look();
    }
    const auto now = Clock::now();
    if (distance() < nearest_) {
        nearest_ = distance();
        moved_ = now;
    }
    const auto until = std::min(moved_ + patience_, deadline_);
    if (now < until) {
        patience_ends_ =
            loop_.after(std::chrono::ceil<std::chrono::milliseconds>(until - now), [this] { look_at_balloon(); });
        return;
    }
    leave_balloon();
    letting_go_ ? finish()
                : let_go(now < deadline_ ? "the guest found no more pages for the balloon" : "it took too long");
}

void Squeezer::leave_balloon() {
    balloon_.on_actual(nullptr);
    look_at_balloon_.cancel();
    patience_ends_.cancel();
}

PageCount Squeezer::distance() const {
    const PageCount actual = balloon_.actual();
    const PageCount target = balloon_.target();
    return actual < target ? target - actual : actual - target;
}

void Squeezer::cancel(std::string_view why) {
    CHECK(loop_.owned_here());
    if (!busy())
        return;
    put_target_back();
    end(fail("{}", why));
}

void Squeezer::finish() {
    report_.resident_after = memory_.resident();
    report_.duration = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began_);
    end(report_);
}

void Squeezer::end(Result<SqueezeReport> result) {
    leave_balloon();
    std::exchange(done_, nullptr)(std::move(result));
}

} // namespace aerate
