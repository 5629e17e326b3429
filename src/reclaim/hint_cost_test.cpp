// What a hint costs on its way from the ring to its bit: no allocation and no wake-up, however many there are.
#include "balloon/testing/balloon_guest.hpp"
#include "reclaim/sweeper.hpp"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <new>

namespace {

thread_local std::size_t allocations = 0;

} // namespace

// A sanitizer has allocation functions of its own, which cannot be replaced beside it; it tells whoever asks.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define AERATE_SANITIZER_ALLOCATES
#endif
#endif

#ifdef AERATE_SANITIZER_ALLOCATES
#include <sanitizer/allocator_interface.h>

namespace {

[[maybe_unused]] const int hooks_installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t) { ++allocations; }, [](const volatile void*) {});

} // namespace
#else
// Every other operator new comes here in the end, but for those of aligned types, of which there are none on that way.
// NOLINTBEGIN(cppcoreguidelines-no-malloc): this is what it is made of
void* operator new(std::size_t size) {
    ++allocations;
    if (void* const memory = std::malloc(size))
        return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
// NOLINTEND(cppcoreguidelines-no-malloc)
#endif

namespace aerate {
namespace {

using namespace balloon::testing;
using balloon::Queue;

constexpr FrameNumber first = frame_of(GuestAddress{4ULL << 30});

class NoWrites final : public DirtyLog {
public:
    Result<void> start() override { return {}; }
    Result<void> stop() override { return {}; }
    void take(PageBitmap&) override {}
};

TEST(HintCost, ManyAllocateNothingAndWakeNobody) {
    BalloonGuest guest;
    guest.start();
    DirtyTracker tracker(guest.fake.memory(), std::make_unique<NoWrites>());
    Sweeper sweeper(guest.loop, guest.fake.memory(), tracker, guest.balloon.hinting(),
                    {.hold = [] {}, .resume = [] {}});
    std::size_t ended = 0;
    sweeper.start(Sweeper::Way::by_content, [&](const Result<SweepReport>&) { ++ended; });
    ASSERT_TRUE(guest.send(Queue::hinting, {readable(guest.balloon.hinting().tracker().issued.value)}));

    constexpr unsigned hints = 32;
    for (unsigned i = 0; i < hints; ++i) {
        const GuestAddress at = address_of({first.value + 2 * i});
        guest.add(Queue::hinting, {writable_at(at, static_cast<std::uint32_t>(page_size.value))});
    }
    guest.host.interrupts.reserve(16); // the fake's own
    (void)guest.loop.context().poll();
    guest.loop.context().restart();
    const std::size_t before = allocations;
    guest.kick(Queue::hinting);
    EXPECT_EQ(allocations, before);
    EXPECT_EQ(guest.loop.context().poll(), 0U) << "something was posted";
    EXPECT_EQ(guest.balloon.hinting().hinted_this_round(), PageCount{hints});
    EXPECT_EQ(ended, 0U);
    sweeper.cancel("the test is over");
    EXPECT_GT(allocations, before) << "they are counted";
}

} // namespace
} // namespace aerate
