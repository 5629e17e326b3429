#include "memory/guest_memory.hpp"

#include "base/zero.hpp"
#include "memory/discarder.hpp"
#include "memory/fault_handler.hpp"
#include "memory/mapping.hpp"
#include "memory/process_memory.hpp"
#include "memory/residency.hpp"
#include "memory/restore.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ranges>

namespace aerate {
namespace {

FrameNumber end_of(std::span<const MappedRegion> regions) {
    const MemoryRegion& last = regions.back().guest;
    return frame_of({last.start.value + last.length.value});
}

/// Returns every page that a byte of [address, address + length) is in. REQUIRES: length > 0 and no wrap.
PageRange pages_touching(GuestAddress address, ByteCount length) {
    const FrameNumber first = frame_of(address);
    const FrameNumber last = frame_of({address.value + length.value - 1});
    return {first, {last.value - first.value + 1}};
}

/// Sorts and merges ranges in place; what is left is ascending, apart from each other and does not wrap.
std::span<PageRange> merge(std::span<PageRange> ranges) {
    for (PageRange& range : ranges)
        range.count.value = std::min(range.count.value, ~std::uint64_t{0} - range.first.value);
    if (!std::ranges::is_sorted(ranges))
        std::ranges::sort(ranges);
    std::size_t merged = 0;
    for (const PageRange& range : ranges) {
        if (range.count.value == 0)
            continue;
        if (merged > 0 && range.first <= ranges[merged - 1].end()) {
            PageRange& before = ranges[merged - 1];
            before.count.value = std::max(before.end(), range.end()).value - before.first.value;
        } else {
            ranges[merged++] = range;
        }
    }
    return ranges.first(merged);
}

/// Returns the whole units of `unit` pages inside the range.
PageRange round_inwards(PageRange range, PageCount unit) {
    const std::uint64_t first = (range.first.value + unit.value - 1) / unit.value * unit.value;
    const std::uint64_t end = range.end().value / unit.value * unit.value;
    return end > first ? PageRange{{first}, {end - first}} : PageRange{};
}

} // namespace

struct GuestMemory::Impl {
    static Result<std::unique_ptr<Impl>> create(Mapping made) {
        const PageCount pages{end_of(made.regions()).value};
        auto logged = TRY(PageBitmap::create(pages));
        auto of_files = TRY(PageBitmap::create(pages));
        return std::make_unique<Impl>(std::move(made), std::move(logged), std::move(of_files));
    }
    Impl(Mapping made, PageBitmap logged, PageBitmap of_files)
        : mapping(std::move(made))
        , log(std::move(logged))
        , files(std::move(of_files))
        , discarder(mapping.backing(), mapping.regions().front(), files)
        , residency(mapping.backing(), mapping.regions()) {}

    Mapping mapping;
    WriteLog log;
    FileBacking files;
    Discarder discarder;
    Residency residency;
    std::unique_ptr<FaultHandler> handler; ///< null: there is none

    /// Returns the region that holds the address, if any.
    [[nodiscard]] const MappedRegion* find(GuestAddress address) const {
        const auto regions = mapping.regions();
        const auto after = std::ranges::upper_bound(regions, address, {},
                                                    [](const MappedRegion& region) { return region.guest.start; });
        if (after == regions.begin())
            return nullptr;
        const MappedRegion& region = *std::prev(after);
        return address.value - region.guest.start.value < region.guest.length.value ? &region : nullptr;
    }

    /// Returns the bytes at the address, as many as are in one region, at most `length`; empty outside RAM.
    [[nodiscard]] std::span<std::byte> piece_at(GuestAddress address, std::uint64_t length) const {
        const MappedRegion* const region = find(address);
        if (region == nullptr)
            return {};
        const std::uint64_t offset = address.value - region->guest.start.value;
        return {region->host + offset, std::min(length, region->guest.length.value - offset)};
    }

    [[nodiscard]] bool contains(GuestAddress address, ByteCount length) const {
        if (!address.plus(length))
            return length.value == 0;
        for (std::uint64_t done = 0; done < length.value;) {
            const auto piece = piece_at({address.value + done}, length.value - done);
            if (piece.empty())
                return false;
            done += piece.size();
        }
        return true;
    }

    /// Calls visit(bytes, offset in the range) for the part of the range in each region. False, with no call, unless
    /// all of the range is RAM.
    template <typename Visit>
    bool visit_pieces(GuestAddress address, std::uint64_t length, Visit&& visit) const {
        const auto whole = piece_at(address, length);
        if (whole.size() == length) [[likely]] {
            if (length > 0)
                visit(whole, std::size_t{0});
            return true;
        }
        if (!contains(address, {length}))
            return false;
        for (std::uint64_t done = 0; done < length;) {
            const auto piece = piece_at({address.value + done}, length - done);
            visit(piece, static_cast<std::size_t>(done));
            done += piece.size();
        }
        return true;
    }

