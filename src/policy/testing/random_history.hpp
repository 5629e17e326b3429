// Histories of hosts whose guests lie, are silent, refuse, and whose counters jump: what the law must bear.
#pragma once

#include "policy/invariants.hpp"

#include <random>

namespace aerate::policy::testing {

class RandomHistory {
public:
    explicit RandomHistory(std::uint64_t seed)
        : random_(seed) {
        Host& host = inputs_.host;
        host.total = {one_in(20) ? number() : below(1ULL << 38) + (1U << 30)};
        host.reserve = one_in(10) ? ByteCount{number()} : default_reserve(host.total);
        for (std::uint64_t guests = 1 + below(8); guests > 0; --guests)
            add();
    }

    /// Moves on, and returns what the invariants say of the law's decisions.
    std::optional<Broken> tick() {
        const milliseconds passed = one_in(2) ? milliseconds(1000) : milliseconds(200);
        const milliseconds before = inputs_.now;
        inputs_.now += one_in(100) ? milliseconds(below(1U << 30)) : passed;
        change_host();
        for (auto& [name, guest] : inputs_.guests)
            change(guest);
        if (one_in(50) && inputs_.guests.size() > 1)
            inputs_.guests.erase(inputs_.guests.begin());
        if (one_in(50))
            add();
        const bool first = !state_.looked;
        before_ = inputs_;
        decisions_ = step(state_, inputs_);
        const auto broken =
            broken_invariant(state_, inputs_, decisions_, first ? milliseconds(1000) : inputs_.now - before);
        for (auto& [name, guest] : inputs_.guests)
            guest.target = decisions_.guests.at(name).target;
        return broken;
    }
    /// Returns what the last tick's decisions came from.
    [[nodiscard]] const Inputs& inputs_before() const { return before_; }
    [[nodiscard]] const Decisions& decisions() const { return decisions_; }

private:
    std::uint64_t number() { return random_(); }
    std::uint64_t below(std::uint64_t end) { return number() % end; }
    bool one_in(std::uint64_t many) { return below(many) == 0; }
    ByteCount up_to(ByteCount most) { return {most.value == ~0ULL ? number() : below(most.value + 1)}; }

    void add() {
        Guest guest{.size = {one_in(20) ? number() : (64ULL << 20) + below(1ULL << 34)}};
        guest.floor = one_in(20) ? ByteCount{number()} : up_to(guest.size);
        guest.shares = {one_in(10) ? number() : 1000 * (1 + below(9))};
        inputs_.guests.emplace(VmName{std::string("vm") + std::to_string(next_++)}, guest);
    }
    void change_host() {
        Host& host = inputs_.host;
        host.available = one_in(5) ? ByteCount{} : one_in(2) ? scaled(up_to(host.total), 1, 8) : up_to(host.total);
        host.some = {one_in(5) ? below(2000) : 0};
        host.full = {one_in(10) ? below(2000) : 0};
    }
    void change(Guest& guest) {
        if (one_in(2))
            guest.actual = one_in(2) ? guest.target : up_to(guest.size);
        guest.resident = one_in(20) ? ByteCount{number()} : up_to(guest.size);
        guest.unasked_deflations += one_in(10) ? 1U : 0U;
        guest.stalls = one_in(50) ? number() : guest.stalls + below(2);
        if (one_in(3))
            guest.reread = one_in(10) ? ByteCount{number()} : ByteCount{guest.reread.value + below(500U << 20)};
        if (one_in(10)) {
            guest.said.reset();
        } else {
            const ByteCount most = one_in(10) ? ByteCount{~0ULL} : guest.size;
            guest.said = Statistics{
                .free = up_to(most), .available = up_to(most), .caches = up_to(most), .age = milliseconds(below(6000))};
        }
    }

    std::mt19937_64 random_;
    Inputs inputs_{};
    Inputs before_{};
    State state_{};
    Decisions decisions_{};
    unsigned next_ = 0;
};

inline constexpr int ticks_of_a_history = 20;

} // namespace aerate::policy::testing
