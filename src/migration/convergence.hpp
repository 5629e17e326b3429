// When a round may be the last: what is known of the link and of the guest, and what follows. No clock, no socket.
#pragma once

#include "base/units.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <utility>

namespace aerate::migration {

/// How fast pages get through, by what was sent last.
class Throughput {
public:
    using Duration = std::chrono::duration<double>;

    Throughput() = default;
    /// `limit`: bytes a second that the sender keeps to by itself; 0: none.
    explicit Throughput(ByteCount limit) {
        if (limit.value > 0)
            unknown_ = std::min(unknown_, static_cast<double>(limit.value));
    }

    void sent(ByteCount content, Duration took) {
        measured_ += content;
        bytes_ += static_cast<double>(content.value);
        seconds_ += took.count();
        // Half of what is remembered is the last 64 MiB.
        if (bytes_ > window) {
            bytes_ /= 2;
            seconds_ /= 2;
        }
    }
    /// Returns the rate per second: a guess until something is known.
    [[nodiscard]] ByteCount per_second() const {
        const double rate = bytes_ == 0 ? unknown_ : bytes_ / std::max(seconds_, 1e-9);
        return {static_cast<std::uint64_t>(std::max(rate, 1.0))};
    }
    /// Returns how long `pages` are expected to take, which is a guess as long as not may_be_relied_on().
    [[nodiscard]] std::chrono::microseconds time_for(PageCount pages) const {
        const double seconds = static_cast<double>(bytes_of(pages).value) / static_cast<double>(per_second().value);
        constexpr double longest = 1e9;
        return std::chrono::microseconds(static_cast<std::int64_t>(std::min(seconds, longest) * 1e6));
    }

    /// Counts pages that read as zero in a round after the first: what is pending then is expected to be like them.
    void saw_zero(PageCount pages) { measured_ += bytes_of(pages); }
    /// Returns whether as much as `pages` has been seen to get through. A guest must not stand still by a rate that was
    /// measured on less: what is short stays in the buffers of sockets, which take it at the speed of memory.
    [[nodiscard]] bool may_be_relied_on(PageCount pages) const { return measured_ >= bytes_of(pages); }

private:
    static constexpr double window = 128.0 * (1U << 20);
    double unknown_ = 64.0 * (1U << 20);
    ByteCount measured_;
    double bytes_ = 0;
    double seconds_ = 0;
};

/// Until when a round waits for hints before it sends anything: a page that is sent first and hinted later was sent for
/// nothing, but waiting must not cost more than it saves. Each hint is worth the time that sending its pages would
/// take; in all the wait is no longer than that sum and a beginning, and after each hint no longer than twice its own
/// worth.
class HintPatience {
public:
    using Time = std::chrono::steady_clock::time_point;
    using Duration = std::chrono::steady_clock::duration;

    HintPatience() = default;
    /// `pause`: from one hint to the next, even when they are small.
    HintPatience(Time now, Duration for_the_first, Duration pause)
        : affordable_(now + for_the_first)
        , expected_(now + for_the_first)
        , pause_(pause) {}

    void hinted(Time now, Duration worth) {
        if (worth == Duration::zero())
            return;
        affordable_ += worth;
        expected_ = now + std::clamp(2 * worth, pause_, std::max(pause_, longest_pause));
    }
    [[nodiscard]] Time until() const { return std::min(affordable_, expected_); }

private:
    /// A guest that is silent for that long has nothing more to say, however much it has said at once.
    static constexpr Duration longest_pause = std::chrono::seconds(1);

    Time affordable_;
    Time expected_;
    Duration pause_{};
};

/// Which rounds ask the guest for hints. One that clears what it hints (Linux with init_on_alloc) has by the next round
/// written to all of it, so no two rounds in a row do: what reads as zero is sent for next to nothing, and with hints
/// in every round none would become smaller. A guest whose hints spare nothing is not asked again.
class HintTurns {
public:
    /// Returns whether the next round should ask for hints. `spared`: by all rounds so far.
    [[nodiscard]] bool next(PageCount spared) {
        const PageCount by_the_last = spared - std::exchange(spared_, spared);
        if (asked_ && by_the_last == PageCount{})
            useful_ = false;
        asked_ = useful_ && !asked_;
        return asked_;
    }

private:
    PageCount spared_;
    bool asked_ = false;
    bool useful_ = true;
};

/// What to do about a round that is about to be sent.
enum class Verdict : std::uint8_t {
    finish,  ///< it fits into the downtime
    go_on,   ///< it does not
    give_up, ///< and never will
};

struct Convergence {
    std::chrono::microseconds limit{};
    unsigned max_rounds = 0;
    bool stop_anyway = false;

    [[nodiscard]] bool fits(const Throughput& link, PageCount pending) const {
        return link.may_be_relied_on(pending) && link.time_for(pending) <= limit;
    }
    [[nodiscard]] Verdict judge(unsigned round, const Throughput& link, PageCount pending) const {
        if (fits(link, pending))
            return Verdict::finish;
        if (round <= max_rounds)
            return Verdict::go_on;
        return stop_anyway ? Verdict::finish : Verdict::give_up;
    }
};

/// Slows the guest down while it writes more than half of what is sent: 20 % after the second such round, 10 % more
/// after each that follows.
class Throttle {
public:
    /// Returns the percentage from here on.
    unsigned round(PageCount sent, PageCount written) {
        constexpr unsigned first = 20;
        constexpr unsigned step = 10;
        constexpr unsigned most = 99;
        if (written.value * 2 <= sent.value)
            return percent_;
        if (++bad_rounds_ >= 2)
            percent_ = percent_ == 0 ? first : std::min(percent_ + step, most);
        return percent_;
    }
    [[nodiscard]] unsigned percent() const { return percent_; }

private:
    unsigned bad_rounds_ = 0;
    unsigned percent_ = 0;
};

} // namespace aerate::migration
