#include "memory/discarder.hpp"

#include "base/check.hpp"
#include "base/host.hpp"
#include "memory/mapping.hpp"

#include <fcntl.h>

#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>

namespace aerate {
namespace {

constexpr int advice_dontneed_locked = 24; // MADV_DONTNEED_LOCKED, younger than the oldest headers we build with

iovec iovec_of(const DiscardPiece& piece) {
    const auto bytes = host_bytes(*piece.region, piece.range);
    return {.iov_base = bytes.data(), .iov_len = bytes.size()};
}

int choose_advice(Backing backing, const iovec& nothing) {
    if (backing == Backing::memfd)
        return MADV_REMOVE;
    return ::madvise(nothing.iov_base, nothing.iov_len, advice_dontneed_locked) == 0 ? advice_dontneed_locked
                                                                                     : MADV_DONTNEED;
}

long advise_self(const FileDescriptor& self, std::span<const iovec> pieces, int advice) {
    return ::syscall(SYS_process_madvise, self.get(), pieces.data(), pieces.size(), advice, 0U);
}

} // namespace

Discarder::Discarder(Backing backing, const MappedRegion& region, FileBacking& files)
    : files_(&files) {
    // The kernel checks the advice before the range (mm/madvise.c); process_madvise says 0, that many bytes were
    // advised.
    const iovec nothing{.iov_base = region.host, .iov_len = 0};
    advice_ = choose_advice(backing, nothing);

    FileDescriptor self = host::descriptor([&] { return ::syscall(SYS_pidfd_open, ::getpid(), 0U); });
    if (self.valid() && advise_self(self, {&nothing, 1}, advice_) == 0)
        self_ = std::move(self);
}

void Discarder::discard(std::span<const DiscardPiece> pieces, DiscardResult& result) const {
    while (!pieces.empty()) {
        const auto files = std::ranges::find_if(pieces, [this](const auto& piece) { return is_a_files(piece); });
        const auto together = pieces.first(static_cast<std::size_t>(files - pieces.begin()));
        if (batches() && together.size() > 1)
            pieces = pieces.subspan(discard_together(together, result));
        // The only one, or the one that the batch stopped at: on its own it goes another way or shows its error.
        if (!pieces.empty()) {
            if (is_a_files(pieces.front()))
                replace(pieces.front(), result);
            else
                discard_alone(pieces.front(), result);
            pieces = pieces.subspan(1);
        }
    }
}

void Discarder::replace(const DiscardPiece& piece, DiscardResult& result) const {
    ++result.system_calls;
    if (files_->replace(*piece.region, piece.range))
        result.discarded += piece.range.count;
    else
        result.system_error = errno;
}

/// Returns how many of the first pieces are done.
std::size_t Discarder::discard_together(std::span<const DiscardPiece> pieces, DiscardResult& result) const {
    CHECK(pieces.size() <= batch_size);
    std::array<iovec, batch_size> ranges;
    for (std::size_t i = 0; i < pieces.size(); ++i)
        ranges[i] = iovec_of(pieces[i]);
    ++result.system_calls;
    const long advised = advise_self(self_, std::span(ranges).first(pieces.size()), advice_);

    // The kernel stops at the first failure and says how many bytes came before. It also cuts the whole at 2 GiB
    // (MAX_RW_COUNT in lib/iov_iter.c); a piece that was cut counts as not done.
    std::uint64_t left = advised > 0 ? static_cast<std::uint64_t>(advised) : 0;
    std::size_t done = 0;
    while (done < pieces.size() && left >= ranges[done].iov_len) {
        left -= ranges[done].iov_len;
        result.discarded += pieces[done].range.count;
        ++done;
    }
    return done;
}

void Discarder::discard_alone(const DiscardPiece& piece, DiscardResult& result) const {
    const auto [address, length] = iovec_of(piece);
    ++result.system_calls;
    int outcome = ::madvise(address, length, advice_);
    if (outcome != 0 && advice_ == MADV_REMOVE && errno == EINVAL) {
        const auto offset = static_cast<std::byte*>(address) - piece.region->host;
        ++result.system_calls;
        outcome = ::fallocate(piece.region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(piece.region->fd_offset.value) + offset, static_cast<off_t>(length));
    }
    if (outcome == 0)
        result.discarded += piece.range.count;
    else
        result.system_error = errno;
}

} // namespace aerate
