#include "balloon/balloon.hpp"

#include "balloon/config_space.hpp"
#include "base/endian.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace aerate::balloon {

namespace {

/// One free page hint of Linux on x86: MAX_PAGE_ORDER pages.
constexpr ByteCount hint_block{4U << 20};

[[nodiscard]] virtio::FeatureSet features_of(const BalloonConfig& config, const GuestMemory& memory) {
    return virtio::FeatureSet{}
        // Host pages larger than a PFN's are discarded long after most of their PFNs: see inflation.hpp.
        .with(feature::must_tell_host, memory.host_page_size() > page_size)
        .with(feature::statistics, config.statistics)
        .with(feature::deflate_on_oom, config.deflate_on_oom)
        .with(feature::free_page_hinting, config.free_page_hinting)
        .with(feature::page_poison, config.page_poison)
        .with(feature::free_page_reporting, config.free_page_reporting);
}

[[nodiscard]] std::uint16_t size_of_queue(Queue kind, const GuestMemory& memory) {
    switch (kind) {
    case Queue::inflate:
    case Queue::deflate:
    case Queue::statistics:
        // Linux has one buffer at a time in each of these.
        return 128;
    case Queue::hinting: {
        // Linux drops a block unhinted when the ring is full but for the slot that it keeps for a command; so there is
        // a slot for every block of the guest, as far as the limit of a ring (virtio 1.2, 2.7) goes.
        const std::uint64_t blocks = memory.size().value / hint_block.value + 2;
        return static_cast<std::uint16_t>(std::bit_ceil(std::clamp<std::uint64_t>(blocks, 1024, 32768)));
    }
    case Queue::reporting:
        // Linux reports chains of up to 32 blocks, one at a time, and does without reporting if the ring is smaller.
        // The rest is for drivers that queue several.
        return 256;
    }
    return 0;
}

/// An index can be one queue for one driver and another for the next, so it is as large as the largest of them needs.
/// An index that no driver uses has size 0: no such queue.
[[nodiscard]] std::vector<std::uint16_t> sizes_of_queues(virtio::FeatureSet offered, const GuestMemory& memory) {
    std::vector<std::uint16_t> sizes;
    const auto possible = possible_indices(offered);
    for (std::size_t i = 0; i < queue_kinds; ++i) {
        const auto kind = static_cast<Queue>(i);
        for (std::size_t index = 0; index < queue_kinds; ++index) {
            if (((possible[i] >> index) & 1U) == 0)
                continue;
            if (sizes.size() <= index)
                sizes.resize(index + 1);
            sizes[index] = std::max(sizes[index], size_of_queue(kind, memory));
        }
    }
    return sizes;
}

/// None at all if there are more.
[[nodiscard]] std::vector<PageRange> runs_of(const PageBitmap& pages, std::size_t most) {
    std::vector<PageRange> runs;
    for (PageRange run = pages.next_run({0}); run.count > PageCount{}; run = pages.next_run(run.end())) {
        if (runs.size() == most)
            return {};
        runs.push_back(run);
    }
    return runs;
}

/// Stores the bytes of a write at `offset` that fall on the four bytes of the field.
void write_field(std::uint32_t& field, std::uint32_t field_offset, std::uint32_t offset,
                 std::span<const std::byte> from) {
    std::array<std::byte, 4> bytes{};
    store_little_endian(bytes, field);
    for (std::size_t i = 0; i < from.size(); ++i) {
        const std::uint64_t at = std::uint64_t{offset} + i;
        if (at >= field_offset && at < field_offset + bytes.size())
            bytes[at - field_offset] = from[i];
    }
    field = load_little_endian<std::uint32_t>(bytes);
}

} // namespace

Balloon::Balloon(const BalloonConfig& config, GuestMemory& memory, EventLoop& loop)
    : memory_(memory)
    , offered_(features_of(config, memory))
    , queue_sizes_(sizes_of_queues(offered_, memory))
    , states_(memory.address_space())
    , inflation_(memory, states_, counters_)
    , statistics_(memory, loop, counters_)
    , hinting_(memory, loop, counters_)
    , reporting_(memory, states_, counters_) {}

Result<> Balloon::set_target(PageCount target) {
    const PageCount ram = whole_pages_of(memory_.size());
    const PageCount most = std::min(ram, PageCount{std::numeric_limits<std::uint32_t>::max()});
    if (target > most)
        return fail("balloon target: {} pages of 4 KiB, but the guest has {}", target.value, most.value);
    if (target == this->target())
        return {};
    target_ = static_cast<std::uint32_t>(target.value);
    if (host_ != nullptr)
        host_->config_changed();
    return {};
}

MemoryState Balloon::memory_state() const {
    return {.ballooned = inflation_.ballooned(),
            .reported = states_.reported.count(),
            .hinted = hinting_.hinted_this_round()};
}

void Balloon::read_config(std::uint32_t offset, std::span<std::byte> into) {
    std::array<std::byte, config_space::size> config{};
    const std::span<std::byte> fields(config);
    store_little_endian(fields.subspan(config_space::num_pages), target_);
    store_little_endian(fields.subspan(config_space::actual), actual_);
    std::size_t length = 8;
    if (offered_.has(feature::free_page_hinting)) {
        store_little_endian(fields.subspan(config_space::hint_command), hinting_.status().host_command);
        length = 12;
    }
    if (offered_.has(feature::page_poison)) {
        store_little_endian(fields.subspan(config_space::poison_value), poison_value_);
        length = 16;
    }
    std::ranges::fill(into, std::byte{});
    if (offset < length)
        std::ranges::copy(fields.subspan(offset, std::min(into.size(), length - offset)), into.begin());
}

