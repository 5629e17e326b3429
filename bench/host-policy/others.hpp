// What others do, as far as it can be read: laws to compare with.
#pragma once

#include "world.hpp"

#include <memory>

namespace aerate::sim {

/// Balloons stay as they are.
class NoPolicy : public Policy {
public:
    [[nodiscard]] double period() const override { return 1e9; }
    void look(World&, double) override {}
};

/// Returns the guests that a host takes which gives each all of its memory at its start. The others are refused.
[[nodiscard]] std::vector<Guest> partition(const std::vector<Guest>&, double total);
/// Returns the smallest host that takes all of them so.
[[nodiscard]] double partition_size(const std::vector<Guest>&);

/// oVirt MOM's doc/balloon.rules, with the floor as it was mended: max(balloon_min, …).
class Mom : public Policy {
public:
    [[nodiscard]] double period() const override { return 10; }
    [[nodiscard]] double statistics_period() const override { return 5; }
    void look(World&, double available) override;
};

/// ESX by Waldspurger, "Memory Resource Management in VMware ESX Server", OSDI 2002: shares, and a tax of 75 % on idle
/// memory; the balloon takes 65 % at most. What a guest is active in, which ESX samples, it is told here as it is.
class Esx : public Policy {
public:
    [[nodiscard]] double period() const override { return 1; }
    void look(World&, double available) override;

private:
    void take(World&, double wanted);
    void give(World&, double can);
    [[nodiscard]] double worth(const Guest&, std::size_t number) const;

    std::vector<double> active_;
};

} // namespace aerate::sim
