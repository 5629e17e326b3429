// The lease in a real etcd, which tests/etcd/run starts: AERATE_ETCD is its address, with NAME in place of the lease's.
#include "etcd/lease.hpp"
#include "migration/testing/lease_rules.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace aerate::etcd {
namespace {

using migration::Session;
using migration::Side;
using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point began) {
    return std::chrono::duration<double, std::milli>(Clock::now() - began).count();
}

struct RealEtcd : ::testing::Test {
    void SetUp() override {
        const char* const given = std::getenv("AERATE_ETCD");
        if (given == nullptr)
            GTEST_SKIP() << "AERATE_ETCD is not set: tests/etcd/run starts an etcd, and sets it";
        where = given;
        where.replace(where.find("NAME"), 4, Session::random().hex());
    }
    [[nodiscard]] migration::testing::OpenLease opener() const {
        return [this] {
            auto lease = open_lease(where);
            EXPECT_TRUE(lease) << lease.error().message;
            const auto terms = (*lease)->terms();
            EXPECT_TRUE(terms) << terms.error().message;
            return std::move(*lease);
        };
    }
    std::string where;
};

TEST_F(RealEtcd, TheFirstClaimOfASessionWinsForEver) {
    migration::testing::expect_that_the_first_claim_wins_for_ever(opener());
}

TEST_F(RealEtcd, WhoSleptThroughALaterMigrationWinsNothing) {
    migration::testing::expect_that_who_slept_through_a_later_move_wins_nothing(opener());
}

TEST_F(RealEtcd, OfManyWhoClaimAtOnceOneWins) {
    migration::testing::expect_that_of_many_at_once_one_wins(opener());
}

/// Claims again and again, as long as AERATE_ETCD_SECONDS says (1): each claim is won, whatever happens to the cluster.
TEST_F(RealEtcd, EveryClaimIsWon) {
    const char* const given = std::getenv("AERATE_ETCD_SECONDS");
    const auto until = Clock::now() + std::chrono::seconds(given == nullptr ? 1 : std::atoi(given));
    const auto lease = opener()();
    std::vector<double> took;
    double longest = 0; // the terms' question too: whichever of the two the cluster's trouble meets
    while (Clock::now() < until) {
        auto began = Clock::now();
        const auto terms = lease->terms();
        ASSERT_TRUE(terms) << terms.error().message;
        longest = std::max(longest, milliseconds_since(began));
        began = Clock::now();
        const auto claimed = lease->claim(*terms, Session::random(), Side::destination);
        ASSERT_TRUE(claimed) << claimed.error().message;
        ASSERT_TRUE(*claimed);
        took.push_back(milliseconds_since(began));
        longest = std::max(longest, took.back());
    }
    std::ranges::sort(took);
    ASSERT_FALSE(took.empty());
    std::printf("claims: median %.1f ms, 99 %% within %.1f ms, longest answer %.0f ms (n=%zu)\n", took[took.size() / 2],
                took[took.size() * 99 / 100], longest, took.size());
}

} // namespace
} // namespace aerate::etcd
