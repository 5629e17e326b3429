// What the host's memory policy saw and decided, tick by tick, as lines of JSON: recorded by whoever runs the law, and
// replayed through it to see that the same history gives the same decisions, bit by bit. A history may come from a
// stranger who asks why: reading is bounded, and nothing that it says names anything.
#pragma once

#include "base/error.hpp"
#include "policy/law.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace aerate::control {

struct HostTick {
    policy::Inputs inputs{};
    policy::Decisions decisions{};
    bool operator==(const HostTick&) const = default;
};

inline constexpr std::size_t host_tick_guests_max = 4096;
inline constexpr std::size_t host_tick_length_max = 8U << 20;

/// Returns the first line of a history, without its end, as all lines here.
[[nodiscard]] std::string print_history_header();
/// REQUIRES: there is a decision for each guest.
[[nodiscard]] std::string print_host_tick(const HostTick&);
[[nodiscard]] Result<HostTick> read_host_tick(std::string_view line);

/// Reads a history in pieces of any size, and takes the law through it.
class HostReplay {
public:
    /// Fails if a line is not what a recorder writes; nothing more is accepted then.
    [[nodiscard]] Result<void> feed(std::string_view bytes);
    /// Fails if the history was cut off in a line, or is empty.
    [[nodiscard]] Result<void> finish() const;

    [[nodiscard]] std::uint64_t ticks() const { return ticks_; }
    [[nodiscard]] std::uint64_t different() const { return different_; }
    /// Says where and how the law first decided otherwise than was recorded; empty if it never did.
    [[nodiscard]] const std::string& first_difference() const { return first_difference_; }

private:
    Result<void> read(std::string_view line);
    Result<void> replay(std::string_view line);

    std::string pending_; ///< a line that has not ended
    std::uint64_t lines_ = 0;
    std::uint64_t ticks_ = 0;
    std::uint64_t different_ = 0;
    std::string first_difference_;
    policy::State state_{};
};

} // namespace aerate::control
