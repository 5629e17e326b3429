// The last decisions about one VM, with what they were made from: what "aerate host explain" shows.
#pragma once

#include "host/answers.hpp"

#include <cstddef>
#include <deque>

namespace aerate::hostd {

class DecisionLog {
public:
    static constexpr std::size_t longest = 100;

    /// Adds a decision, or counts one that says and does the same as the last.
    void add(Decision);
    [[nodiscard]] Decisions decisions() const { return {{entries_.begin(), entries_.end()}}; }

private:
    std::deque<Decision> entries_;
};

inline void DecisionLog::add(Decision decision) {
    const auto same = [&](const Decision& before) {
        return before.reason.name == decision.reason.name && before.target == decision.target &&
               before.level == decision.level && before.paused == decision.paused && before.taken == decision.taken &&
               before.given == decision.given;
    };
    decision.last = decision.now;
    if (!entries_.empty() && same(entries_.back())) {
        ++entries_.back().times;
        entries_.back().last = decision.now;
        return;
    }
    if (entries_.size() == longest)
        entries_.pop_front();
    entries_.push_back(std::move(decision));
}

} // namespace aerate::hostd
