// What the balloon counts. Totals since the device was made; they only grow. Loop thread.
#pragma once

#include "base/units.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/device.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace aerate::balloon {

/// Why a part of a guest's request was not acted upon. The chain is completed all the same (virtio 1.2, 2.7.13): a
/// driver that waits for a buffer which never comes back hangs its guest.
enum class SkipReason : std::uint8_t {
    frame_outside_ram,        ///< B1, B2, B9: pages
    buffer_outside_ram,       ///< the buffer that holds PFNs, statistics or a command
    bad_length,               ///< B4, B10, B17
    oversized,                ///< B4, B17
    wrong_direction,          ///< B10
    no_whole_page,            ///< B9
    page_poison,              ///< B16: reported pages must keep a poison value that is not zero
    hint_without_command,     ///< B11: no current command ID before it, or the round is over
    unknown_command,          ///< B11
    repeated_command,         ///< B11
    over_budget,              ///< B12
    second_statistics_buffer, ///< B17
    last = second_statistics_buffer,
};
inline constexpr std::size_t skip_reasons = static_cast<std::size_t>(SkipReason::last) + 1;

[[nodiscard]] constexpr std::string_view describe(SkipReason reason) {
    constexpr std::array<std::string_view, skip_reasons> names{
        "frame_outside_ram", "buffer_outside_ram", "bad_length",  "oversized",
        "wrong_direction",   "no_whole_page",      "page_poison", "hint_without_command",
        "unknown_command",   "repeated_command",   "over_budget", "second_statistics_buffer",
    };
    return names[static_cast<std::size_t>(reason)];
}

struct Counters {
    PageCount inflated;      ///< pages that entered the balloon
    PageCount deflated;      ///< pages that left it
    PageCount reported;      ///< pages reported and given back to the host
    PageCount hinted;        ///< pages hinted under a current command ID
    PageCount discarded;     ///< pages given back to the host, by inflation and reporting
    PageCount not_discarded; ///< of those asked for: not a whole host page, or the host refused
    std::uint64_t discard_calls{};
    std::uint64_t discard_errors{};
    std::uint64_t hint_rounds{};
    std::uint64_t hint_rounds_cut{};   ///< ended by the host: budget, time, or a malformed command
    std::uint64_t stale_hint_chains{}; ///< in the queue before the command ID was published
    /// `actual` fell below every target that was asked for: the guest takes pages back for itself (out of memory). See
    /// Balloon::since_taken_back().
    std::uint64_t unasked_deflations{};
    PageCount taken_back; ///< pages, by those
    std::uint64_t ring_faults{};
    std::array<std::uint64_t, skip_reasons> skipped{}; ///< by SkipReason: pages for frames, else buffers or chains

    void skip(SkipReason reason, std::uint64_t count = 1) { skipped[static_cast<std::size_t>(reason)] += count; }
    [[nodiscard]] std::uint64_t skips(SkipReason reason) const { return skipped[static_cast<std::size_t>(reason)]; }
    Counters& operator+=(const Counters& other) {
        for (PageCount Counters::* pages :
             {&Counters::inflated, &Counters::deflated, &Counters::reported, &Counters::hinted, &Counters::discarded,
              &Counters::not_discarded, &Counters::taken_back})
            this->*pages += other.*pages;
        for (std::uint64_t Counters::* events :
             {&Counters::discard_calls, &Counters::discard_errors, &Counters::hint_rounds, &Counters::hint_rounds_cut,
              &Counters::stale_hint_chains, &Counters::unasked_deflations, &Counters::ring_faults})
            this->*events += other.*events;
        for (std::size_t reason = 0; reason < skip_reasons; ++reason)
            skipped[reason] += other.skipped[reason];
        return *this;
    }
    void add(const DiscardResult& result) {
        discarded += result.discarded;
        not_discarded += result.skipped;
        discard_calls += result.system_calls;
        discard_errors += result.system_error != 0 ? 1U : 0U;
    }
};

[[nodiscard]] std::vector<virtio::Metric> metrics_of(const Counters&);

} // namespace aerate::balloon
