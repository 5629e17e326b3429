// What holds for every kind of lease, whoever keeps it. `open` opens the same lease each time, as another process
// would.
#pragma once

#include "migration/lease.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace aerate::migration::testing {

using OpenLease = std::function<std::unique_ptr<Lease>()>;

inline void expect_that_the_first_claim_wins_for_ever(const OpenLease& open) {
    const auto source = open();
    const auto destination = open();
    const auto terms = *source->terms();
    EXPECT_EQ(terms, *destination->terms());
    const Session session = Session::random();
    EXPECT_TRUE(*destination->claim(terms, session, Side::destination));
    EXPECT_FALSE(*source->claim(terms, session, Side::source));
    EXPECT_TRUE(*destination->claim(terms, session, Side::destination)) << "asked again, it has it";
    EXPECT_TRUE(*open()->claim(terms, session, Side::destination)) << "so does its next process";
    EXPECT_EQ(source->terms()->epoch, terms.epoch + 1);
}

inline void expect_that_who_slept_through_a_later_move_wins_nothing(const OpenLease& open) {
    const auto lease = open();
    const auto old_terms = *lease->terms();
    const Session old = Session::random();
    EXPECT_TRUE(*lease->claim(old_terms, old, Side::destination));
    EXPECT_TRUE(*lease->claim(*lease->terms(), Session::random(), Side::destination));
    EXPECT_FALSE(*lease->claim(old_terms, old, Side::source));
    EXPECT_FALSE(*lease->claim(old_terms, old, Side::destination));
}

inline void expect_that_of_many_at_once_one_wins(const OpenLease& open) {
    const auto terms = *open()->terms();
    std::atomic<int> winners{0};
    {
        std::vector<std::jthread> threads;
        for (int i = 0; i < 8; ++i)
            threads.emplace_back([&] {
                if (open()->claim(terms, Session::random(), Side::source).value_or(false))
                    ++winners;
            });
    }
    EXPECT_EQ(winners, 1);
}

} // namespace aerate::migration::testing
