// From the guest to the back end.
#include "base/log.hpp"
#include "net/net.hpp"
#include "virtio/take_chains.hpp"

namespace aerate {

using namespace net;

namespace {

constexpr std::size_t bytes_a_turn = 1U << 20;

} // namespace

Net::Served Net::transmit(QueuePair& pair, virtio::Virtqueue& queue) {
    turn_bytes_ = 0;
    auto more = take_chains(queue, queue.size(),
                            [&](const virtio::DescriptorChain& chain) { return send(pair, queue, chain); });
    // The rest of a frame that went in part is not to wait for the next one.
    if (!pair.room.active() && pair.back_end->flush() == Outcome::later)
        wait_for_room(pair);
    return more;
}

/// False ends the turn: the frame is the ring's again, or there were enough of them.
bool Net::send(QueuePair& pair, virtio::Virtqueue& queue, const virtio::DescriptorChain& chain) {
    if (!sent_.assign(memory_, chain)) {
        ++counters_.tx_malformed_frames;
        queue.complete(chain.id, 0);
        return true;
    }
    const bool spoofed = !sent_.is_from(options_.mac);
    if (!(spoofed && options_.drop_spoofed) && !gone_ && uses(pair)) {
        if (!transmit_throttle_.take(sent_.size())) {
            queue.give_back(chain.id);
            return false;
        }
        switch (pair.back_end->send(sent_.pieces())) {
        case Outcome::done:
            ++counters_.tx_packets;
            counters_.tx_bytes += sent_.size() - header::size;
            break;
        case Outcome::local:
            transmit_throttle_.put_back(sent_.size());
            break;
        case Outcome::later:
            transmit_throttle_.put_back(sent_.size());
            queue.give_back(chain.id);
            wait_for_room(pair);
            return false;
        case Outcome::dropped:
            ++counters_.tx_fails;
            ++counters_.tap_write_fails;
            break;
        case Outcome::gone:
            ++counters_.tx_fails;
            back_end_gone();
            break;
        }
    } else {
        ++counters_.tx_fails;
    }
    counters_.tx_spoofed_mac += spoofed ? 1 : 0;
    // 5.1.6.2: nothing was written, so the length is 0.
    queue.complete(chain.id, 0);
    turn_bytes_ += sent_.size();
    return turn_bytes_ < bytes_a_turn;
}

void Net::wait_for_room(QueuePair& pair) {
    pair.room = loop_.watch_writable(pair.back_end->writable(), [this, &pair] {
        pair.room.cancel();
        serve_again(pair.transmit_queue);
    });
}

} // namespace aerate
