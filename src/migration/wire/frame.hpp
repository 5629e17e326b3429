// The frames of the migration stream:
//
//     0        4     5       6          8        12             16         24        40
//     | magic  | kind| stream| reserved | length | header sum   | sequence | session | payload sum | payload
//       4        1     1       2          4        4              8          16        8
//
// Both sums are XXH3-64 (the header's cut to 32 bits, and taken with that field zero): the header's is checked before
// the length is believed, the payload's before a byte of it is looked at. The sequence counts up from 0 on each stream
// and in each direction. The session is zero until the destination has chosen it. Sums find faults, not forgers:
// against those there is tls.hpp.
#pragma once

#include "base/units.hpp"
#include "migration/link/channel.hpp"
#include "migration/wire/session.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace aerate::migration {

enum class FrameKind : std::uint8_t {
    greeting = 1, ///< destination: versions, features, session
    hello,        ///< source: what the VM is
    accept,       ///< destination: memory is there
    round,        ///< source: a round begins; of the last one it says so
    pages,        ///< source
    unneeded,     ///< source: ranges whose content does not matter
    state,        ///< source: a piece of the devices' state
    state_end,    ///< source: that was all; sums
    ready,        ///< destination: it is all here; sums
    go,           ///< source: run
    ack,          ///< destination: it runs
    error,        ///< either: text
    alive,        ///< source: there is nothing to say, but I am here
    join,         ///< source: the first on each further stream
    deltas,       ///< source: how some pages differ from what was last sent of them
    round_end,    ///< source: the last of a round on each further stream
    sum_up,       ///< source: no page will change; sum memory up, as I do now
    attachment,   ///< source, before the first round: a piece of the guest's kernel or initrd
};
inline constexpr unsigned frame_kinds = 19; ///< and 0, which is none

inline constexpr std::uint32_t frame_magic = 0x4d524541; // "AERM"
inline constexpr std::size_t frame_header_size = 48;
inline constexpr std::size_t max_payload = (1U << 20) + (32U << 10);

/// Computes a checksum that the other side computes too.
[[nodiscard]] std::uint64_t checksum(std::span<const std::byte>);

/// Sums of all headers of one direction, in any order: two sides that have the same have seen the same frames.
struct Transcript {
    std::uint64_t value = 0;
    void add(std::span<const std::byte> header) { value += checksum(header); }
    void add(const Transcript& other) { value += other.value; }
    bool operator==(const Transcript&) const = default;
};

/// Builds frames in one buffer and sends them.
class FrameWriter {
public:
    FrameWriter(Channel& channel, std::uint8_t stream, std::chrono::milliseconds limit)
        : channel_(channel)
        , limit_(limit)
        , stream_(stream) {}

    void set_session(const Session& session) { session_ = session; }
    void set_limit(std::chrono::milliseconds limit) { limit_ = limit; }
    /// Returns the payload of the next frame, to append to. REQUIRES: when sent, at most max_payload beyond the header.
    [[nodiscard]] std::vector<std::byte>& begin();
    [[nodiscard]] Result<> send(FrameKind);
    [[nodiscard]] Result<> send(FrameKind, std::span<const std::byte> payload);
    /// Sends a frame that was built elsewhere, with room for the header in front.
    [[nodiscard]] Result<> send_whole(FrameKind, std::span<std::byte> frame);

    [[nodiscard]] const Transcript& transcript() const { return transcript_; }
    [[nodiscard]] ByteCount sent() const { return sent_; }
    [[nodiscard]] std::chrono::nanoseconds waited() const { return channel_.waited(); }

private:
    Channel& channel_;
    std::chrono::milliseconds limit_;
    std::uint8_t stream_;
    Session session_;
    std::uint64_t sequence_ = 0;
    Transcript transcript_;
    ByteCount sent_;
    std::vector<std::byte> buffer_;
};

struct Frame {
    FrameKind kind{};
    std::span<const std::byte> payload; ///< until the next receive()
};

class FrameReader {
public:
    /// Whichever stream the first frame says that it is.
    static constexpr std::uint8_t any_stream = 255;

    FrameReader(Channel& channel, std::uint8_t stream)
        : channel_(channel)
        , stream_(stream) {}

    void set_session(const Session& session) { session_ = session; }
    /// Returns the next frame, if it is sound.
    [[nodiscard]] Result<Frame> receive(std::chrono::milliseconds limit);

    [[nodiscard]] std::uint8_t stream() const { return stream_; }
    [[nodiscard]] const Transcript& transcript() const { return transcript_; }
    [[nodiscard]] ByteCount received() const { return received_; }

private:
    Channel& channel_;
    std::uint8_t stream_;
    Session session_;
    std::uint64_t sequence_ = 0;
    Transcript transcript_;
    ByteCount received_;
    std::vector<std::byte> payload_;
};

[[nodiscard]] std::string_view name_of(FrameKind);

} // namespace aerate::migration
