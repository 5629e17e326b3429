// From the back end to the guest.
#include "base/check.hpp"
#include "net/net.hpp"

#include <algorithm>

namespace aerate {

using namespace net;

namespace {

/// Looks at the back end and deliveries of a turn, after which others on the loop have theirs.
constexpr unsigned steps_a_turn = 64;
/// The driver is told of the first frame of a turn at once, since most often there is no other, and asking the back end
/// for one would keep it waiting; of those behind it a batch at a time.
constexpr unsigned frames_a_batch = 8;

constexpr unsigned failures_max = 1000;

} // namespace

Net::Served Net::receive(QueuePair& pair, virtio::Virtqueue& queue) {
    pair.no_frames = false;
    unsigned delivered = 0;
    for (unsigned step = 0; step < steps_a_turn; ++step) {
        if (gone_ || !uses(pair))
            return false;
        if (pair.frame) {
            if (!TRY(deliver(pair, queue, true))) {
                // For buffers, or for the rate limiter: not for more frames.
                pair.frames.cancel();
                return false;
            }
            if (delivered++ % frames_a_batch == 0)
                publish(pair.receive_queue);
            continue;
        }
        TRY(pair.chains.fill(queue, merges() ? max_frame : 1, !merges()));
        if (pair.chains.room() == 0) {
            ++counters_.no_rx_avail_buffer;
            pair.frames.cancel();
            return false;
        }
        const std::size_t room = merges() ? pair.chains.room() : pair.chains.first_room();
        const auto got = pair.back_end->receive(pair.chains.target(!merges(), {pair.spill.get(), max_frame}));
        switch (got.outcome) {
        case Outcome::done:
        case Outcome::local:
            pair.failures_in_a_row = 0;
            pair.chains.received(std::min(got.bytes, room));
            pair.frame = QueuePair::Frame{.bytes = got.bytes,
                                          .spilled = got.bytes - std::min(got.bytes, room),
                                          .local = got.outcome == Outcome::local};
            break;
        case Outcome::later:
            wait_for_frames(pair);
            return false;
        case Outcome::dropped:
            pair.chains.received(room);
            ++counters_.tap_read_fails;
            // One that fails and fails would keep the loop turning.
            if (++pair.failures_in_a_row < failures_max)
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

std::expected<bool, virtio::RingFault> Net::deliver(QueuePair& pair, virtio::Virtqueue& queue, bool heed_limiter) {
    const auto drop = [&] {
        pair.frame.reset();
        ++counters_.rx_fails;
        return true;
    };
    if (pair.frame->bytes < header::size)
        return drop();
    if (pair.frame->spilled > 0) {
        // Without merged buffers a frame is cut off by nobody: it fits, or is lost (5.1.6.3.1).
        if (!merges())
            return drop();
        TRY(pair.chains.fill(queue, pair.frame->bytes, false));
        if (pair.chains.room() < pair.frame->bytes && pair.chains.full())
            return drop(); // buffers of a few bytes each: more of them do not help
        if (pair.chains.room() < pair.frame->bytes)
            return false;
        const std::size_t in_place = pair.frame->bytes - pair.frame->spilled;
        pair.chains.copy(in_place, {pair.spill.get(), pair.frame->spilled});
        pair.chains.received(pair.frame->bytes);
        pair.frame->spilled = 0;
    }
    if (heed_limiter && !pair.frame->local && !receive_throttle_.take(pair.frame->bytes))
        return false;
    ++counters_.rx_packets;
    counters_.rx_bytes += pair.frame->bytes - header::size;
    pair.chains.deliver(queue, pair.frame->bytes);
    pair.frame.reset();
    return true;
}

void Net::wait_for_frames(QueuePair& pair) {
    pair.no_frames = true;
    if (!pair.frames.active())
        pair.frames = loop_.watch(pair.back_end->readable(), [this, &pair] {
            pair.no_frames = false;
            serve_again(pair.receive_queue);
            // Whatever keeps the frame where it is (a broken ring, a limiter): it would be here again at once.
            if (!pair.no_frames)
                pair.frames.cancel();
        });
}

/// What was read is delivered, whatever the rate limiter says, or counted as lost where the driver has no room for it;
/// the other buffers are the ring's again.
void Net::put_down(QueuePair& pair) {
    pair.stop_receiving();
    pair.room.cancel();
    virtio::Virtqueue* const queue = virtqueue(pair.receive_queue);
    if (queue == nullptr)
        return;
    if (pair.frame) {
        const auto delivered = deliver(pair, *queue, false);
        if (!delivered || !*delivered)
            ++counters_.rx_fails;
        pair.frame.reset();
    }
    pair.chains.give_back(*queue);
}

} // namespace aerate
