#include "kvm/dirty_bitmap.hpp"
#include "kvm/testing/dirty_methods.hpp"

namespace aerate {
namespace {

using namespace literals;
using testing::let_it_write_once;
using testing::TinyGuest;
using testing::writes_to;

struct EveryDirtyBitmap : testing::EveryDirtyMethod {};

INSTANTIATE_TEST_SUITE_P(All, EveryDirtyBitmap,
                         ::testing::Values(DirtyMethod::eager_bitmap, DirtyMethod::manual_bitmap,
                                           DirtyMethod::manual_bitmap_sliced),
                         testing::name_of_method);

// A log costs by the size of its slot, so none is kept where nothing is; nor may anything that comes there be missed.
TEST_P(EveryDirtyBitmap, HasTheFirstWritesToASlotThatWasEmpty) {
    auto guest = make(writes_to({0x400000, 0x401000, 0x402000, 0x402000}), 1, {TinyGuest::region, {{0x400000}, 2_MiB}});
    ASSERT_TRUE(guest);
    guest->memory.use_huge_pages(HugePages::refused, every_page); // or one write would populate 2 MiB
    const auto is_logged = [&] { return guest->vm.slots().back().logging == DirtyLogging::on; };
    const auto log = make_dirty_log(guest->vm, guest->memory);
    for (int life = 0; life < 2; ++life) {
        ASSERT_TRUE(log->start());
        PageBitmap taken(guest->memory.address_space());
        log->take(taken);
        EXPECT_EQ(taken.count(), 0_pages);
        // Before Linux 6.7 nobody looks whether a slot is empty: the log is cheaper.
        EXPECT_EQ(is_logged(), life > 0 || !guest->memory.passes_over_holes());

        let_it_write_once(*guest);
        let_it_write_once(*guest);
        log->take(taken);
        EXPECT_EQ(taken.test({0x400}), life == 0);
        EXPECT_EQ(taken.test({0x401}), life == 0);
        EXPECT_EQ(taken.test({0x402}), life > 0);
        EXPECT_TRUE(is_logged());
        taken.clear_all();
        log->take(taken);
        EXPECT_EQ(taken.count(), 0_pages) << "what was taken is forgotten";
        ASSERT_TRUE(log->stop());
        EXPECT_FALSE(is_logged());
    }
}

} // namespace
} // namespace aerate
