// Fills memory, frees it, fills it again, block by block in random order, while the balloon inflates, reports and
// hints. Every page is written with its own number and verified before it is freed.
#include "page_content.hpp"
#include "random.hpp"
#include "scripts.hpp"

#include <span>
#include <utility>

namespace bubble {
namespace {

using guestkit::Block;
using guestkit::Order;

struct LiveBlock {
    Block block;
    std::uint32_t sequence{};
};

class Churn {
public:
    Churn(const Guest& guest, Transport& transport, BalloonDriver& driver)
        : guest_(guest)
        , transport_(transport)
        , driver_(driver)
        , random_(guest.info.number("bubble.seed", 1))
        , live_(make_table(guest)) {}

    void run() {
        const std::uint64_t limit = guest_.info.number("bubble.seconds", 10);
        Stopwatch watch;
        unsigned seconds = 0;
        bool filling = true;
        while (seconds < limit) {
            // Three steps in one direction to one back, so that blocks split and merge all the time.
            const bool wants_more = filling == (random_.below(4) != 0);
            if (wants_more ? !allocate() : !free())
                filling = !wants_more;
            poll();
            ++operations_;
            if (const unsigned now = watch.seconds(); now != seconds) {
                seconds = now;
                tell("BUBBLE-PROGRESS");
            }
        }
        while (free())
            ;
        tell("BUBBLE-OK");
    }

private:
    static constexpr Order table_order{4};

    static std::span<LiveBlock> make_table(const Guest& guest) {
        const auto frame = guest.allocator.allocate(table_order);
        if (!frame)
            guest.fail("no memory for the table of blocks");
        return {reinterpret_cast<LiveBlock*>(memory(address_of(*frame))),
                bytes_of(guestkit::pages_of(table_order)).value / sizeof(LiveBlock)};
    }

    bool allocate() {
        if (count_ == live_.size())
            return false;
        const Order order{static_cast<unsigned>(random_.below(guestkit::order_count))};
        const auto first = guest_.allocator.allocate(order);
        if (!first) {
            driver_.relieve(guestkit::pages_of(order));
            return false;
        }
        live_[count_] = {{*first, order}, ++sequence_};
        write_pages(guestkit::range_of(live_[count_].block), sequence_);
        ++count_;
        return true;
    }

    bool free() {
        if (count_ == 0)
            return false;
        std::swap(live_[random_.below(count_)], live_[count_ - 1]);
        const LiveBlock& last = live_[--count_];
        if (const auto damage = verify_pages(guestkit::range_of(last.block), last.sequence)) {
            guest_.console.line("BUBBLE-CORRUPT frame=", damage->frame.value, " expected=", Hex{damage->expected},
                                " found=", Hex{damage->found});
            power_off();
        }
        verified_ += guestkit::pages_of(last.block.order);
        guest_.allocator.free(last.block.first);
        return true;
    }

    void poll() {
        if ((transport_.take_interrupts() & virtio::interrupt_reason::config_change) != 0)
            driver_.config_changed();
        driver_.poll();
    }

    void tell(std::string_view what) {
        guest_.console.line(what, " ops=", operations_, " verified=", verified_.value,
                            " reported=", driver_.reporting() ? driver_.reporting()->reported().value : 0,
                            " hinted=", driver_.hinting() ? driver_.hinting()->hinted().value : 0,
                            " inflated=", driver_.inflation().inflated().value,
                            " free=", guest_.allocator.free_pages().value);
    }

    const Guest& guest_;
    Transport& transport_;
    BalloonDriver& driver_;
    Random random_;
    std::span<LiveBlock> live_;
    std::size_t count_ = 0;
    std::uint32_t sequence_ = 0;
    std::uint64_t operations_ = 0;
    PageCount verified_;
};

} // namespace

void churn(const Guest& guest) {
    Transport transport = guest.balloon();
    auto driver = BalloonDriver::start(transport, guest.allocator, guest.make_arena(), guest.balloon_options());
    if (!driver)
        guest.fail("the balloon refused");
    Churn(guest, transport, *driver).run();
}

} // namespace bubble
