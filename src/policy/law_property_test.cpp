#include "policy/testing/random_history.hpp"

#include <gtest/gtest.h>

namespace aerate::policy::testing {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool slow = true;
#elif defined(__has_feature)
constexpr bool slow = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool slow = false;
#endif

/// bench/host-policy does the same a million times.
constexpr std::uint64_t histories = slow ? 1000 : 20'000;

TEST(LawProperty, no_history_breaks_an_invariant) {
    std::map<Reason, unsigned> seen;
    unsigned paused = 0;
    for (std::uint64_t seed = 1; seed <= histories; ++seed) {
        RandomHistory history(seed);
        for (int tick = 0; tick < ticks_of_a_history; ++tick) {
            const auto broken = history.tick();
            ASSERT_FALSE(broken) << "seed " << seed << ", tick " << tick << ", " << broken->vm.value << ": "
                                 << broken->rule;
            for (const auto& [name, decision] : history.decisions().guests) {
                ++seen[decision.reason];
                paused += decision.pause ? 1U : 0U;
            }
        }
    }
    for (const ReasonWords& row : reasons)
        EXPECT_GT(seen[row.reason], 0U) << row.name;
    EXPECT_GT(paused, 0U);
}

TEST(LawProperty, the_same_history_gives_the_same_decisions) {
    RandomHistory one(7);
    RandomHistory other(7);
    for (int tick = 0; tick < 100; ++tick) {
        ASSERT_FALSE(one.tick() || other.tick());
        ASSERT_EQ(one.decisions(), other.decisions());
    }
}

} // namespace
} // namespace aerate::policy::testing
