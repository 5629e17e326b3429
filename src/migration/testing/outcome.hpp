// What must hold of every migration.
#pragma once

#include "migration/testing/wire.hpp"

#include <gtest/gtest.h>

namespace aerate::migration::testing {

/// What must hold however it ended. Returns whether somebody runs.
inline bool expect_sane(const Migration& migration, FakeSource& from, FakeDestination& to, bool has_lease) {
    EXPECT_FALSE(from.running() && to.running) << "two running copies";
    from.stop_writers();
    switch (migration.source.outcome) {
    case Outcome::moved:
        EXPECT_TRUE(to.running);
        EXPECT_EQ(from.gones, 1);
        break;
    case Outcome::stayed:
        EXPECT_TRUE(from.running());
        EXPECT_FALSE(to.running);
        EXPECT_FALSE(migration.source.error.empty());
        EXPECT_EQ(from.wrong(from.memory()), 0U);
        EXPECT_FALSE(from.memory().write_log().active());
        break;
    case Outcome::unknown:
        EXPECT_FALSE(has_lease) << migration.source.error;
        EXPECT_FALSE(from.running());
        EXPECT_EQ(from.run_ons + from.gones, 0);
        EXPECT_EQ(from.wrong(from.memory()), 0U);
        break;
    }
    EXPECT_EQ(to.running, migration.destination.has_value());
    if (to.running)
        EXPECT_EQ(from.wrong(*to.memory()), 0U);
    else
        EXPECT_EQ(to.memory(), nullptr);
    return from.running() || to.running;
}

inline void expect_moved(const Migration& migration, FakeSource& from, FakeDestination& to) {
    EXPECT_EQ(migration.source.outcome, Outcome::moved) << migration.source.error;
    EXPECT_TRUE(migration.destination) << migration.destination.error().message;
    EXPECT_TRUE(to.running);
    EXPECT_EQ(from.gones, 1);
    EXPECT_EQ(from.run_ons, 0);
    from.stop_writers();
    ASSERT_NE(to.memory(), nullptr);
    EXPECT_EQ(from.wrong(*to.memory()), 0U);
}

} // namespace aerate::migration::testing
