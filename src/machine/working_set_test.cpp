#include "base/testing/temporary_directory.hpp"
#include "machine/working_set.hpp"
#include "snapshot/snapshot.hpp"
#include "snapshot/testing/sample.hpp"

#include <gtest/gtest.h>

namespace aerate {
namespace {

using namespace literals;

class WorkingSetOfAGuest : public ::testing::Test {
protected:
    WorkingSetOfAGuest() {
        auto writer = snapshot::Writer::create({.path = place.snapshot_path, .regions = place.regions}).value();
        EXPECT_TRUE(writer.add({{0}, {512}}, snapshot::testing::pages(512, 1)));
        EXPECT_TRUE(std::move(writer).finish("", {}));
        snapshot_.emplace(snapshot::Snapshot::open(place.snapshot_path).value());
        place.identity = snapshot_->identity();
    }
    [[nodiscard]] GuestMemory restore() const {
        return GuestMemory::restore({.regions = place.regions}, snapshot_->pieces()).value();
    }
    static PageBitmap touched_of(const GuestMemory& memory) {
        PageBitmap touched(memory.address_space());
        memory.collect_touched(touched);
        return touched;
    }

    TemporaryDirectory directory;
    snapshot::WorkingSetPlace place{
        .snapshot_path = directory / "a", .identity = {}, .regions = {{{0}, 2_MiB}}, .key = {}};

private:
    std::optional<snapshot::Snapshot> snapshot_;
};

TEST_F(WorkingSetOfAGuest, WhatOneHasTouchedTheNextFindsMappedAndShared) {
    const auto first = restore();
    for (const std::uint64_t frame : {3U, 100U, 400U})
        EXPECT_FALSE(first.is_zero({frame}));
    record_working_set(first, {.place = place, .after = std::chrono::seconds(0)})->join();

    const auto ranges = snapshot::read_working_set(place);
    ASSERT_TRUE(ranges) << ranges.error().message;
    const auto next = restore();
    EXPECT_EQ(touched_of(next).count(), 0_pages);
    prefetch(next, *ranges)->join();
    const PageBitmap touched = touched_of(next);
    for (const std::uint64_t frame : {3U, 100U, 400U})
        EXPECT_TRUE(touched.test({frame})) << frame;
    EXPECT_GE(touched.count(), touched_of(first).count());
    EXPECT_EQ(next.resident(), 0_MiB) << "none is its own";
}

TEST_F(WorkingSetOfAGuest, NeitherThreadOutlivesTheGuest) {
    const auto memory = restore();
    {
        const auto recording = record_working_set(memory, {.place = place, .after = std::chrono::hours(1)});
        ASSERT_TRUE(recording);
        const auto prefetching = prefetch(memory, std::vector<PageRange>(1'000'000, PageRange{{0}, {512}}));
        ASSERT_TRUE(prefetching);
    }
    EXPECT_EQ(directory.files(), 1U) << "a guest that ends early leaves no working set";
}

} // namespace
} // namespace aerate
