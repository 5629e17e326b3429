#include "reclaim/balloon_care.hpp"

#include "base/check.hpp"
#include "base/log.hpp"
#include "policy/relief.hpp"

#include <utility>

namespace aerate {
namespace {

namespace statistic = balloon::statistic;
using balloon::BalloonChange;

/// Describes the guest to the policy's functions, with nothing in it that cannot be.
policy::Guest as_policy_sees_it(const balloon::Balloon& balloon, ByteCount size, const balloon::GuestStatistics& said,
                                std::optional<std::chrono::milliseconds> age) {
    policy::Guest guest{.size = size,
                        .target = std::min(bytes_of(balloon.target()), size),
                        .actual = std::min(bytes_of(balloon.actual()), size)};
    if (const auto available = said.values[statistic::available_memory]; available && age)
        guest.said = policy::Statistics{.available = std::min(ByteCount{*available}, size - guest.actual), .age = *age};
    return guest;
}

/// Returns by how much a counter of the guest's has grown, and keeps it. It begins anew when the guest does.
std::uint64_t growth(std::optional<std::uint64_t>& before, std::optional<std::uint64_t> now) {
    const std::uint64_t more = before && now && *now > *before ? *now - *before : 0;
    before = now;
    return more;
}

} // namespace

BalloonCare::BalloonCare(EventLoop& loop, const GuestMemory& memory, balloon::Balloon& balloon,
                         EventLoop::Callback before_lapse, Tell tell)
    : loop_(loop)
    , memory_(memory)
    , balloon_(balloon)
    , before_lapse_(std::move(before_lapse))
    , tell_(std::move(tell))
    , seen_taken_back_(balloon.counters().taken_back) {
    balloon_.on_change([this](BalloonChange change) { changed(change); });
    balloon_.statistics().on_arrival([this] { take_statistics(); });
}

BalloonCare::~BalloonCare() {
    balloon_.on_change(nullptr);
    balloon_.statistics().on_arrival(nullptr);
}

Result<> BalloonCare::permit(PageCount target, std::chrono::milliseconds time, ByteCount floor) {
    CHECK(loop_.owned_here());
    const ByteCount size = memory_.size();
    const PageCount most = whole_pages_of(size - std::min(floor, size));
    if (target > most)
        return fail("permit.target_bytes: {} would leave the guest less than its memory floor of {} MiB: at most {}",
                    bytes_of(target).value, floor.value >> 20, bytes_of(most).value);
    TRY(balloon_.set_target(target, balloon::TargetOf::monitor));
    permit_.give(Clock::now(), time);
    permit_ends_ = loop_.after(time, [this] { lapse(); });
    return {};
}

void BalloonCare::operator_has_spoken() {
    CHECK(loop_.owned_here());
    permit_.end();
    permit_ends_.cancel();
}

std::optional<std::chrono::milliseconds> BalloonCare::permit_left() const {
    return permit_.left(Clock::now());
}

void BalloonCare::lapse() {
    if (!permit_.lapse(Clock::now())) {
        // The timer's clock may be a moment ahead.
        if (const auto left = permit_.left(Clock::now()))
            permit_ends_ = loop_.after(*left + std::chrono::milliseconds(1), [this] { lapse(); });
        return;
    }
    ++lapses_;
    before_lapse_();
    const PageCount target = protocol::target_after_lapse(balloon_.target(), balloon_.actual());
    log::warning("the host's policy has not renewed its word on the balloon: the target is {} MiB now, and was {} MiB",
                 bytes_of(target).value >> 20, bytes_of(balloon_.target()).value >> 20);
    (void)balloon_.set_target(target, balloon::TargetOf::monitor); // a lower one is never refused
    news_.permit_lapsed = true;
    tell_soon();
}

/// Called from within the guest's access to a register, which its vCPU waits for.
void BalloonCare::changed(BalloonChange change) {
    under_way_ |= change == BalloonChange::target;
    if (under_way_ && balloon_.actual() == balloon_.target()) {
        under_way_ = false;
        news_.target_reached = true;
        tell_soon();
    }
    if (change != BalloonChange::taken_back)
        return;
    const PageCount all = balloon_.counters().taken_back;
    news_.taken_back += all - std::exchange(seen_taken_back_, all);
    under_way_ = false;
    if (!relief_.active())
        relief_ = loop_.after(relief_delay, [this] { relieve(); });
    tell_soon();
}

void BalloonCare::relieve() {
    relief_.cancel();
    if (!balloon_.since_taken_back())
        return; // its driver was on its way out, and gave all back: the next one begins anew
    const auto& statistics = balloon_.statistics();
    const auto guest = as_policy_sees_it(balloon_, memory_.size(), statistics.latest(), statistics.age());
    const PageCount target = whole_pages_of(policy::target_after_taking_back(guest));
    if (target >= balloon_.target())
        return;
    (void)balloon_.set_target(target, balloon::TargetOf::monitor); // a lower one is never refused
    news_.relieved = true;
    tell_soon();
}

void BalloonCare::take_statistics() {
    const auto& values = balloon_.statistics().latest().values;
    news_.oom_kills += growth(kills_, values[statistic::oom_kill]);
    news_.alloc_stalls += growth(stalls_, values[statistic::alloc_stall]);
    news_.statistics = true;
    tell_soon();
}

void BalloonCare::tell_soon() {
    if (telling_.active())
        return;
    const auto since = std::chrono::floor<std::chrono::milliseconds>(Clock::now() - told_);
    telling_ = loop_.after(std::max(between_news - since, std::chrono::milliseconds{}), [this] {
        telling_.cancel();
        told_ = Clock::now();
        news_.target = balloon_.target();
        news_.actual = balloon_.actual();
        tell_(std::exchange(news_, {}));
    });
}

} // namespace aerate
