#include "stepped_balloon.hpp"

#include "balloon/features.hpp"
#include "base/endian.hpp"

#include <algorithm>

namespace aerate::replay {
namespace {

constexpr std::uint32_t hint_command_offset = 8; // virtio 1.2, 5.5.4

} // namespace

std::expected<std::optional<virtio::DescriptorChain>, virtio::RingFault> ObservedQueue::pop() {
    auto chain = queue_.pop();
    last_hint_.reset();
    if (chain && *chain && !(*chain)->writable.empty()) {
        const virtio::Buffer& buffer = (*chain)->writable.front();
        last_hint_ = whole_pages_inside(buffer.address, ByteCount{buffer.length});
    }
    return chain;
}

void SteppedBalloon::prepare(std::uint16_t ring_size, DeviceFaults faults) {
    queue_sizes_[hint_queue] = ring_size;
    faults_ = faults;
}

Result<> SteppedBalloon::keep_one() {
    const auto chain = queue_ ? queue_->pop() : std::nullopt;
    if (!chain || !*chain)
        return fail("the hint queue has nothing to keep");
    return {};
}

Result<> SteppedBalloon::pop_one() {
    if (!hinting_)
        return fail("the driver has not set up the device");
    const PageCount before = counters_.hinted;
    const auto popped = hinting_->serve(*queue_, 1);
    if (!popped || !*popped)
        return fail("the hint queue is {}", popped ? "empty" : "broken");
    (void)queue_->publish(); // bubble polls
    const bool dropped = counters_.hinted == before;
    if (faults_.id_ignored && dropped && queue_->last_hint() && hinting_->tracker().open())
        sink_->hinted(*queue_->last_hint());
    return {};
}

Result<> SteppedBalloon::publish(HintSink& sink) {
    sink_ = &sink;
    if (!hinting_ || hinting_->start(sink) == CommandId{})
        return fail("no round can be published");
    return {};
}

virtio::FeatureSet SteppedBalloon::offered_features() const {
    return virtio::FeatureSet{}.with(balloon::feature::free_page_hinting);
}

void SteppedBalloon::read_config(std::uint32_t offset, std::span<std::byte> into) {
    std::array<std::byte, hint_command_offset + 4> config{};
    if (hinting_)
        store_little_endian(std::span(config).subspan(hint_command_offset), hinting_->status().host_command);
    std::ranges::fill(into, std::byte{});
    if (offset < config.size())
        std::ranges::copy(std::span(config).subspan(offset, std::min(into.size(), config.size() - offset)),
                          into.begin());
}

void SteppedBalloon::on_activate(virtio::FeatureSet) {
    virtio::Virtqueue* const queue = virtqueue({hint_queue});
    for (std::uint16_t i = 0; i < queue_sizes_.size(); ++i)
        forget_queue({i});
    if (queue == nullptr)
        return;
    queue_.emplace(*queue, faults_.index_ignored);
    hinting_.emplace(memory_, loop_, counters_);
    hinting_->attach(*queue_, host());
}

void SteppedBalloon::on_reset() {
    if (hinting_)
        hinting_->reset();
    hinting_.reset();
    queue_.reset();
}

} // namespace aerate::replay
