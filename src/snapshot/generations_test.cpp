// Memory to file to memory, again and again. What a restored guest has not touched is still its memory: taking it for
// zeros loses a little more of the guest each time.
#include "base/testing/temporary_directory.hpp"
#include "memory/guest_memory.hpp"
#include "snapshot/testing/sample.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace aerate::snapshot {
namespace {

using namespace literals;

const std::vector<MemoryRegion> regions{{{0}, 4_MiB}, {{(4_MiB).value}, 2_MiB}, {{(16_MiB).value}, 2_MiB}};
constexpr PageCount address_space = whole_pages_of(18_MiB);

/// Writes what may hold something, as a machine would.
Result<Digest> write(GuestMemory& memory, const PageBitmap& pages, Writer::Options options) {
    auto writer = TRY(Writer::create(std::move(options)));
    for (const MappedRegion& region : memory.regions()) {
        const PageRange frames = frames_of(region.guest);
        for (PageRange run = pages.next_run(frames.first); run.count > 0_pages && run.first < frames.end();
             run = pages.next_run(run.end())) {
            run = intersection(run, frames);
            TRY(writer.add(run, *memory.span(address_of(run.first), bytes_of(run.count))));
        }
    }
    return std::move(writer).finish({}, {});
}

testing::Bytes all_of(const GuestMemory& memory) {
    testing::Bytes bytes(bytes_of(address_space).value);
    for (const MappedRegion& region : memory.regions())
        EXPECT_TRUE(memory.read(region.guest.start,
                                std::span(bytes).subspan(region.guest.start.value, region.guest.length.value)));
    return bytes;
}

/// What a guest does between two snapshots: touches some pages, writes some, gives some back.
void live(GuestMemory& memory, std::minstd_rand& random) {
    for (int i = 0; i < 150; ++i) {
        const FrameNumber frame{random() % 1500};
        switch (random() % 3) {
        case 0:
            static_cast<void>(memory.is_zero(frame));
            break;
        case 1:
            EXPECT_TRUE(memory.fill(address_of(frame), {1 + random() % 9000}, static_cast<std::byte>(random())));
            break;
        default:
            memory.discard(std::array{PageRange{frame, {1 + random() % 10}}, PageRange{{4096}, {3}}});
        }
    }
    EXPECT_TRUE(memory.fill(address_of({4096 + random() % 512}), {3}, std::byte{9}));
}

class Generations : public ::testing::TestWithParam<Backing> {};

TEST_P(Generations, AFullSnapshotOfARestoredGuestIsWhole) {
    const TemporaryDirectory directory;
    std::minstd_rand random(5);
    std::optional<GuestMemory> memory = GuestMemory::create({.regions = regions, .backing = GetParam()}).value();
    for (int generation = 0; generation < 4; ++generation) {
        live(*memory, random);
        PageBitmap populated(address_space);
        memory->collect_populated(populated);
        const std::string path = directory / std::to_string(generation);
        const auto written = write(*memory, populated, {.path = path, .regions = regions});
        ASSERT_TRUE(written) << written.error().message;

        const auto snapshot = Snapshot::open(path);
        ASSERT_TRUE(snapshot) << snapshot.error().message;
        auto restored =
            GuestMemory::restore({.regions = snapshot->regions(), .backing = GetParam()}, snapshot->pieces());
        ASSERT_TRUE(restored) << restored.error().message;
        if (GetParam() == Backing::anonymous) {
            EXPECT_EQ(restored->resident(), 0_MiB);
        }
        EXPECT_TRUE(all_of(*restored) == all_of(*memory)) << generation;
        EXPECT_TRUE(snapshot->verify_memory());
        // The next generation begins with pages that nobody has touched.
        memory =
            GuestMemory::restore({.regions = snapshot->regions(), .backing = GetParam()}, snapshot->pieces()).value();
    }
}

// A page that was discarded and then only read is zero in the next diff, not what the parent has (e2b 2541).
TEST_P(Generations, ADiffHoldsWhatWasWrittenAndWhatWasDiscarded) {
    const TemporaryDirectory directory;
    std::minstd_rand random(11);
    std::optional<GuestMemory> memory = GuestMemory::create({.regions = regions, .backing = GetParam()}).value();
    live(*memory, random);
    PageBitmap everything(address_space);
    everything.set({{0}, address_space});
    ASSERT_TRUE(write(*memory, everything, {.path = directory / "0", .regions = regions}));
    for (int generation = 1; generation < 4; ++generation) {
        const auto parent = Snapshot::open(directory / std::to_string(generation - 1));
        ASSERT_TRUE(parent) << parent.error().message;
        memory = GuestMemory::restore({.regions = regions, .backing = GetParam()}, parent->pieces()).value();
        memory->write_log().start();
        live(*memory, random);
        PageBitmap dirty(address_space);
        memory->write_log().take(dirty);
        const std::string path = directory / std::to_string(generation);
        const auto written = write(*memory, dirty, {.path = path, .regions = regions, .parent = parent->as_parent()});
        ASSERT_TRUE(written) << written.error().message;

        const auto snapshot = Snapshot::open(path);
        ASSERT_TRUE(snapshot) << snapshot.error().message;
        EXPECT_EQ(snapshot->chain_length(), static_cast<std::size_t>(generation) + 1);
        const auto restored = GuestMemory::restore({.regions = regions, .backing = GetParam()}, snapshot->pieces());
        ASSERT_TRUE(restored) << restored.error().message;
        EXPECT_TRUE(all_of(*restored) == all_of(*memory)) << generation;
        EXPECT_TRUE(snapshot->verify_memory());
    }
}

INSTANTIATE_TEST_SUITE_P(Snapshot, Generations, ::testing::Values(Backing::anonymous, Backing::memfd),
                         [](const auto& instance) {
                             return instance.param == Backing::anonymous ? "Anonymous" : "Memfd";
                         });

} // namespace
} // namespace aerate::snapshot
