// From the back end to the guest.
#include "base/check.hpp"
#include "net/net.hpp"

#include <algorithm>

namespace aerate {

using namespace net;

namespace {

/// A turn, after which others on the loop have theirs, and a batch, after which the driver is told.
constexpr unsigned frames_a_turn = 64;
constexpr unsigned frames_a_batch = 16;

constexpr unsigned failures_max = 1000;

} // namespace

Net::Served Net::receive(virtio::Virtqueue& queue) {
    no_frames_ = false;
    for (unsigned frames = 0; frames < frames_a_turn; ++frames) {
        if (frames % frames_a_batch == frames_a_batch - 1)
            publish(receive_queue);
        if (gone_)
            return false;
        if (frame_) {
            if (!TRY(deliver(queue, true))) {
                // For buffers, or for the rate limiter: not for more frames.
                frames_.cancel();
                return false;
            }
            continue;
        }
        TRY(chains_.fill(queue, merges() ? max_frame : 1, !merges()));
        if (chains_.room() == 0) {
            ++counters_.no_rx_avail_buffer;
            frames_.cancel();
            return false;
        }
        const std::size_t room = merges() ? chains_.room() : chains_.first_room();
        const auto got = back_end_->receive(chains_.target(!merges(), {spill_.get(), max_frame}));
        switch (got.outcome) {
        case Outcome::done:
        case Outcome::local:
            failures_in_a_row_ = 0;
            chains_.received(std::min(got.bytes, room));
            frame_ = Frame{.bytes = got.bytes,
                           .spilled = got.bytes - std::min(got.bytes, room),
                           .local = got.outcome == Outcome::local};
            break;
        case Outcome::later:
            wait_for_frames();
            return false;
        case Outcome::dropped:
            chains_.received(room);
            ++counters_.tap_read_fails;
            // One that fails and fails would keep the loop turning.
            if (++failures_in_a_row_ < failures_max)
                break;
            back_end_gone();
            return false;
        case Outcome::gone:
            back_end_gone();
            return false;
        }
    }
    return true;
}

std::expected<bool, virtio::RingFault> Net::deliver(virtio::Virtqueue& queue, bool heed_limiter) {
    const auto drop = [this] {
        frame_.reset();
        ++counters_.rx_fails;
        return true;
    };
    if (frame_->bytes < header::size)
        return drop();
    if (frame_->spilled > 0) {
        // Without merged buffers a frame is cut off by nobody: it fits, or is lost (5.1.6.3.1).
        if (!merges())
            return drop();
        TRY(chains_.fill(queue, frame_->bytes, false));
        if (chains_.room() < frame_->bytes && chains_.full())
            return drop(); // buffers of a few bytes each: more of them do not help
        if (chains_.room() < frame_->bytes)
            return false;
        const std::size_t in_place = frame_->bytes - frame_->spilled;
        chains_.copy(in_place, {spill_.get(), frame_->spilled});
        chains_.received(frame_->bytes);
        frame_->spilled = 0;
    }
    if (heed_limiter && !frame_->local && !receive_throttle_.take(frame_->bytes))
        return false;
    ++counters_.rx_packets;
    counters_.rx_bytes += frame_->bytes - header::size;
    chains_.deliver(queue, frame_->bytes);
    frame_.reset();
    return true;
}

void Net::wait_for_frames() {
    no_frames_ = true;
    if (!frames_.active())
        frames_ = loop_.watch(back_end_->readable(), [this] {
            no_frames_ = false;
            serve_again(receive_queue);
            // Whatever keeps the frame where it is (a broken ring, a limiter): it would be here again at once.
            if (!no_frames_)
                frames_.cancel();
        });
}

void Net::stop_receiving() {
    no_frames_ = false;
    frames_.cancel();
}

} // namespace aerate
