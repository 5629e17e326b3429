#include "vsock/renewal.hpp"

#include "base/endian.hpp"
#include "base/host.hpp"

#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <span>
#include <string_view>

namespace aerate::vsock {
namespace {

Result<std::array<std::byte, renewal_bytes>> tell() {
    constexpr std::string_view name = "AERATE01";
    std::array<std::byte, renewal_bytes> told;
    std::span<std::byte> rest(told);
    std::ranges::copy(std::as_bytes(std::span(name)), rest.begin());
    rest = rest.subspan(name.size());
    const std::chrono::nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
    store_little_endian(rest, static_cast<std::uint64_t>(now.count()));
    rest = rest.subspan(sizeof(std::uint64_t));
    // So few are given at once, and whole, once the host has booted (getrandom(2)).
    if (::getrandom(rest.data(), rest.size(), 0) != static_cast<ssize_t>(rest.size()))
        return fail_errno("the host gives no random numbers for the guest");
    return told;
}

} // namespace

Result<Renewal> make_renewal() {
    std::array<int, 2> ends{-1, -1};
    if (host::refuses(host::Resource::descriptor) ||
        ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0)
        return fail_errno("cannot create a pair of sockets");
    Renewal renewal{.stream = FileDescriptor(ends[0]), .other = FileDescriptor(ends[1])};
    const auto told = TRY(tell());
    // An empty socket takes as much at once.
    const ssize_t sent = ::send(renewal.other.get(), told.data(), told.size(), MSG_NOSIGNAL);
    if (sent < 0)
        return fail_errno("cannot write to a socket");
    if (sent != static_cast<ssize_t>(told.size()))
        return fail("a new socket takes only {} of {} bytes", sent, told.size());
    return renewal;
}

} // namespace aerate::vsock
