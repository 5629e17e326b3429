// What a host's policy looks at several times a second: few figures, none of which takes a walk through page tables.
#pragma once

#include "base/units.hpp"
#include "control/memory_policy.hpp"
#include "control/schema.hpp"
#include "control/status.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace aerate::control {

struct Pulse {
    VmState state = VmState::not_started;
    ByteCount size{};
    ByteCount target{};
    ByteCount actual{};
    std::optional<ByteCount> resident{}; ///< of guest memory, at most; nothing: the host does not say
    std::map<std::string, std::uint64_t> statistics{};
    std::optional<std::chrono::milliseconds> statistics_age{}; ///< nothing: there are none
    std::uint64_t unasked_deflations = 0;                      ///< so far: see balloon::Counters
    std::optional<std::chrono::milliseconds> since_taken_back{};
    std::optional<std::chrono::milliseconds> permit{}; ///< what is left of it; nothing: there is none
    std::uint64_t permits_lapsed = 0;
    std::optional<MemoryPolicy> memory_policy{}; ///< the operator's, if there is a word of it
    static constexpr std::string_view object = "pulse";
    static void describe(auto& fields, auto& self) {
        fields("state", Word{self.state, state_words}, mandatory);
        fields("size_bytes", self.size, mandatory);
        fields("target_bytes", self.target);
        fields("actual_bytes", self.actual);
        fields("resident_bytes", self.resident);
        fields("statistics", self.statistics);
        fields("statistics_age_ms", self.statistics_age);
        fields("unasked_deflations", self.unasked_deflations);
        fields("since_taken_back_ms", self.since_taken_back);
        fields("permit_ms", self.permit);
        fields("permits_lapsed", self.permits_lapsed);
        fields("memory_policy", self.memory_policy);
    }
    bool operator==(const Pulse&) const = default;
};

/// RAM as a row of cells, each with the letter of what most of it is.
struct MemoryMap {
    ByteCount cell{};    ///< how much of RAM one is; the last one may be less
    std::string cells{}; ///< see memory_map.hpp in reclaim/
    static constexpr std::string_view object = "memory-map";
    static void describe(auto& fields, auto& self) {
        fields("cell_bytes", self.cell, mandatory);
        fields("cells", self.cells, mandatory);
    }
    bool operator==(const MemoryMap&) const = default;
};

} // namespace aerate::control
