#include "migration/wire/messages.hpp"

#include "memory/mapping.hpp"
#include "migration/wire/bytes.hpp"

#include <algorithm>

namespace aerate::migration {
namespace {

std::unexpected<Error> malformed(FrameKind kind) {
    return fail("the {} of the other side is malformed", name_of(kind));
}

Result<> check_host(std::uint16_t architecture, std::uint32_t page) {
    if (architecture != architecture_x86_64)
        return fail("the other side has architecture {}, this one {} (x86-64)", architecture, architecture_x86_64);
    if (page != page_size.value)
        return fail("the other side has pages of {} bytes, this one of {}", page, page_size.value);
    return {};
}

template <std::size_t n>
void take_into(ByteReader& reader, std::array<std::byte, n>& into) {
    const auto bytes = reader.take_bytes(n);
    std::ranges::copy(bytes, into.begin());
}

} // namespace

void print(std::vector<std::byte>& to, const Greeting& greeting) {
    append(to, greeting.oldest);
    append(to, greeting.newest);
    append(to, greeting.architecture);
    append(to, greeting.page);
    append(to, greeting.features);
    append(to, greeting.session.value);
}

void print(std::vector<std::byte>& to, const AttachmentPiece& piece) {
    append(to, piece.kind);
    append(to, piece.length);
    append(to, piece.bytes);
}

Result<AttachmentPiece> parse_attachment(std::span<const std::byte> payload) {
    ByteReader reader(payload);
    AttachmentPiece piece;
    piece.kind = reader.take<std::uint8_t>();
    piece.length = reader.take<std::uint64_t>();
    piece.bytes = reader.take_bytes(reader.left());
    if (!reader.complete() || piece.kind > 1 || piece.bytes.empty() || piece.bytes.size() > piece.length)
        return malformed(FrameKind::attachment);
    return piece;
}

Result<Greeting> parse_greeting(std::span<const std::byte> payload) {
    ByteReader reader(payload);
    Greeting greeting;
    greeting.oldest = reader.take<std::uint16_t>();
    greeting.newest = reader.take<std::uint16_t>();
    greeting.architecture = reader.take<std::uint16_t>();
    greeting.page = reader.take<std::uint32_t>();
    greeting.features = reader.take<std::uint64_t>();
    take_into(reader, greeting.session.value);
    if (!reader.complete() || greeting.oldest == 0 || greeting.oldest > greeting.newest)
        return malformed(FrameKind::greeting);
    return greeting;
}

void print(std::vector<std::byte>& to, const Hello& hello) {
    append(to, hello.version);
    append(to, hello.architecture);
    append(to, hello.page);
    append(to, hello.features);
    append(to, static_cast<std::uint8_t>(hello.streams));
    append(to, static_cast<std::uint8_t>(hello.lease ? 1 : 0));
    if (hello.lease) {
        append(to, hello.lease->id);
        append(to, hello.lease->epoch);
    }
    append(to, static_cast<std::uint32_t>(hello.regions.size()));
    for (const MemoryRegion& region : hello.regions) {
        append(to, region.start.value);
        append(to, region.length.value);
    }
    append(to, static_cast<std::uint32_t>(hello.config.size()));
    append(to, std::as_bytes(std::span(hello.config)));
}

Result<Hello> parse_hello(std::span<const std::byte> payload) {
    ByteReader reader(payload);
    Hello hello;
    hello.version = reader.take<std::uint16_t>();
    // What follows may differ in another version: that is for check_peer() to say.
    if (hello.version < oldest_version || hello.version > version)
        return hello;
    hello.architecture = reader.take<std::uint16_t>();
    hello.page = reader.take<std::uint32_t>();
    hello.features = reader.take<std::uint64_t>();
    hello.streams = reader.take<std::uint8_t>();
    if (hello.streams == 0 || hello.streams > max_streams)
        return fail("the other side wants {} streams: 1 to {} are supported", hello.streams, max_streams);
    const auto has_lease = reader.take<std::uint8_t>();
    if (has_lease > 1)
        return malformed(FrameKind::hello);
    if (has_lease == 1) {
        hello.lease.emplace();
        take_into(reader, hello.lease->id);
        hello.lease->epoch = reader.take<std::uint64_t>();
    }
    const auto regions = reader.take<std::uint32_t>();
    if (regions == 0 || regions > max_regions)
        return fail("the other side's VM has {} memory regions: 1 to {} are supported", regions, max_regions);
    for (std::uint32_t i = 0; i < regions; ++i) {
        const GuestAddress start{reader.take<std::uint64_t>()};
        hello.regions.push_back({start, {reader.take<std::uint64_t>()}});
    }
    const auto config = reader.take<std::uint32_t>();
    if (config > max_config)
        return fail("the other side's configuration has {} bytes: at most {} are supported", config, max_config);
    const auto text = reader.take_bytes(config);
    hello.config.assign(reinterpret_cast<const char*>(text.data()), text.size());
    if (!reader.complete())
        return malformed(FrameKind::hello);
    TRY(check_layout({hello.regions, Backing::anonymous}));
    return hello;
}

void print(std::vector<std::byte>& to, const Round& round) {
    append(to, round.number);
    append(to, static_cast<std::uint8_t>(round.last ? 1 : 0));
}

Result<Round> parse_round(std::span<const std::byte> payload) {
    ByteReader reader(payload);
    const auto number = reader.take<std::uint32_t>();
    const auto last = reader.take<std::uint8_t>();
    if (!reader.complete() || last > 1)
        return malformed(FrameKind::round);
    return Round{number, last == 1};
}

void print(std::vector<std::byte>& to, const Sums& sums) {
    append(to, sums.frames);
    append(to, sums.memory);
}

Result<Sums> parse_sums(std::span<const std::byte> payload) {
    ByteReader reader(payload);
    Sums sums;
    sums.frames = reader.take<std::uint64_t>();
    sums.memory = reader.take<std::uint64_t>();
    if (!reader.complete())
        return malformed(FrameKind::ready);
    return sums;
}

void print(std::vector<std::byte>& to, const StateEnd& end) {
    append(to, end.length);
    print(to, end.sums);
}

Result<StateEnd> parse_state_end(std::span<const std::byte> payload) {
    ByteReader reader(payload);
    const auto length = reader.take<std::uint64_t>();
    const auto sums = parse_sums(reader.take_bytes(reader.left()));
    if (!sums)
        return malformed(FrameKind::state_end);
    return StateEnd{length, *sums};
}

std::string parse_error(std::span<const std::byte> payload) {
    constexpr std::size_t longest = 1024;
    std::string text;
    for (const std::byte byte : payload.first(std::min(payload.size(), longest))) {
        const auto c = static_cast<char>(byte);
        text += c >= ' ' && c <= '~' ? c : '?';
    }
    return text;
}

Result<> check_peer(const Greeting& peer, std::uint64_t wanted_features) {
    if (peer.oldest > version || peer.newest < oldest_version)
        return fail("the destination speaks version {} to {} of the migration stream, this monitor version {}: use the "
                    "same release on both sides",
                    peer.oldest, peer.newest, version);
    TRY(check_host(peer.architecture, peer.page));
    if (const std::uint64_t missing = wanted_features & ~peer.features; missing != 0)
        return fail(
            "the destination does not support what was requested (feature bits {:#x}): leave it out, or use the same "
            "release on both sides",
            missing);
    return {};
}

Result<> check_peer(const Hello& peer, const std::optional<Lease::Terms>& ours) {
    if (peer.version < oldest_version || peer.version > version)
        return fail("the source speaks version {} of the migration stream, this monitor version {}: use the same "
                    "release on both sides",
                    peer.version, version);
    TRY(check_host(peer.architecture, peer.page));
    if (const std::uint64_t unknown = peer.features & ~known_features; unknown != 0)
        return fail("the source uses features that this monitor does not know (bits {:#x})", unknown);
    if (peer.lease.has_value() != ours.has_value())
        return fail("the {} has a lease and the other side has none: give both the same, or neither",
                    ours ? "destination" : "source");
    if (peer.lease != ours)
        return fail("source and destination have different leases, or see different states of one: both must be given "
                    "the same file");
    return {};
}

} // namespace aerate::migration
