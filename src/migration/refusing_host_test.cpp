// S4: the host refuses the n-th thread, descriptor, mapping or piece of memory that either side of a migration asks
// for.
#include "migration/testing/outcome.hpp"

#include <gtest/gtest.h>

namespace aerate::migration {
namespace {

using namespace testing;
using aerate::testing::RefusingHost;

const MemoryLayout spread{{{{0}, {16U << 20}}}, Backing::anonymous};

class RefusedMigration : public ::testing::TestWithParam<std::tuple<unsigned, RefusingHost::For>> {};

INSTANTIATE_TEST_SUITE_P(Host, RefusedMigration,
                         ::testing::Combine(::testing::Values(1U, 3U),
                                            ::testing::Values(RefusingHost::For::once, RefusingHost::For::good)));

TEST_P(RefusedMigration, S4_the_guest_runs_on_one_side_whatever_either_is_refused) {
    const auto [streams, how_long] = GetParam();
    const std::size_t descriptors = aerate::testing::open_descriptors();
    const std::size_t threads = aerate::testing::threads();
    std::uint64_t stayed = 0;
    for (std::uint64_t n = 1;; ++n) {
        SCOPED_TRACE(n);
        ASSERT_LT(n, 500U);
        bool refused = false;
        {
            FakeSource from({.layout = spread, .filled = 500, .hints = true});
            FakeDestination to;
            Migration migration{.source_options = {.max_rounds = 3,
                                                   .stop_anyway = true,
                                                   .verify = true,
                                                   .deadline = 1s,
                                                   .streams = streams},
                                .destination_options = {.deadline = 1s},
                                .refuse = n,
                                .refuse_for = how_long};
            migration.run_streams(from, to);
            refused = migration.refused;
            EXPECT_TRUE(expect_sane(migration, from, to, false)) << "nobody runs the guest";
            EXPECT_NE(migration.source.outcome, Outcome::unknown) << migration.source.error;
            if (!refused) {
                expect_moved(migration, from, to);
            }
            stayed += migration.source.outcome == Outcome::stayed ? 1 : 0;
        }
        EXPECT_TRUE(aerate::testing::descriptors_fall_to(descriptors));
        EXPECT_TRUE(aerate::testing::threads_fall_to(threads));
        if (!refused || HasFailure())
            break;
    }
    EXPECT_GT(stayed, 8U);
}

} // namespace
} // namespace aerate::migration
