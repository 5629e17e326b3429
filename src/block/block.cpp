#include "block/block.hpp"

#include "base/check.hpp"
#include "base/endian.hpp"
#include "virtio/host_pieces.hpp"
#include "virtio/take_chains.hpp"

#include <fcntl.h>

#include <linux/falloc.h>

#include <algorithm>
#include <cerrno>

namespace aerate {
namespace {

namespace feature {
constexpr unsigned seg_max = 2;
constexpr unsigned read_only = 5;
constexpr unsigned blk_size = 6;
constexpr unsigned flush = 9;
constexpr unsigned discard = 13;
constexpr unsigned write_zeroes = 14;
} // namespace feature

// Offsets in the config space (virtio 1.2, 5.2.4).
namespace config {
constexpr std::size_t capacity = 0;
constexpr std::size_t seg_max = 12;
constexpr std::size_t blk_size = 20;
constexpr std::size_t max_discard_sectors = 36;
constexpr std::size_t max_discard_seg = 40;
constexpr std::size_t discard_sector_alignment = 44;
constexpr std::size_t max_write_zeroes_sectors = 48;
constexpr std::size_t max_write_zeroes_seg = 52;
constexpr std::size_t write_zeroes_may_unmap = 56;
constexpr std::size_t size = 60;
} // namespace config

constexpr std::size_t id_size = 20;
// A smaller hole than a page of the host's file system frees nothing.
constexpr std::uint32_t discard_alignment = 4096 / sector_size;

} // namespace

Result<std::unique_ptr<Block>> Block::create(EventLoop& loop, GuestMemory& memory,
                                             std::shared_ptr<const DiskImage> image, std::string id,
                                             const BlockOptions& options) {
    auto engine = TRY(image->make_engine(options.engine, queue_size));
    return std::make_unique<Block>(loop, memory, std::move(image), std::move(engine), std::move(id), options.flush,
                                   options.limits);
}

Block::Block(EventLoop& loop, GuestMemory& memory, std::shared_ptr<const DiskImage> image,
             std::unique_ptr<IoEngine> engine, std::string id, bool flush, const protocol::RateLimits& limits)
    : Device("block:" + id)
    , loop_(loop)
    , memory_(memory)
    , image_(std::move(image))
    , engine_(std::move(engine))
    , id_(std::move(id))
    , flush_(flush)
    , throttle_(loop, limits, [this] { serve_again(requests); })
    , slots_(queue_size)
    , completions_(loop_.watch(engine_->completion_fd(), [this] { serve_completions(); })) {
    id_.resize(id_size, '\0');
    for (std::uint64_t index = queue_size; index > 0; --index)
        free_slots_.push_back(index - 1);
}

Block::~Block() {
    engine_->abandon();
}

virtio::FeatureSet Block::offered_features() const {
    const bool writable = !image_->read_only();
    return virtio::FeatureSet{}
        .with(feature::seg_max)
        .with(feature::blk_size)
        .with(feature::flush, flush_)
        .with(feature::read_only, !writable)
        .with(feature::discard, writable)
        .with(feature::write_zeroes, writable);
}

void Block::read_config(std::uint32_t offset, std::span<std::byte> into) {
    std::array<std::byte, config::size> bytes{};
    const auto put = [&]<typename T>(std::size_t at, T value) {
        store_little_endian(std::span(bytes).subspan(at), value);
    };
    put(config::capacity, image_->size().value / sector_size);
    put(config::seg_max, max_segments);
    put(config::blk_size, image_->block_size());
    if (!image_->read_only()) {
        put(config::max_discard_sectors, max_range_sectors);
        put(config::max_discard_seg, max_range_segments);
        put(config::discard_sector_alignment, discard_alignment);
        put(config::max_write_zeroes_sectors, max_range_sectors);
        put(config::max_write_zeroes_seg, max_range_segments);
        put(config::write_zeroes_may_unmap, std::uint8_t{1});
    }
    for (std::byte& byte : into) {
        byte = offset < bytes.size() ? bytes[offset] : std::byte{0};
        offset += offset < bytes.size() ? 1 : 0;
    }
}

void Block::on_activate(virtio::FeatureSet features) {
    CHECK(loop_.owned_here());
    limits_ = {
        .capacity = image_->size().value / sector_size,
        .read_only = image_->read_only(),
        .discard = features.has(feature::discard),
        .write_zeroes = features.has(feature::write_zeroes),
        .max_range_sectors = max_range_sectors,
        .max_range_segments = max_range_segments,
    };
    // virtio 1.2, 5.2.6.2: a driver that was offered FLUSH and declined it relies on completed writes being stable. One
    // that was not offered it has an operator who does not ("Unsafe").
    write_through_ = flush_ && !features.has(feature::flush);
}

std::expected<bool, virtio::RingFault> Block::serve(virtio::QueueIndex, virtio::Virtqueue& queue) {
    CHECK(loop_.owned_here());
    const auto more = take_chains(queue, queue.size(), [&](const virtio::DescriptorChain& chain) {
        const bool started = start(chain);
        if (!started)
            queue.give_back(chain.id);
        return started;
    });
    flush_engine();
    return more;
}

bool Block::start(const virtio::DescriptorChain& chain) {
    // As many slots as the ring is long, and the ring has no more in flight (R16).
    CHECK(!free_slots_.empty());
    const std::uint64_t index = free_slots_.back();
    Slot& slot = slots_[index];
    if (const auto parsed = parse_block_request(chain, memory_, limits_, slot.request); !parsed) {
        refuse(chain.id, parsed.error());
        return true;
    }
    const bool transfers =
        slot.request.kind == BlockRequest::Kind::read || slot.request.kind == BlockRequest::Kind::write;
    if (!throttle_.take(transfers ? slot.request.data_length : 0))
        return false;
    free_slots_.pop_back();
    slot.in_flight = true;
    slot.chain = chain.id;
    slot.buffers.clear();
    slot.next_buffer = 0;
    slot.next_range = 0;
    slot.transferred = 0;

    switch (slot.request.kind) {
    case BlockRequest::Kind::identify:
        identify(slot);
        finish(index, BlockStatus::ok);
        return true;
    case BlockRequest::Kind::read:
    case BlockRequest::Kind::write:
        if (!map_buffers(slot)) {
            ++counters_.refused;
            finish(index, BlockStatus::io_error);
            return true;
        }
        mark_written(slot);
        break;
    default:
        break;
    }
    advance(index);
    return true;
}

// False when one is not RAM.
bool Block::map_buffers(Slot& slot) {
    return std::ranges::all_of(slot.request.data, [&](const virtio::Buffer& buffer) {
        return virtio::append_host_pieces(memory_, buffer, slot.buffers);
    });
}

void Block::identify(Slot& slot) {
    auto rest = std::as_bytes(std::span(id_));
    for (const virtio::Buffer& buffer : slot.request.data) {
        const auto piece = rest.first(std::min<std::size_t>(rest.size(), buffer.length));
        if (piece.empty() || !memory_.write(buffer.address, piece))
            break;
        slot.transferred += piece.size();
        rest = rest.subspan(piece.size());
    }
}

// Submits what is left of the request, or finishes it.
void Block::advance(std::uint64_t index) {
    using Kind = IoOperation::Kind;
    Slot& slot = slots_[index];
    const BlockRequest& request = slot.request;
    const auto transfer = [&](Kind kind) {
        return IoOperation{.kind = kind,
                           .buffers = std::span(slot.buffers).subspan(slot.next_buffer),
                           .offset = request.offset + slot.transferred};
    };

    switch (request.kind) {
    case BlockRequest::Kind::read:
        if (slot.transferred == request.data_length)
            break;
        engine_->submit(transfer(Kind::read), index);
        return;
    case BlockRequest::Kind::write:
        if (slot.transferred == request.data_length)
            break;
        engine_->submit(transfer(write_through_ ? Kind::write_through : Kind::write), index);
        return;
    case BlockRequest::Kind::flush:
        engine_->submit({.kind = Kind::synchronise}, index);
        return;
    case BlockRequest::Kind::discard:
    case BlockRequest::Kind::write_zeroes: {
        if (slot.next_range == request.ranges.size())
            break;
        const BlockRange& range = request.ranges[slot.next_range];
        const int mode = range.unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
        engine_->submit({.kind = Kind::allocate,
                         .offset = range.offset,
                         .length = range.length,
                         .mode = mode | FALLOC_FL_KEEP_SIZE},
                        index);
        return;
    }
    case BlockRequest::Kind::identify:
        break;
    }
    finish(index, BlockStatus::ok);
}

void Block::serve_completions() {
    engine_->acknowledge();
    // As many as can be in flight: what is submitted again below signals anew.
    for (std::uint32_t budget = queue_size; budget > 0; --budget) {
        const auto completion = engine_->take_completion();
        if (!completion)
            break;
        completed(*completion);
    }
    flush_engine();
    publish(requests);
}

void Block::completed(const IoCompletion& completion) {
    Slot& slot = slots_[completion.token];
    const auto kind = slot.request.kind;
    if (completion.result == -EINTR) {
        advance(completion.token);
        return;
    }
    if (completion.result < 0) {
        // Not every file system can punch holes or zero ranges; guests fall back to writing zeroes.
        const bool unsupported = completion.result == -EOPNOTSUPP;
        ++counters_.failed;
        if (unsupported)
            return finish(completion.token, BlockStatus::unsupported);
        return disk_failed(completion.token, -completion.result);
    }
    switch (kind) {
    case BlockRequest::Kind::read:
    case BlockRequest::Kind::write:
        // The end of the file, when another process has cut it short.
        if (completion.result == 0) {
            ++counters_.failed;
            finish(completion.token, BlockStatus::io_error);
            return;
        }
        consume(slot, static_cast<std::uint64_t>(completion.result));
        break;
    case BlockRequest::Kind::discard:
    case BlockRequest::Kind::write_zeroes:
        ++slot.next_range;
        break;
    case BlockRequest::Kind::flush:
    case BlockRequest::Kind::identify:
        finish(completion.token, BlockStatus::ok);
        return;
    }
    advance(completion.token);
}

void Block::consume(Slot& slot, std::uint64_t bytes) {
    slot.transferred += bytes;
    while (bytes > 0) {
        iovec& buffer = slot.buffers[slot.next_buffer];
        const std::uint64_t piece = std::min<std::uint64_t>(bytes, buffer.iov_len);
        buffer.iov_base = static_cast<std::byte*>(buffer.iov_base) + piece;
        buffer.iov_len -= piece;
        bytes -= piece;
        if (buffer.iov_len == 0)
            ++slot.next_buffer;
    }
}

void Block::finish(std::uint64_t index, BlockStatus status) {
    Slot& slot = slots_[index];
    no_longer_held(slot);
    const BlockRequest& request = slot.request;
    const bool ok = status == BlockStatus::ok;
    std::uint64_t to_guest = 0;
    std::uint64_t writable = 0;
    switch (request.kind) {
    case BlockRequest::Kind::read:
        mark_written(slot);
        counters_.reads += ok ? 1 : 0;
        counters_.read += ByteCount{slot.transferred};
        to_guest = slot.transferred;
        writable = request.data_length;
        break;
    case BlockRequest::Kind::identify:
        to_guest = slot.transferred;
        writable = request.data_length;
        break;
    case BlockRequest::Kind::write:
        counters_.writes += ok ? 1 : 0;
        counters_.written += ByteCount{slot.transferred};
        break;
    case BlockRequest::Kind::flush:
        counters_.flushes += ok ? 1 : 0;
        break;
    case BlockRequest::Kind::discard:
    case BlockRequest::Kind::write_zeroes:
        counters_.discards += ok ? 1 : 0;
        break;
    }

    const std::byte code{static_cast<std::uint8_t>(status)};
    const bool answered = memory_.write(request.status, {&code, 1});
    // virtio 1.2, 2.7.8.2: the used length counts bytes written without a gap, so the status byte counts only when the
    // data before it is complete.
    const bool contiguous = answered && to_guest == writable;
    virtqueue(requests)->complete(slot.chain, static_cast<std::uint32_t>(to_guest + (contiguous ? 1 : 0)));
    slot.in_flight = false;
    free_slots_.push_back(index);
    work_finished();
}

void Block::refuse(virtio::ChainId chain, const BlockRefusal& refusal) {
    ++counters_.refused;
    bool answered = false;
    if (refusal.answer) {
        const std::byte code{static_cast<std::uint8_t>(refusal.status)};
        answered = memory_.write(*refusal.answer, {&code, 1});
    }
    virtqueue(requests)->complete(chain, answered && refusal.status_is_first ? 1 : 0);
}

void Block::mark_written(const Slot& slot) {
    if (slot.request.kind != BlockRequest::Kind::read)
        return;
    for (const virtio::Buffer& buffer : slot.request.data)
        memory_.wrote(buffer.address, ByteCount{buffer.length});
}

void Block::flush_engine() {
    if (!engine_->flush())
        retry_ = loop_.after(std::chrono::milliseconds(5), [this] { flush_engine(); });
}

void Block::on_reset() {
    CHECK(loop_.owned_here());
    engine_->abandon();
    retry_.cancel();
    try_again_.cancel();
    failed_.clear();
    held_ = 0;
    for (std::uint64_t index = 0; index < slots_.size(); ++index) {
        slots_[index].held = false;
        if (!std::exchange(slots_[index].in_flight, false))
            continue;
        mark_written(slots_[index]);
        free_slots_.push_back(index);
    }
}

} // namespace aerate
