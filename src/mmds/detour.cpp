#include "mmds/detour.hpp"

#include "base/check.hpp"

#include <unistd.h>

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace aerate::mmds {
namespace {

using net::Outcome;
using net::Received;

/// A busy network is not to keep the service's answers waiting, and a service without answers costs it no system call
/// a frame.
constexpr unsigned frames_between_looks = 16;
/// Packets of the kernel's own that one look passes over.
constexpr unsigned others_a_look = 16;

/// Copies the first bytes of the pieces. Returns how many there were.
std::size_t gather(std::span<const iovec> pieces, std::span<std::byte> into) {
    std::size_t copied = 0;
    for (const iovec& piece : pieces) {
        const std::size_t length = std::min(piece.iov_len, into.size() - copied);
        if (length > 0)
            std::memcpy(into.data() + copied, piece.iov_base, length);
        copied += length;
    }
    return copied;
}

/// Copies bytes to the pieces, at an offset. What does not fit is cut off.
void scatter(std::span<const std::byte> bytes, std::span<const iovec> pieces, std::size_t offset) {
    for (const iovec& piece : pieces) {
        if (offset >= piece.iov_len) {
            offset -= piece.iov_len;
            continue;
        }
        const std::size_t length = std::min(piece.iov_len - offset, bytes.size());
        if (length == 0)
            return;
        std::memcpy(static_cast<std::byte*>(piece.iov_base) + offset, bytes.data(), length);
        bytes = bytes.subspan(length);
        offset = 0;
    }
}

} // namespace

Result<std::shared_ptr<Detour>> Detour::create(std::shared_ptr<net::BackEnd> network, FileDescriptor tun,
                                               const Ipv4Address& service, std::shared_ptr<Counters> counters) {
    EventFd arp_waits = TRY(EventFd::create());
    FileDescriptor readable = host::descriptor([] { return ::epoll_create1(EPOLL_CLOEXEC); });
    for (const int fd : {network->readable(), tun.get(), arp_waits.fd()}) {
        epoll_event event{.events = EPOLLIN, .data = {}};
        if (!readable.valid() || ::epoll_ctl(readable.get(), EPOLL_CTL_ADD, fd, &event) != 0)
            return fail_errno("cannot watch the metadata service and {} at once", network->label());
    }
    auto frame = host::zeroed<std::byte>(net::max_frame);
    if (!frame)
        return fail_errno("cannot have a buffer for the metadata service");
    return std::shared_ptr<Detour>(new Detour(std::move(network), std::move(tun), service, std::move(counters),
                                              std::move(arp_waits), std::move(readable), std::move(frame)));
}

Detour::Detour(std::shared_ptr<net::BackEnd> network, FileDescriptor tun, const Ipv4Address& service,
               std::shared_ptr<Counters> counters, EventFd arp_waits, FileDescriptor readable,
               std::unique_ptr<std::byte[], host::FreeMemory> frame)
    : network_(std::move(network))
    , tun_(std::move(tun))
    , service_(service)
    , counters_(std::move(counters))
    , arp_waits_(std::move(arp_waits))
    , readable_(std::move(readable))
    , frame_(std::move(frame)) {}

Outcome Detour::send(std::span<const iovec> pieces) {
    std::array<std::byte, net::header::size + looked_at> first;
    const std::size_t copied = gather(pieces, first);
    if (copied < net::header::size)
        return network_->send(pieces);
    const auto frame = std::span(first).first(copied).subspan(net::header::size);
    switch (classify(frame, net::size_of(pieces) - net::header::size, service_)) {
    case Class::other:
        return network_->send(pieces);
    case Class::drop:
        return Outcome::local;
    case Class::arp:
        ++counters_->frames_taken;
        guest_ = source_of(frame);
        arp_ = answer_arp(std::span(first).last<looked_at>(), service_);
        arp_waits_.signal();
        return Outcome::local;
    case Class::segment:
        send_to_service(pieces);
        return Outcome::local;
    }
    return Outcome::local;
}

/// What the kernel refuses is lost, as on a wire.
void Detour::send_to_service(std::span<const iovec> pieces) {
    // A copy, so that what is looked at is what is sent.
    const std::span all(frame_.get(), gather(pieces, {frame_.get(), net::max_frame}));
    const auto frame = all.subspan(net::header::size);
    if (classify(frame.first(std::min(frame.size(), looked_at)), frame.size(), service_) != Class::segment)
        return;
    auto header = without_ethernet(all.first<net::header::size>());
    if (!header)
        return;
    guest_ = source_of(frame);
    ++counters_->frames_taken;
    const auto packet = frame.subspan(net::ethernet_header_size);
    const std::array<iovec, 2> out{iovec{header->data(), header->size()}, iovec{packet.data(), packet.size()}};
    ssize_t written = -1;
    do
        written = ::writev(tun_.get(), out.data(), out.size());
    while (written < 0 && errno == EINTR);
    if (written < 0)
        ++counters_->frames_refused;
    look_ = true;
}

std::optional<Received> Detour::receive_from_service(std::span<const iovec> pieces) {
    constexpr std::array<std::byte, net::header::size> no_offloads{};
    if (arp_) {
        scatter(no_offloads, pieces, 0);
        scatter(*arp_, pieces, net::header::size);
        arp_.reset();
        (void)arp_waits_.drain();
        return Received{Outcome::local, net::header::size + sizeof(ArpReply)};
    }
    if (!look_ && ++not_looked_ < frames_between_looks)
        return std::nullopt;
    not_looked_ = 0;
    for (unsigned i = 0; i < others_a_look; ++i) {
        const ssize_t got = ::read(tun_.get(), frame_.get(), net::max_frame);
        if (got < 0 && errno == EINTR)
            continue;
        look_ = got >= 0;
        if (got < static_cast<ssize_t>(tun_header_size))
            return std::nullopt;
        const std::span packet(frame_.get() + tun_header_size, static_cast<std::size_t>(got) - tun_header_size);
        if (!is_from_service(packet, service_))
            continue;
        scatter(no_offloads, pieces, 0);
        scatter(ethernet_header(guest_), pieces, net::header::size);
        scatter(packet, pieces, net::header::size + net::ethernet_header_size);
        return Received{Outcome::local, net::header::size + net::ethernet_header_size + packet.size()};
    }
    return std::nullopt;
}

Received Detour::receive(std::span<const iovec> pieces) {
    if (const auto answer = receive_from_service(pieces)) {
        ++counters_->frames_sent;
        counters_->bytes_sent += answer->bytes - net::header::size;
        return *answer;
    }
    const Received got = network_->receive(pieces);
    // The card waits for readable() then, and the tun may be what ends its wait.
    look_ |= got.outcome == Outcome::later;
    return got;
}

} // namespace aerate::mmds
