// Aerate's law at work in the simulator: the code that the daemon runs.
#pragma once

#include "policy/invariants.hpp"
#include "world.hpp"

#include <array>
#include <functional>
#include <map>

namespace aerate::sim {

class Ours : public Policy {
public:
    /// Sees each tick: to record it.
    using Witness = std::function<void(const policy::Inputs&, const policy::Decisions&)>;
    explicit Ours(Witness witness = {})
        : witness_(std::move(witness)) {}

    [[nodiscard]] double period() const override { return period_; }
    [[nodiscard]] double statistics_period() const override { return period_; }
    void look(World&, double available) override;

    [[nodiscard]] unsigned broken() const { return broken_; }
    [[nodiscard]] const std::string& first_broken() const { return first_broken_; }
    [[nodiscard]] const std::map<policy::Reason, unsigned>& reasons() const { return reasons_; }
    [[nodiscard]] const std::array<unsigned, 4>& levels() const { return levels_; }

private:
    void check(const policy::Inputs&, const policy::Decisions&, policy::milliseconds elapsed);

    Witness witness_;
    policy::State state_{};
    double period_ = 1;
    std::map<policy::Reason, unsigned> reasons_{};
    std::array<unsigned, 4> levels_{};
    unsigned broken_ = 0;
    std::string first_broken_{};
};

} // namespace aerate::sim
