#include "balloon/balloon.hpp"

#include "balloon/config_space.hpp"
#include "base/check.hpp"
#include "base/endian.hpp"
#include "base/log.hpp"

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

/// Returns the sizes of queues. An index can be one queue for one driver and another for the next, so it is as large as
/// the largest of them needs. An index that no driver uses has size 0: no such queue.
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

/// Returns the runs of pages, or none at all if there are more than allowed.
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

Result<std::unique_ptr<Balloon>> Balloon::create(const BalloonConfig& config, GuestMemory& memory, EventLoop& loop) {
    return std::make_unique<Balloon>(config, memory, loop, TRY(PageStates::create(memory.address_space())));
}

Balloon::Balloon(const BalloonConfig& config, GuestMemory& memory, EventLoop& loop)
    : Balloon(config, memory, loop,
              {.ballooned = PageBitmap(memory.address_space()), .reported = PageBitmap(memory.address_space())}) {}

Balloon::Balloon(const BalloonConfig& config, GuestMemory& memory, EventLoop& loop, PageStates states)
    : Device("balloon")
    , loop_(loop)
    , memory_(memory)
    , offered_(features_of(config, memory))
    , queue_sizes_(sizes_of_queues(offered_, memory))
    , states_(std::move(states))
    , inflation_(memory, states_, counters_)
    , statistics_(memory, loop, counters_)
    , hinting_(memory, loop, counters_)
    , reporting_(memory, states_, counters_)
    , rest_after_oom_(config.rest_after_oom) {}

namespace {

/// What a guest that was short of memory can be asked for all the same: what its balloon has, if that is a MiB.
std::string instead_of(PageCount actual) {
    const std::uint64_t mib = bytes_of(actual).value >> 20;
    return mib == 0 ? "" : fmt::format(", or ask for {} MiB or less", mib);
}

} // namespace

Result<> Balloon::set_target(PageCount target, TargetOf whose) {
    CHECK(loop_.owned_here());
    const PageCount ram = whole_pages_of(memory_.size());
    const PageCount most = std::min(ram, PageCount{std::numeric_limits<std::uint32_t>::max()});
    if (target > most)
        return fail("balloon target: {} pages of 4 KiB, but the guest has {}", target.value, most.value);
    const auto pages = static_cast<std::uint32_t>(target.value);
    if (target == this->target()) {
        wanted_ = whose == TargetOf::operator_ ? pages : wanted_;
        return {};
    }
    if (const auto since = since_taken_back(); target > actual() && since && *since < rest_after_oom_)
        return fail(
            "balloon target: the guest ran out of memory {} s ago and took some back from the balloon: try again "
            "in {} s{}",
            std::chrono::floor<std::chrono::seconds>(*since).count(),
            std::chrono::ceil<std::chrono::seconds>(rest_after_oom_ - *since).count(), instead_of(actual()));
    target_ = pages;
    wanted_ = whose == TargetOf::operator_ ? pages : wanted_;
    lowest_target_ = std::min(lowest_target_, target_);
    config_changed();
    tell(BalloonChange::target);
    return {};
}

MemoryState Balloon::memory_state() const {
    CHECK(loop_.owned_here());
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
    if (!active() && negotiated.has(feature::page_poison))
        write_field(poison_value_, config_space::poison_value, offset, from);
}

void Balloon::actual_written(std::uint32_t before) {
    const std::uint32_t asked = std::exchange(lowest_target_, target_);
    const bool unasked = actual_ < before && actual_ < asked;
    if (unasked)
        taken_back({std::min(before, target_) - actual_});
    if (on_actual_)
        on_actual_();
    tell(unasked ? BalloonChange::taken_back : BalloonChange::actual);
}

void Balloon::tell(BalloonChange change) {
    if (on_change_)
        on_change_(change);
}

void Balloon::taken_back(PageCount pages) {
    ++counters_.unasked_deflations;
    counters_.taken_back += pages;
    const auto since = since_taken_back();
    static log::GuestLogLimit limit;
    if ((!since || *since >= rest_after_oom_) && limit.allow())
        log::warning(
            "the guest ran out of memory and took some back from its balloon: the target is {} MiB now, and was "
            "{} MiB; it stays there for {} s at least",
            bytes_of(actual()).value >> 20, bytes_of(target()).value >> 20,
            std::chrono::ceil<std::chrono::seconds>(rest_after_oom_).count());
    taken_back_ = std::chrono::steady_clock::now();
    // Without an interrupt: the driver is at it, may want more, and reads the target when it next goes towards it.
    target_ = lowest_target_ = actual_;
}

std::optional<std::chrono::milliseconds> Balloon::since_taken_back() const {
    if (!taken_back_)
        return std::nullopt;
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - *taken_back_);
}

void Balloon::on_activate(virtio::FeatureSet features) {
    negotiated_ = features;
    QueueSet enabled = 0;
    for (std::uint16_t i = 0; i < queue_kinds; ++i)
        if (virtqueue({i}) != nullptr)
            enabled |= 1U << i;
    layout_ = queue_layout(offered_, negotiated_, enabled);
    // A driver may enable an index for which its features leave no use.
    for (std::uint16_t i = 0; i < static_cast<std::uint16_t>(queue_sizes_.size()); ++i)
        if (std::ranges::find(layout_, std::optional(virtio::QueueIndex{i})) == layout_.end())
            forget_queue({i});

    if (const auto index = layout_[static_cast<std::size_t>(Queue::statistics)])
        statistics_.attach(*virtqueue(*index), *index, host());
    if (const auto index = layout_[static_cast<std::size_t>(Queue::hinting)])
        hinting_.attach(*virtqueue(*index), host());
}

std::expected<bool, virtio::RingFault> Balloon::serve(virtio::QueueIndex index, virtio::Virtqueue& queue) {
    const auto found = std::ranges::find(layout_, std::optional(index));
    const auto more = serve(static_cast<Queue>(found - layout_.begin()), queue);
    counters_.ring_faults += more ? 0U : 1U;
    return more;
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

/// Forgets the pages that the last driver gave up: the next one does not know of them, and takes them by touching them.
void Balloon::on_reset() {
    negotiated_ = {};
    layout_ = {};
    actual_ = 0;
    // A driver that leaves has given back all that it had: the request goes to the next one.
    target_ = lowest_target_ = wanted_;
    taken_back_.reset();
    poison_value_ = 0;
    inflation_.reset();
    states_.reported.clear_all();
    hinting_.reset();
    statistics_.reset();
    if (on_actual_)
        on_actual_();
    tell(BalloonChange::actual);
}

BalloonState Balloon::state(std::size_t runs_max) const {
    CHECK(loop_.owned_here());
    return {.target = std::min(target_, std::max(actual_, wanted_)),
            .actual = actual_,
            .poison_value = poison_value_,
            .last_command = hinting_.tracker().issued,
            .ballooned = runs_of(states_.ballooned, runs_max),
            .reported = runs_of(states_.reported, runs_max)};
}

Result<> Balloon::restore(const BalloonState& state) {
    CHECK(loop_.owned_here());
    TRY(set_target({state.target}));
    const PageCount frames = memory_.address_space();
    for (const auto* runs : {&state.ballooned, &state.reported})
        for (const PageRange& run : *runs)
            if (run.first.value > frames.value || run.count.value > frames.value - run.first.value ||
                !memory_.contains(address_of(run.first), bytes_of(run.count)))
                return fail("saved balloon: frames {:#x} to {:#x} are not RAM of this guest", run.first.value,
                            run.end().value);
    actual_ = state.actual;
    wanted_ = lowest_target_ = target_;
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