void Balloon::write_config(std::uint32_t offset, std::span<const std::byte> from, virtio::FeatureSet negotiated) {
    const std::uint32_t before = actual_;
    write_field(actual_, config_space::actual, offset, from);
    actual_written(before);
    // Virtio 1.2, 5.5.6.6.1: set before DRIVER_OK, and never changed after it.
    if (host_ == nullptr && negotiated.has(feature::page_poison))
        write_field(poison_value_, config_space::poison_value, offset, from);
}

void Balloon::actual_written(std::uint32_t before) {
    if (actual_ < before && actual_ < target_)
        ++counters_.unasked_deflations;
    if (on_actual_)
        on_actual_();
}

void Balloon::activate(const virtio::Activation& activation) {
    host_ = activation.host;
    negotiated_ = activation.features;
    broken_ = false;

    QueueSet enabled = 0;
    for (std::size_t i = 0; i < std::min(activation.queues.size(), queue_kinds); ++i)
        if (activation.queues[i] != nullptr)
            enabled |= 1U << i;
    layout_ = queue_layout(offered_, negotiated_, enabled);
    for (std::size_t kind = 0; kind < queue_kinds; ++kind)
        queues_[kind] = layout_[kind] ? activation.queues[layout_[kind]->value] : nullptr;

    if (virtio::Virtqueue* statistics = queue(Queue::statistics))
        statistics_.attach(*statistics, *layout_[static_cast<std::size_t>(Queue::statistics)], *host_);
    if (virtio::Virtqueue* hinting = queue(Queue::hinting))
        hinting_.attach(*hinting, *host_);
}

void Balloon::kicked(virtio::QueueIndex index) {
    const auto found = std::ranges::find(layout_, std::optional(index));
    if (found == layout_.end() || paused_ || broken_)
        return;
    const auto kind = static_cast<std::size_t>(found - layout_.begin());
    virtio::Virtqueue& kicked_queue = *queues_[kind];

    kicked_queue.want_kicks(false);
    const auto more = serve(static_cast<Queue>(kind), kicked_queue);
    kicked_queue.want_kicks(true);
    if (kicked_queue.publish())
        host_->interrupt_queue(index);

    if (!more) {
        broken_ = true;
        ++counters_.ring_faults;
        host_->needs_reset(index, virtio::describe(more.error()));
    } else if (*more || kicked_queue.available() > 0) {
        host_->kick_again(index);
    }
}

std::expected<bool, virtio::RingFault> Balloon::serve(Queue kind, virtio::Virtqueue& queue) {
    switch (kind) {
    case Queue::inflate:
        return inflation_.inflate(queue, negotiated_.has(feature::must_tell_host));
    case Queue::deflate:
        return inflation_.deflate(queue);
    case Queue::statistics:
        return statistics_.serve(queue);
    case Queue::hinting:
        return hinting_.serve(queue);
    case Queue::reporting: {
        const bool must_keep = negotiated_.has(feature::page_poison) && poison_value_ != 0;
        return reporting_.serve(queue, must_keep ? ReportedContent::poison_value : ReportedContent::undefined_or_zero);
    }
    }
    return false;
}

/// The guest that comes next knows nothing of the pages that the last one gave up: it takes them by touching them.
void Balloon::reset() {
    host_ = nullptr;
    negotiated_ = {};
    layout_ = {};
    queues_ = {};
    broken_ = false;
    actual_ = 0;
    poison_value_ = 0;
    inflation_.reset();
    states_.reported.clear_all();
    hinting_.reset();
    statistics_.reset();
    if (on_actual_)
        on_actual_();
}

void Balloon::pause(EventLoop::Callback quiesced) {
    paused_ = true;
    statistics_.return_buffer();
    quiesced();
}

void Balloon::resume() {
    paused_ = false;
    // Kicks that came meanwhile were dropped.
    for (const auto& index : layout_)
        if (index)
            host_->kick_again(*index);
}

BalloonState Balloon::save(std::size_t runs_max) const {
    return {.target = target_,
            .actual = actual_,
            .poison_value = poison_value_,
            .last_command = hinting_.tracker().issued,
            .ballooned = runs_of(states_.ballooned, runs_max),
            .reported = runs_of(states_.reported, runs_max)};
}

Result<> Balloon::restore(const BalloonState& state) {
    TRY(set_target({state.target}));
    const PageCount frames = memory_.address_space();
    for (const auto* runs : {&state.ballooned, &state.reported})
        for (const PageRange& run : *runs)
            if (run.first.value > frames.value || run.count.value > frames.value - run.first.value ||
                !memory_.contains(address_of(run.first), bytes_of(run.count)))
                return fail("saved balloon: frames {:#x} to {:#x} are not RAM of this guest", run.first.value,
                            run.end().value);
    actual_ = state.actual;
    poison_value_ = state.poison_value;
    inflation_.restore(state.ballooned);
    for (const PageRange& run : state.reported)
        states_.reported.set(run);
    states_.reported.remove(states_.ballooned);
    hinting_.restore(state.last_command);
    if (on_actual_)
        on_actual_();
    return {};
}

} // namespace aerate::balloon