    /// Returns where an aligned value is. Regions are aligned too, so none straddles an end.
    template <typename T>
    [[nodiscard]] T* aligned(GuestAddress address) const {
        if (address.value % sizeof(T) != 0)
            return nullptr;
        const auto bytes = piece_at(address, sizeof(T));
        return bytes.size() == sizeof(T) ? reinterpret_cast<T*>(bytes.data()) : nullptr;
    }

    [[nodiscard]] PageCount host_page() const { return whole_pages_of(mapping.host_page_size()); }

    void discard(std::span<const DiscardPiece> pieces, DiscardResult& result) {
        // What is mapped is a stand-in then. The file, which may have grown again, is not ours to punch holes into.
        if (mapping.lost())
            return;
        const PageCount before = result.discarded;
        discarder.discard(pieces, result);
        PageCount asked{};
        for (const DiscardPiece& piece : pieces) {
            asked += piece.range.count;
            log.record(piece.range); // failed ones too: part of such a piece may be gone
        }
        // Which pieces of a batch that failed are still the handler's is not known; so all are.
        if (handler && result.discarded - before == asked) {
            for (const DiscardPiece& piece : pieces)
                handler->discarded(piece.range);
        }
    }
};

Result<GuestMemory> GuestMemory::create(const MemoryLayout& layout) {
    TRY(check_layout(layout));
    return GuestMemory(TRY(Impl::create(TRY(Mapping::create(layout)))));
}

Result<GuestMemory> GuestMemory::restore(const MemoryLayout& layout, std::span<const FilePiece> pieces) {
    auto memory = TRY(create(layout));
    TRY(restore_pieces(memory.regions(), memory.backing(), pieces, memory.impl_->files));
    return memory;
}

Result<GuestMemory> GuestMemory::restore(const MemoryLayout& layout, const FaultHandlerPlace& place) {
    auto memory = TRY(create(layout));
    auto pages = TRY(PageBitmap::create(memory.address_space()));
    memory.impl_->handler = TRY(FaultHandler::connect(place, memory.backing(), memory.regions(), std::move(pages)));
    return memory;
}

Result<GuestMemory> GuestMemory::share(std::span<const SharedRegion> regions) {
    return GuestMemory(TRY(Impl::create(TRY(Mapping::share(regions)))));
}

GuestMemory::GuestMemory(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)) {}
GuestMemory::GuestMemory(GuestMemory&&) noexcept = default;
GuestMemory& GuestMemory::operator=(GuestMemory&&) noexcept = default;
GuestMemory::~GuestMemory() = default;

bool GuestMemory::read(GuestAddress address, std::span<std::byte> into) const {
    return impl_->visit_pieces(address, into.size(), [&](std::span<const std::byte> piece, std::size_t offset) {
        std::memcpy(into.data() + offset, piece.data(), piece.size());
    });
}

bool GuestMemory::write(GuestAddress address, std::span<const std::byte> from) {
    const bool in_ram = impl_->visit_pieces(address, from.size(), [&](std::span<std::byte> piece, std::size_t offset) {
        std::memcpy(piece.data(), from.data() + offset, piece.size());
    });
    if (in_ram)
        wrote(address, {from.size()});
    return in_ram;
}

bool GuestMemory::fill(GuestAddress address, ByteCount length, std::byte value) {
    const bool in_ram = impl_->visit_pieces(address, length.value, [&](std::span<std::byte> piece, std::size_t) {
        std::memset(piece.data(), std::to_integer<int>(value), piece.size());
    });
    if (in_ram)
        wrote(address, length);
    return in_ram;
}

template <std::unsigned_integral T>
std::optional<T> GuestMemory::load(GuestAddress address) const {
    const T* const value = impl_->aligned<T>(address);
    if (value == nullptr)
        return std::nullopt;
    return __atomic_load_n(value, __ATOMIC_ACQUIRE);
}

template <std::unsigned_integral T>
bool GuestMemory::store(GuestAddress address, T value) {
    T* const target = impl_->aligned<T>(address);
    if (target == nullptr)
        return false;
    __atomic_store_n(target, value, __ATOMIC_RELEASE);
    wrote(address, {sizeof(T)});
    return true;
}

template std::optional<std::uint8_t> GuestMemory::load(GuestAddress) const;
template std::optional<std::uint16_t> GuestMemory::load(GuestAddress) const;
template std::optional<std::uint32_t> GuestMemory::load(GuestAddress) const;
template std::optional<std::uint64_t> GuestMemory::load(GuestAddress) const;
template bool GuestMemory::store(GuestAddress, std::uint8_t);
template bool GuestMemory::store(GuestAddress, std::uint16_t);
template bool GuestMemory::store(GuestAddress, std::uint32_t);
template bool GuestMemory::store(GuestAddress, std::uint64_t);

bool GuestMemory::contains(GuestAddress address, ByteCount length) const {
    return impl_->contains(address, length);
}

