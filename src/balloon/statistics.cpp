#include "balloon/statistics.hpp"

#include "balloon/chain_access.hpp"
#include "base/check.hpp"
#include "base/endian.hpp"

#include <algorithm>
#include <utility>

namespace aerate::balloon {

namespace {

/// le16 tag, le64 value, packed. (The spec's "multiple of 6" is an erratum.)
constexpr std::size_t entry_bytes = 10;
constexpr std::size_t max_entries = 256;

} // namespace

Statistics::Statistics(GuestMemory& memory, EventLoop& loop, Counters& counters, std::chrono::milliseconds answer_limit)
    : memory_(memory)
    , loop_(loop)
    , counters_(counters)
    , answer_limit_(answer_limit) {}

void Statistics::attach(virtio::Virtqueue& queue, virtio::QueueIndex index, virtio::DeviceHost& host) {
    queue_ = &queue;
    index_ = index;
    host_ = &host;
}

void Statistics::reset() {
    queue_ = nullptr;
    host_ = nullptr;
    held_.reset();
    answer(fail("balloon statistics: the guest has reset the balloon; try again once its driver is back"));
}

std::expected<bool, virtio::RingFault> Statistics::serve(virtio::Virtqueue& queue) {
    return take_chains(queue, queue.size(), [&](const virtio::DescriptorChain& chain) {
        // Virtio 1.2, 5.5.6.3.1: a driver has at most one buffer here. A second one goes back, so that it is not lost.
        if (held_) {
            counters_.skip(SkipReason::second_statistics_buffer);
            queue.complete(chain.id, 0);
            return;
        }
        held_ = chain.id;
        take(chain);
    });
}

void Statistics::take(const virtio::DescriptorChain& chain) {
    if (!chain.writable.empty())
        counters_.skip(SkipReason::wrong_direction);
    const ByteCount length = total_length(chain.readable);
    if (length.value % entry_bytes != 0)
        counters_.skip(SkipReason::bad_length);
    if (length.value > max_entries * entry_bytes)
        counters_.skip(SkipReason::oversized);

    std::array<std::byte, max_entries * entry_bytes> buffer;
    const auto bytes = BufferReader(memory_, chain.readable).read(buffer);
    if (!bytes)
        return counters_.skip(SkipReason::buffer_outside_ram);

    GuestStatistics fresh{.values = {}, .received = std::chrono::steady_clock::now()};
    for (std::size_t at = 0; at + entry_bytes <= *bytes; at += entry_bytes) {
        const std::span<const std::byte> entry = std::span(buffer).subspan(at, entry_bytes);
        const auto tag = load_little_endian<std::uint16_t>(entry);
        // Virtio 1.2, 5.5.6.3.2: unknown tags are ignored.
        if (tag < fresh.values.size())
            fresh.values[tag] = load_little_endian<std::uint64_t>(entry.subspan(2));
    }
    latest_ = fresh;
    if (on_arrival_)
        on_arrival_();
    answer(latest_);
}

std::optional<std::chrono::milliseconds> Statistics::age() const {
    if (!latest_.received)
        return std::nullopt;
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - *latest_.received);
}

void Statistics::request(Callback callback) {
    CHECK(loop_.owned_here());
    if (queue_ == nullptr)
        return callback(
            fail("balloon statistics: the guest does not offer any (its driver may still have to be loaded)"));
    waiting_.push_back(std::move(callback));
    if (!answer_timer_.active())
        answer_timer_ = loop_.after(answer_limit_, [this] {
            answer(fail("balloon statistics: the guest did not answer within {} ms", answer_limit_.count()));
        });
    return_buffer();
}

void Statistics::set_interval(std::chrono::seconds interval) {
    CHECK(loop_.owned_here());
    interval_ = interval;
    interval_timer_.cancel();
    if (interval.count() > 0)
        interval_timer_ = loop_.every(interval, [this] { return_buffer(); });
}

void Statistics::return_buffer() {
    if (!held_)
        return;
    queue_->complete(*std::exchange(held_, std::nullopt), 0);
    if (queue_->publish())
        host_->interrupt_queue(index_);
}

void Statistics::answer(const Result<GuestStatistics>& result) {
    answer_timer_.cancel();
    // A callback may ask again.
    std::vector<Callback> waiting = std::exchange(waiting_, {});
    for (Callback& callback : waiting)
        callback(result);
}

} // namespace aerate::balloon
