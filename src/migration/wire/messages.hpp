// What the frames of the handshake and of the hand-off say. print() appends a payload; the parsers take hostile bytes.
#pragma once

#include "base/error.hpp"
#include "memory/guest_memory.hpp"
#include "migration/lease.hpp"
#include "migration/streams.hpp"
#include "migration/wire/frame.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace aerate::migration {

// The rule for versions: what was released once is understood for ever. A frame's layout never changes within a
// version; a new one raises `version`, parsers take every version from `oldest_version` on, and the source speaks the
// newest that both sides know. What only adds something gets a feature bit: a source that uses it asks for it, and a
// destination that does not have it is found out in the handshake. Saved state has versions of its own
// (state/saved_vm.hpp): a change that an older monitor refuses needs a feature bit here, or the guest would be stopped
// to learn of it. testing/samples has a stream of each released version.
inline constexpr std::uint16_t version = 3;
inline constexpr std::uint16_t oldest_version = 3;
inline constexpr std::uint16_t architecture_x86_64 = 1;
inline constexpr std::size_t max_config = 64U << 10;
inline constexpr std::size_t max_regions = 64;
inline constexpr std::size_t max_state = 64U << 20;

enum Feature : std::uint64_t {
    feature_verify = 1U << 0,
    feature_lz4 = 1U << 1,
    feature_zstd = 1U << 2,
    feature_delta = 1U << 3,
    feature_attachments =
        1U << 4, ///< offered whenever there are some; left out for a destination that does not know it
    feature_device_state = 1U << 5, ///< reads saved state in which "virtio" has version 2: a state for each device
};
inline constexpr std::uint64_t known_features =
    feature_verify | feature_lz4 | feature_zstd | feature_delta | feature_attachments | feature_device_state;
/// What every source of this version uses.
inline constexpr std::uint64_t always_used = feature_device_state;

struct Greeting {
    std::uint16_t oldest = oldest_version;
    std::uint16_t newest = version;
    std::uint16_t architecture = architecture_x86_64;
    std::uint32_t page = page_size.value;
    std::uint64_t features = known_features;
    Session session;
};

struct Hello {
    std::uint16_t version = migration::version;
    std::uint16_t architecture = architecture_x86_64;
    std::uint32_t page = page_size.value;
    std::uint64_t features = 0; ///< that this migration uses
    unsigned streams = 1;       ///< at most max_streams; the others join when the destination has accepted
    std::optional<Lease::Terms> lease;
    std::vector<MemoryRegion> regions;
    std::string config;
};

struct Round {
    std::uint32_t number = 0;
    bool last = false;
};

/// What both sides must agree on before the guest is given away.
struct Sums {
    std::uint64_t frames = 0; ///< Transcript of the source's, as far as this or the frame that is answered
    std::uint64_t memory = 0; ///< memory_root(), when it was asked to verify
    bool operator==(const Sums&) const = default;
};

/// What stands before the bytes of an attachment's piece.
struct AttachmentPiece {
    std::uint8_t kind = 0;    ///< Attachment::Kind
    std::uint64_t length = 0; ///< of the whole attachment
    std::span<const std::byte> bytes;
};

struct StateEnd {
    std::uint64_t length = 0;
    Sums sums;
};

void print(std::vector<std::byte>& to, const Greeting&);
void print(std::vector<std::byte>& to, const Hello&);
void print(std::vector<std::byte>& to, const Round&);
void print(std::vector<std::byte>& to, const AttachmentPiece&);
void print(std::vector<std::byte>& to, const StateEnd&);
void print(std::vector<std::byte>& to, const Sums&);

[[nodiscard]] Result<Greeting> parse_greeting(std::span<const std::byte>);
/// Regions are as check_layout() wants them.
[[nodiscard]] Result<Hello> parse_hello(std::span<const std::byte>);
[[nodiscard]] Result<Round> parse_round(std::span<const std::byte>);
/// Parses a piece, whose bytes are the payload's.
[[nodiscard]] Result<AttachmentPiece> parse_attachment(std::span<const std::byte>);
[[nodiscard]] Result<StateEnd> parse_state_end(std::span<const std::byte>);
[[nodiscard]] Result<Sums> parse_sums(std::span<const std::byte>);
/// Returns text that is fit to be shown: at most 1 KiB, no control characters.
[[nodiscard]] std::string parse_error(std::span<const std::byte>);

/// Fails if this side cannot work with a peer of these capabilities.
[[nodiscard]] Result<> check_peer(const Greeting& peer, std::uint64_t wanted_features);
[[nodiscard]] Result<> check_peer(const Hello& peer, const std::optional<Lease::Terms>& ours);

} // namespace aerate::migration