std::optional<std::span<std::byte>> GuestMemory::span(GuestAddress address, ByteCount length) {
    const auto bytes = impl_->piece_at(address, length.value);
    if (bytes.size() != length.value)
        return std::nullopt;
    return bytes;
}

void GuestMemory::wrote(GuestAddress address, ByteCount length) {
    if (length.value > 0 && address.plus(length))
        impl_->log.record(pages_touching(address, length));
}

bool GuestMemory::is_zero(FrameNumber frame) const {
    const auto bytes = impl_->piece_at(address_of(frame), page_size.value);
    return bytes.size() == page_size.value && aerate::is_zero(bytes);
}

DiscardResult GuestMemory::discard(std::span<const PageRange> ranges) {
    DiscardResult result;
    std::array<PageRange, Discarder::batch_size> sorted;
    std::array<DiscardPiece, Discarder::batch_size> pieces;
    while (!ranges.empty()) {
        const auto batch = ranges.first(std::min(ranges.size(), sorted.size()));
        ranges = ranges.subspan(batch.size());
        std::ranges::copy(batch, sorted.begin());
        std::size_t count = 0;
        const PageCount discarded_before = result.discarded;
        PageCount asked{};
        for (const PageRange& range : merge(std::span(sorted).first(batch.size()))) {
            asked += range.count;
            for (const MappedRegion& region : impl_->mapping.regions()) {
                const PageRange whole = round_inwards(intersection(range, frames_of(region.guest)), impl_->host_page());
                if (whole.count.value == 0)
                    continue;
                pieces[count++] = {&region, whole};
                if (count == pieces.size())
                    impl_->discard(std::span(pieces).first(std::exchange(count, 0)), result);
            }
        }
        impl_->discard(std::span(pieces).first(count), result);
        result.skipped += asked - (result.discarded - discarded_before);
    }
    return result;
}

bool GuestMemory::use_huge_pages(HugePages wanted, PageRange pages) const {
    if (backing() != Backing::anonymous)
        return false;
    const int advice = wanted == HugePages::allowed ? MADV_HUGEPAGE : MADV_NOHUGEPAGE;
    bool done = true;
    for (const MappedRegion& region : regions()) {
        const PageRange inside = intersection(pages, frames_of(region.guest));
        if (inside.count == PageCount{})
            continue;
        const auto bytes = host_bytes(region, inside);
        done = ::madvise(bytes.data(), bytes.size(), advice) == 0 && done;
    }
    return done;
}

void GuestMemory::prefetch(std::span<const PageRange> ranges) const {
    for (const PageRange& range : ranges)
        for (const MappedRegion& region : regions())
            impl_->files.prefetch(region, intersection(range, frames_of(region.guest)));
}

void GuestMemory::collect_touched(PageBitmap& into) const {
    impl_->residency.collect_touched(impl_->files.pages(), into);
}

void GuestMemory::collect_populated(PageBitmap& into, PageRange in) const {
    impl_->residency.collect_populated(in, into);
    into.add(impl_->handler ? impl_->handler->pages() : impl_->files.pages(), in);
}

bool GuestMemory::passes_over_holes() const {
    return impl_->residency.passes_over_holes();
}

ByteCount GuestMemory::resident() const {
    return impl_->residency.total();
}

ByteCount GuestMemory::shared() const {
    return impl_->residency.shared();
}

std::optional<ByteCount> GuestMemory::resident_at_most() const {
    if (backing() == Backing::memfd)
        return resident(); // a few fstats
    const auto all = backing() == Backing::anonymous ? resident_anonymous() : std::nullopt;
    return all ? std::optional(std::min(*all, size())) : std::nullopt;
}

void GuestMemory::collect_resident(PageBitmap& into, const PageBitmap* of) const {
    impl_->residency.collect_resident(into, of);
}

PageCount GuestMemory::resident_within(const PageBitmap& pages) const {
    return impl_->residency.within(pages);
}

ByteCount GuestMemory::size() const {
    ByteCount total{};
    for (const MappedRegion& region : regions())
        total += region.guest.length;
    return total;
}

PageCount GuestMemory::address_space() const {
    return {end_of(regions()).value};
}

bool GuestMemory::lost() const {
    return impl_->mapping.lost() || impl_->files.lost() || lost_its_handler();
}

bool GuestMemory::lost_its_handler() const {
    return impl_->handler && impl_->handler->lost();
}

void GuestMemory::give_up_handler() {
    if (impl_->handler)
        impl_->handler->give_up();
}

void GuestMemory::give_up_files() {
    impl_->files.give_up_files();
}

int GuestMemory::loss_event() const {
    return impl_->handler ? impl_->handler->loss_event() : impl_->files.loss_event();
}

ByteCount GuestMemory::host_page_size() const {
    return bytes_of(impl_->host_page());
}

Backing GuestMemory::backing() const {
    return impl_->mapping.backing();
}

std::span<const MappedRegion> GuestMemory::regions() const {
    return impl_->mapping.regions();
}

WriteLog& GuestMemory::write_log() {
    return impl_->log;
}

} // namespace aerate
