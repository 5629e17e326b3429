// How a driver hints: as Linux does, better, or wrongly. The wrong ones exist to show that a host survives them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace aerate::guestkit {

enum class Behaviour : std::uint8_t {
    hold_until_used,     ///< a hinted block is isolated until the host has used its buffer, and back right after
    stock_linux,         ///< drivers/virtio/virtio_balloon.c: hoards blocks, and the shrinker may not wait for the host
    wait_on_ack,         ///< Linux with the HINT_WAIT_ON_ACK patch: one buffer at a time, each waited for
    reuses_at_once,      ///< a hinted block is free again as soon as it is queued
    writes_after_report, ///< writes into reported blocks that the host has not used yet
    hints_without_id,    ///< no start command
    stale_id,            ///< starts each round with the ID of the round before
};

struct HintPolicy {
    enum class Source : std::uint8_t {
        iterate, ///< each free block once a round, a few isolated at a time
        hoard,   ///< allocate until nothing is left but the reserve
    };
    enum class Return : std::uint8_t { when_used, on_done, at_once };
    enum class Start : std::uint8_t { current_id, previous_id, none };

    Source source = Source::iterate;
    Return give_back = Return::when_used;
    std::uint16_t in_flight = 32; ///< buffers that the device may hold
    bool word_per_command = true; ///< false: every start command points at one word, so an old one shows the newest ID
    Start start = Start::current_id;
    bool reports_are_kept = true; ///< reported blocks stay unwritten until the host has used them
};

inline constexpr std::uint16_t whole_ring = UINT16_MAX;

[[nodiscard]] constexpr HintPolicy policy_of(Behaviour behaviour) {
    using Source = HintPolicy::Source;
    using Return = HintPolicy::Return;
    switch (behaviour) {
    case Behaviour::hold_until_used:
        return {};
    case Behaviour::stock_linux:
        return {
            .source = Source::hoard, .give_back = Return::on_done, .in_flight = whole_ring, .word_per_command = false};
    case Behaviour::wait_on_ack:
        return {.source = Source::hoard, .give_back = Return::on_done, .in_flight = 1, .word_per_command = false};
    case Behaviour::reuses_at_once:
        return {.give_back = Return::at_once, .in_flight = whole_ring};
    case Behaviour::writes_after_report:
        return {.reports_are_kept = false};
    case Behaviour::hints_without_id:
        return {.start = HintPolicy::Start::none};
    case Behaviour::stale_id:
        return {.start = HintPolicy::Start::previous_id};
    }
    return {};
}

struct NamedBehaviour {
    std::string_view name;
    Behaviour behaviour;
};
inline constexpr std::array<NamedBehaviour, 7> behaviours{{
    {"hold-until-used", Behaviour::hold_until_used},
    {"stock-linux", Behaviour::stock_linux},
    {"wait-on-ack", Behaviour::wait_on_ack},
    {"reuses-at-once", Behaviour::reuses_at_once},
    {"writes-after-report", Behaviour::writes_after_report},
    {"hints-without-id", Behaviour::hints_without_id},
    {"stale-id", Behaviour::stale_id},
}};
[[nodiscard]] constexpr std::optional<Behaviour> behaviour_named(std::string_view name) {
    const auto* const found = std::ranges::find(behaviours, name, &NamedBehaviour::name);
    return found == behaviours.end() ? std::nullopt : std::optional(found->behaviour);
}

} // namespace aerate::guestkit
