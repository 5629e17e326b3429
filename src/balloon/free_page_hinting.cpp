#include "balloon/free_page_hinting.hpp"

#include "balloon/chain_access.hpp"
#include "base/check.hpp"
#include "base/endian.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace aerate::balloon {

using protocol::HintTracker;

FreePageHinting::FreePageHinting(GuestMemory& memory, EventLoop& loop, Counters& counters,
                                 std::chrono::milliseconds round_limit, std::chrono::milliseconds answer_limit)
    : memory_(memory)
    , loop_(loop)
    , counters_(counters)
    , round_limit_(round_limit)
    , answer_limit_(std::min(answer_limit, round_limit)) {}

void FreePageHinting::attach(virtio::Virtqueue& queue, virtio::DeviceHost& host) {
    queue_ = &queue;
    host_ = &host;
}

void FreePageHinting::reset() {
    queue_ = nullptr;
    host_ = nullptr;
    tracker_.reset();
    answered_by_reports_ = false; // the next driver may be another one
    end_round(RoundEnd::cut);
}

void FreePageHinting::restore(CommandId last) {
    tracker_.issued = std::max(tracker_.issued, last);
    done();
}

CommandId FreePageHinting::start(HintSink& sink, OnGuestStop on_guest_stop) {
    CHECK(loop_.owned_here());
    if (queue_ == nullptr)
        return {};
    // An honest guest hints a page twice in a round only when it took it back in between.
    const PageCount ram = whole_pages_of(memory_.size());
    const auto id = tracker_.publish(queue_->available(), PageCount{ram.value + ram.value / 4});
    hinted_this_round_ = {};
    reported_before_ = counters_.reported;
    sink_ = id ? &sink : nullptr;
    on_guest_stop_ = on_guest_stop;
    if (id) {
        ++counters_.hint_rounds;
        answered_ = false;
        give_time(answer_limit_);
    }
    host_->config_changed();
    return id.value_or(CommandId{});
}

void FreePageHinting::give_time(std::chrono::milliseconds time) {
    if (paused_) {
        left_ = time;
        return;
    }
    out_of_time_ = std::chrono::steady_clock::now() + time;
    time_limit_ = loop_.after(time, [this] { cut_round(answered_ ? RoundEnd::cut : RoundEnd::unanswered); });
}

void FreePageHinting::pause() {
    paused_ = true;
    if (!time_limit_.active())
        return;
    time_limit_.cancel();
    left_ = std::max(std::chrono::milliseconds(1),
                     std::chrono::ceil<std::chrono::milliseconds>(out_of_time_ - std::chrono::steady_clock::now()));
}

void FreePageHinting::resume() {
    paused_ = false;
    if (const auto left = std::exchange(left_, std::nullopt))
        give_time(*left);
}

void FreePageHinting::stop_clock() {
    time_limit_.cancel();
    left_ = std::nullopt;
}

void FreePageHinting::stop() {
    CHECK(loop_.owned_here());
    sink_ = nullptr;
    stop_clock();
    if (tracker_.stop() && host_ != nullptr)
        host_->config_changed();
}

void FreePageHinting::done() {
    CHECK(loop_.owned_here());
    sink_ = nullptr;
    stop_clock();
    if (queue_ == nullptr)
        return;
    tracker_.done();
    host_->config_changed();
}

std::expected<bool, virtio::RingFault> FreePageHinting::serve(virtio::Virtqueue& queue, unsigned limit) {
    return take_chains(queue, limit, [&](const virtio::DescriptorChain& chain) {
        const virtio::ChainId id = chain.id;
        if (tracker_.chain_is_current())
            take(chain);
        else
            ++counters_.stale_hint_chains;
        queue.complete(id, 0);
    });
}

/// Takes a chain. A command is device-readable and a range device-writable (virtio 1.2, 5.5.6.5). The length tells
/// nothing: a range may be four bytes long as well.
void FreePageHinting::take(const virtio::DescriptorChain& chain) {
    if (!chain.readable.empty())
        take_command(chain.readable);
    for (const virtio::Buffer& buffer : chain.writable)
        take_hint(buffer);
}

void FreePageHinting::take_command(std::span<const virtio::Buffer> buffers) {
    std::array<std::byte, 4> bytes{};
    if (total_length(buffers).value != bytes.size()) {
        counters_.skip(SkipReason::bad_length);
        return cut_round();
    }
    if (!BufferReader(memory_, buffers).read(bytes)) {
        counters_.skip(SkipReason::buffer_outside_ram);
        return cut_round();
    }
    switch (tracker_.command(load_little_endian<std::uint32_t>(bytes))) {
    case HintTracker::CommandVerdict::begins:
        // Only once: a guest that begins again and again gets no more time for it.
        if (!std::exchange(answered_, true))
            give_time(round_limit_);
        return;
    case HintTracker::CommandVerdict::unexpected_stop:
        return;
    case HintTracker::CommandVerdict::repeated:
        return counters_.skip(SkipReason::repeated_command);
    case HintTracker::CommandVerdict::unknown:
        return counters_.skip(SkipReason::unknown_command);
    case HintTracker::CommandVerdict::ends:
        note_kind_of_answer();
        if (on_guest_stop_ == OnGuestStop::done) {
            tracker_.done();
            host_->config_changed();
        }
        return end_round(RoundEnd::guest_stopped);
    }
}

/// A round without either tells nothing: nothing may have been free, or all of it was reported before.
void FreePageHinting::note_kind_of_answer() {
    if (hinted_this_round_.value > 0)
        answered_by_reports_ = false;
    else if (counters_.reported > reported_before_)
        answered_by_reports_ = true;
}

void FreePageHinting::take_hint(const virtio::Buffer& buffer) {
    const PageRange range = whole_pages_inside(buffer.address, ByteCount{buffer.length});
    switch (tracker_.hint(range.count)) {
    case HintTracker::HintVerdict::not_current:
        return counters_.skip(SkipReason::hint_without_command);
    case HintTracker::HintVerdict::over_budget:
        counters_.skip(SkipReason::over_budget);
        return cut_round();
    case HintTracker::HintVerdict::accepted:
        break;
    }
    if (range.count.value == 0)
        return counters_.skip(SkipReason::no_whole_page);
    const PageCount inside = for_each_ram_piece(memory_, range, [&](PageRange piece) {
        // The sink may have ended the round over the piece before.
        if (sink_ == nullptr)
            return;
        counters_.hinted += piece.count;
        hinted_this_round_ += piece.count;
        sink_->hinted(piece);
    });
    counters_.skip(SkipReason::frame_outside_ram, range.count.value - inside.value);
}

/// Cuts the round, as the guest broke its rules or limits: publishes STOP, and the host goes on without.
void FreePageHinting::cut_round(RoundEnd how) {
    if (!tracker_.stop())
        return;
    ++counters_.hint_rounds_cut;
    host_->config_changed();
    end_round(how);
}

void FreePageHinting::end_round(RoundEnd how) {
    stop_clock();
    if (HintSink* sink = std::exchange(sink_, nullptr))
        sink->round_ended(how);
}

} // namespace aerate::balloon
