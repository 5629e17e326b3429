// A host with guests for tests: set up in a few words, and moved on tick by tick.
#pragma once

#include "policy/invariants.hpp"

#include <gtest/gtest.h>

#include <string>

namespace aerate::policy::testing {

using namespace literals;

/// A host of 20 GiB with a reserve of 512 MiB: `high` is 1.2 GiB above that, `low` 0.6.
class TestHost {
public:
    Inputs inputs{.host = {.total = 20_GiB, .available = 10_GiB, .reserve = 512_MiB}};
    State state{};

    /// Adds a guest of 4 GiB with a floor of 1 that uses one, has 2 free, all resident, and a GiB of cache.
    Guest& add(const std::string& name) {
        Guest& guest = inputs.guests[{name}];
        guest = {.size = 4_GiB,
                 .floor = 1_GiB,
                 .resident = 4_GiB,
                 .said = Statistics{.free = 2_GiB, .available = 3_GiB, .caches = 1_GiB}};
        return guest;
    }
    Guest& guest(const std::string& name) { return inputs.guests.at({name}); }

    void plenty() { inputs.host.available = 10_GiB; }
    void tight() { inputs.host.available = 512_MiB + 900_MiB; }
    void shortage() { inputs.host.available = 512_MiB + 300_MiB; }
    void critical() { inputs.host.available = 100_MiB; }

    /// Has a second pass, checks that no invariant is broken, and has each balloon's target set.
    Decisions tick(milliseconds time = std::chrono::seconds(1)) {
        inputs.now += time;
        const milliseconds before = state.looked.value_or(inputs.now - std::chrono::seconds(1));
        Decisions decisions = step(state, inputs);
        const auto broken = broken_invariant(state, inputs, decisions, since(before, inputs.now));
        EXPECT_FALSE(broken) << broken->vm.value << ": " << broken->rule;
        for (auto& [name, guest] : inputs.guests)
            guest.target = decisions.guests.at(name).target;
        return decisions;
    }
    /// Does the same, and gives the decision about one guest.
    Decision tick(const std::string& name, milliseconds time = std::chrono::seconds(1)) {
        return tick(time).guests.at({name});
    }
    /// Has a guest's driver carry out what was decided, out of its free memory.
    void obey(const std::string& name) {
        Guest& one = guest(name);
        if (one.target > one.actual) {
            const ByteCount more = one.target - one.actual;
            one.said->free = excess(one.said->free, more);
            one.said->available = excess(one.said->available, more);
            one.resident = excess(one.resident, more);
        } else {
            one.said->free += one.actual - one.target;
            one.said->available += one.actual - one.target;
        }
        one.actual = one.target;
    }
    [[nodiscard]] bool held(const std::string& name) const { return state.guests.at({name}).hold.held(inputs.now); }
};

} // namespace aerate::policy::testing
