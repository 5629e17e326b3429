#include "migration/outgoing_stream.hpp"

#include "base/check.hpp"
#include "base/log.hpp"
#include "migration/wire/bytes.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace aerate::migration {

OutgoingStream::OutgoingStream(EventLoop& loop, unsigned number, GuestMemory& memory, FrameWriter& writer,
                               const SourceOptions& options, Callbacks callbacks)
    : loop_(loop)
    , number_(number)
    , memory_(memory)
    , writer_(writer)
    , bandwidth_{options.bandwidth.value / options.streams}
    , callbacks_(std::move(callbacks))
    , choice_(options.compression)
    , link_(bandwidth_) {
    const ByteCount cache{options.delta_cache.value / options.streams};
    if (cache < page_size)
        return;
    if (auto made = DeltaCache::create(cache, options.streams))
        cache_ = *std::move(made);
    else
        log::warning("pages are sent whole, not as deltas: {}", made.error().message);
}

void OutgoingStream::give(std::vector<PageRange>&& pages, unsigned round) {
    CHECK(loop_.owned_here());
    round_ = round;
    queue_.insert(queue_.end(), pages.begin(), pages.end());
    work_soon();
}

void OutgoingStream::end_round(unsigned round) {
    CHECK(loop_.owned_here());
    round_ = round;
    ending_ = true;
    work_soon();
}

void OutgoingStream::hurry() {
    CHECK(loop_.owned_here());
    bandwidth_ = {};
    paced_until_ = {};
    pace_timer_ = {};
    queued_ = false; // or the timer's work would be waited for
    if (!queue_.empty() || ending_)
        work_soon();
}

void OutgoingStream::work_soon() {
    if (stopped_ || std::exchange(queued_, true))
        return;
    const auto pause = std::chrono::duration_cast<std::chrono::milliseconds>(paced_until_ - Clock::now());
    // The end of a round waits for nothing: the guest writes on meanwhile.
    if (pause.count() > 0 && !queue_.empty())
        pace_timer_ = loop_.after(pause, [this] { work(); });
    else
        loop_.post([this] { work(); });
}

/// Sends about a frame, so that others on this loop get their turn.
void OutgoingStream::work() {
    queued_ = flushed_ = false;
    began_ = Clock::now();
    const auto worked = [&]() -> Result<> {
        while (!stopped_ && !queue_.empty() && !flushed_) {
            TRY(take(queue_.front()));
            if (queue_.front().count == PageCount{})
                queue_.pop_front();
        }
        if (stopped_ || !queue_.empty() || !ending_)
            return {};
        TRY(flush());
        if (number_ == 0)
            return {}; // the control stream says itself what comes next
        append(writer_.begin(), static_cast<std::uint32_t>(round_));
        return writer_.send(FrameKind::round_end);
    }();
    if (stopped_)
        return;
    report();
    if (!worked) {
        stopped_ = true;
        return callbacks_.failed(worked.error());
    }
    if (!queue_.empty())
        return work_soon();
    if (std::exchange(ending_, false))
        callbacks_.round_ended({writer_.transcript(), writer_.sent()});
}

/// Takes from the beginning of `pages` what fits into a frame; one that is full is sent.
Result<> OutgoingStream::take(PageRange& pages) {
    const PageCount taken = TRY(read(pages));
    if (taken < pages.count || builder_.room() == PageCount{} || deltas_.full())
        TRY(flush());
    sent_.taken += taken;
    pages = {{pages.first.value + taken.value}, pages.count - taken};
    return {};
}

Result<PageCount> OutgoingStream::read(PageRange range) {
    // What is sent in the first round is all of memory; what is written again and again shows from the second on.
    if (!cache_ || round_ < 2)
        return builder_.add(memory_, range);
    PageCount taken;
    for (FrameNumber frame = range.first; frame < range.end() && !deltas_.full(); ++frame.value, ++taken.value) {
        if (send_as_delta(frame))
            continue;
        if (builder_.add(memory_, {frame, {1}}) == PageCount{})
            break;
        if (const auto content = builder_.last_content(); content.empty())
            cache_->forget({frame, {1}});
        else
            cache_->remember(frame, round_, content);
    }
    return taken;
}

bool OutgoingStream::send_as_delta(FrameNumber frame) {
    const auto base = cache_->find(frame, round_);
    if (!base || memory_.is_zero(frame))
        return false;
    // Read once: a guest that writes meanwhile must not make two versions of it.
    std::array<std::byte, page_size.value> now;
    CHECK(memory_.read(address_of(frame), now));
    return deltas_.add(frame, *base, now);
}

Result<> OutgoingStream::flush() {
    flushed_ = true;
    TRY(flush_deltas());
    return flush_pages();
}

Result<> OutgoingStream::flush_pages() {
    if (builder_.empty())
        return {};
    const auto counts = builder_.counts();
    compressor_.use(choice_.next());
    const auto start = Clock::now();
    const auto frame = builder_.finish(&compressor_);
    const auto finished = Clock::now();
    TRY(send(FrameKind::pages, frame));
    account({frame.size()}, sent_at_ - start);
    choice_.sent({.content = builder_.length(),
                  .stored = builder_.stored(),
                  .compressing = finished - start,
                  .handling = (start - began_) + (sent_at_ - finished) - waited_},
                 link_, between_frames_);
    began_ = sent_at_;
    sent_.data += counts.data;
    sent_.length += builder_.length();
    sent_.stored += builder_.stored();
    sent_.zero += counts.zero;
    return {};
}

Result<> OutgoingStream::flush_deltas() {
    if (deltas_.empty())
        return {};
    const PageCount pages = deltas_.pages();
    const auto start = Clock::now();
    const auto frame = deltas_.finish();
    TRY(send(FrameKind::deltas, frame));
    account({frame.size()}, sent_at_ - start);
    began_ = sent_at_;
    sent_.delta += pages;
    return {};
}

Result<> OutgoingStream::send(FrameKind kind, std::span<std::byte> frame) {
    const auto waited = writer_.waited();
    TRY(writer_.send_whole(kind, frame));
    waited_ = writer_.waited() - waited;
    const auto now = Clock::now();
    between_frames_ = now - std::exchange(sent_at_, now);
    link_.sent({frame.size()}, between_frames_, waited_);
    return {};
}

void OutgoingStream::account(ByteCount wire, Throughput::Duration took) {
    if (bandwidth_.value > 0) {
        const Throughput::Duration pace(static_cast<double>(wire.value) / static_cast<double>(bandwidth_.value));
        const auto now = Clock::now();
        paced_until_ = std::max(paced_until_, now - std::chrono::duration_cast<Clock::duration>(took)) +
                       std::chrono::duration_cast<Clock::duration>(pace);
        took = std::max(took, pace);
    }
    sent_.took += took;
}

void OutgoingStream::report() {
    if (sent_.taken > PageCount{} || sent_.took > Throughput::Duration{}) {
        sent_.wire = writer_.sent();
        sent_.form = choice_.in_use();
        callbacks_.sent(std::exchange(sent_, {}));
    }
}

} // namespace aerate::migration
