// Visits every state that a model can reach, breadth first, so that the first bad one comes with its shortest trace.
//
// A Model has
//     State                                     trivially copyable
//     State initial() const
//     Actions actions(state) const              what is possible there
//     Verdict apply(State&, Action) const       carries it out
//     bool finished(state) const                a state in which it is right that nothing more happens
//     when_nothing_is_possible                  the verdict on a state that is not finished and has no action
//     std::uint64_t fingerprint(state) const    equal for states that differ only by the names of pages
#pragma once

#include "prove/fingerprint_table.hpp"
#include "prove/trace.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

namespace aerate::prove {

struct ExplorerLimits {
    FingerprintTable::Index states = std::numeric_limits<FingerprintTable::Index>::max() - 1;
    /// Checks also that from every state something finished can be reached. Costs 8 bytes a transition.
    bool check_progress = false;
    /// Called now and then.
    std::function<void(std::uint64_t states)> progress = {};
};

struct Exploration {
    Verdict verdict = Verdict::safe;
    std::uint64_t states = 0;
    std::uint64_t transitions = 0;
    bool complete = true; ///< false: the limit of states came first
    double omission_probability = 0;
    Trace trace; ///< the shortest that leads to the verdict; empty when safe
};

namespace detail {

struct Step {
    FingerprintTable::Index from;
    FingerprintTable::Index to;
};

/// Returns a state from which no finished state can be reached, or `count` when there is none.
inline FingerprintTable::Index first_stuck(FingerprintTable::Index count, std::vector<Step>& steps,
                                           std::vector<FingerprintTable::Index> finished) {
    std::ranges::sort(steps, {}, &Step::to);
    std::vector<bool> can_finish(count);
    for (const auto state : finished)
        can_finish[state] = true;
    while (!finished.empty()) {
        const auto to = finished.back();
        finished.pop_back();
        for (const Step& step : std::ranges::equal_range(steps, to, {}, &Step::to)) {
            if (!can_finish[step.from]) {
                can_finish[step.from] = true;
                finished.push_back(step.from);
            }
        }
    }
    return static_cast<FingerprintTable::Index>(std::ranges::find(can_finish, false) - can_finish.begin());
}

} // namespace detail

template <typename Model>
Exploration explore(const Model& model, const ExplorerLimits& limits = {}) {
    using State = typename Model::State;
    using Index = FingerprintTable::Index;
    struct Predecessor {
        Index from;
        Action action;
    };

    FingerprintTable seen;
    std::vector<Predecessor> predecessors{{0, {}}};
    std::vector<detail::Step> steps;
    std::vector<Index> finished;
    Exploration result;

    const auto trace_to = [&](Index state) {
        Trace trace;
        for (; state != 0; state = predecessors[state].from)
            trace.push_back(predecessors[state].action);
        std::ranges::reverse(trace);
        return trace;
    };

    std::vector<State> frontier{model.initial()};
    std::vector<State> next;
    seen.insert(model.fingerprint(frontier[0]));
    Index first_of_frontier = 0;
    constexpr std::uint64_t progress_every = 1U << 18;

    while (!frontier.empty() && result.verdict == Verdict::safe && result.complete) {
        const Index first_of_next = seen.count();
        for (std::size_t i = 0; i < frontier.size() && result.verdict == Verdict::safe; ++i) {
            const Index from = first_of_frontier + static_cast<Index>(i);
            const Actions actions = model.actions(frontier[i]);
            for (const Action action : actions) {
                ++result.transitions;
                State state = frontier[i];
                const Verdict verdict = model.apply(state, action);
                const auto [index, is_new] = seen.insert(model.fingerprint(state));
                if (is_new) {
                    predecessors.push_back({from, action});
                    next.push_back(state);
                    if (limits.progress && index % progress_every == 0)
                        limits.progress(index);
                }
                if (limits.check_progress)
                    steps.push_back({from, index});
                if (verdict != Verdict::safe) {
                    result.verdict = verdict;
                    result.trace = trace_to(from);
                    result.trace.push_back(action);
                    break;
                }
            }
            if (model.finished(frontier[i])) {
                finished.push_back(from);
            } else if (actions.empty()) {
                result.verdict = Model::when_nothing_is_possible;
                result.trace = trace_to(from);
            }
        }
        if (seen.count() > limits.states)
            result.complete = false;
        frontier.swap(next);
        next.clear();
        first_of_frontier = first_of_next;
    }
    if (limits.check_progress && result.complete && result.verdict == Verdict::safe) {
        const Index stuck = detail::first_stuck(seen.count(), steps, std::move(finished));
        if (stuck != seen.count()) {
            result.verdict = Verdict::stuck;
            result.trace = trace_to(stuck);
        }
    }
    result.states = seen.count();
    result.omission_probability = seen.omission_probability();
    return result;
}

/// Runs a trace again. The verdict of the first action that has a bad one; nothing when an action is not possible where
/// the trace has it.
template <typename Model, typename Visit>
std::optional<Verdict> replay(const Model& model, const Trace& trace, Visit&& visit) {
    auto state = model.initial();
    for (const Action action : trace) {
        if (!model.actions(state).contains(action))
            return std::nullopt;
        const auto before = state;
        const Verdict verdict = model.apply(state, action);
        visit(before, action, state);
        if (verdict != Verdict::safe)
            return verdict;
    }
    return Verdict::safe;
}

} // namespace aerate::prove
