// How fast a link takes bytes, by what a sender sees of it: when it had to wait. Until then a socket's buffer takes
// them, at the speed of memory. No clock, no socket.
#pragma once

#include "base/units.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

namespace aerate::migration {

class LinkRate {
public:
    using Duration = std::chrono::duration<double>;

    LinkRate() = default;
    /// `limit`: bytes a second that the sender keeps to by itself; 0: none.
    explicit LinkRate(ByteCount limit)
        : least_(limit.value > 0 ? 1 / static_cast<double>(limit.value) : 0) {}

    /// Counts what was sent in `elapsed` since the last call, idle times included; for `waited` of it the buffer was
    /// full.
    void sent(ByteCount wire, Duration elapsed, Duration waited) {
        since_full_.bytes += static_cast<double>(wire.value);
        since_full_.elapsed += elapsed;
        since_full_.waited += waited;
        if (waited > Duration::zero()) {
            // From one moment when the buffer is full to the next the link takes what the buffer does.
            const Span span = std::exchange(since_full_, {});
            if (std::exchange(was_full_, true) && span.elapsed > Duration::zero())
                learn(span);
        } else if (was_full_) {
            // Nothing says that the link is not faster than when we last waited for it. Were that never tried, one bad
            // moment would count for ever.
            constexpr Duration doubled{0.5};
            forget(elapsed);
            seconds_ *= std::exp2(-elapsed / doubled);
            // If that is much more than became free in the buffer while we waited, the link has taken nearly all of it.
            constexpr double much = 4;
            if (since_full_.bytes > much * last_bytes_)
                seconds_ = std::min(seconds_, bytes_ * since_full_.elapsed.count() / since_full_.bytes);
        }
    }
    /// Seconds that a byte takes; 0 while nothing is known.
    [[nodiscard]] double per_byte() const { return std::max(bytes_ > 0 ? seconds_ / bytes_ : 0, least_); }

private:
    struct Span {
        double bytes = 0;
        Duration elapsed{};
        Duration waited{};
    };

    void learn(const Span& span) {
        // A sender that hardly waits may have left the link without work: it is as fast as that, at least.
        constexpr double hardly = 1.0 / 8;
        if (span.waited < hardly * span.elapsed && span.elapsed.count() * bytes_ > seconds_ * span.bytes)
            return;
        last_bytes_ = span.bytes;
        forget(span.elapsed);
        bytes_ += span.bytes;
        seconds_ += span.elapsed.count();
    }
    /// Forgets by time, so that a moment in which the other side was not scheduled counts for what it is.
    void forget(Duration elapsed) {
        constexpr Duration memory{0.25};
        const double keep = std::exp(-elapsed / memory);
        bytes_ *= keep;
        seconds_ *= keep;
    }

    double least_ = 0;
    double bytes_ = 0;
    double seconds_ = 0;
    double last_bytes_ = 0; ///< between the last two moments when the buffer was full
    bool was_full_ = false;
    Span since_full_;
};

} // namespace aerate::migration
