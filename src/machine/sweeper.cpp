#include "machine/sweeper.hpp"

#include "base/since.hpp"

#include <algorithm>
#include <utility>

namespace aerate {
namespace {

using Event = protocol::SweepEvent::Kind;
using Effect = protocol::SweepEffect::Kind;
using Phase = protocol::Sweep<PageBitmap>::Phase;

} // namespace

Sweeper::Sweeper(EventLoop& loop, GuestMemory& memory, DirtyTracker& tracker, balloon::FreePageHinting& hinting,
                 Guest guest)
    : loop_(loop)
    , memory_(memory)
    , tracker_(tracker)
    , hinting_(hinting)
    , guest_(std::move(guest)) {}

void Sweeper::start(Done done) {
    if (done_)
        return done(fail("a sweep is under way already"));
    if (hinting_.tracker().open())
        return done(fail("a round of free page hinting is under way: stop it first"));
    auto writes = tracker_.track();
    if (!writes)
        return done(std::unexpected(std::move(writes).error()));
    writes_ = *std::move(writes);
    done_ = std::move(done);
    sweep_ = {};
    for (PageBitmap* set : {&sweep_.log, &sweep_.written, &sweep_.hinted, &sweep_.later, &sweep_.zero})
        *set = PageBitmap(memory_.address_space());
    sweep_.limit = batch;
    sweep_.scans = true;
    report_ = {};
    collected_ = {};
    began_ = Clock::now();
    tell({Event::start, {}});
}

void Sweeper::held(Clock::time_point vcpus_rest_since) {
    held_since_ = vcpus_rest_since;
    ++report_.batches;
    tell({Event::held, {}});
}

void Sweeper::hinted(PageRange range) {
    report_.hinted += range.count;
    collected_ += range.count;
    tell({Event::hinted, range});
    if (collected_ >= sweep_.limit)
        tell({Event::batch, {}});
}

void Sweeper::round_ended(RoundEnd how) {
    report_.cut = how == RoundEnd::cut;
    tell({Event::round_over, {}});
}

/// Carries out what the event leads to, and what that leads to, as far as it can be done at once.
void Sweeper::tell(const protocol::SweepEvent& event) {
    const auto effect = protocol::step(sweep_, event);
    if (!effect)
        return;
    switch (effect->kind) {
    case Effect::gather:
        return gather();
    case Effect::publish:
        return publish();
    case Effect::scan:
        return scan();
    case Effect::hold:
        return guest_.hold();
    case Effect::discard:
        return discard();
    case Effect::resume:
        return resume_guest();
    case Effect::finish:
        return finish();
    }
}

/// Devices that hold buffers are no concern here: when it matters, all of them are at rest.
void Sweeper::gather() {
    writes_.gather(sweep_.log);
    tell({Event::gathered, {}});
}

void Sweeper::publish() {
    if (hinting_.start(*this).value == 0)
        return end(fail("the guest does not take part in hinting: its virtio_balloon driver is not loaded, or did not "
                        "accept the feature"));
    tell({Event::published, {}});
}

void Sweeper::scan() {
    for_each_run(sweep_.hinted, [this](PageRange run) {
        for (FrameNumber frame = run.first; frame < run.end(); ++frame.value)
            if (sweep_.written.test(frame) && memory_.is_zero(frame))
                tell({Event::zero, {frame, {1}}});
    });
    tell({Event::scanned, {}});
}

void Sweeper::discard() {
    ranges_.clear();
    for_each_run(sweep_.hinted, [this](PageRange run) { ranges_.push_back(run); });
    report_.discarded += memory_.discard(ranges_).discarded;
    tell({Event::discarded, {}});
}

/// However many batches are left, the guest runs for as long as it stood still.
void Sweeper::resume_guest() {
    const auto held_for = since(held_since_);
    report_.longest_hold = std::max(report_.longest_hold, held_for);
    guest_.resume();
    if (sweep_.phase == Phase::resuming)
        next_batch_ = loop_.after(std::chrono::ceil<std::chrono::milliseconds>(held_for), [this] { resumed(); });
}

void Sweeper::resumed() {
    collected_ = sweep_.later.count();
    tell({Event::resumed, {}});
    if (collected_ >= sweep_.limit)
        tell({Event::batch, {}});
}

void Sweeper::finish() {
    hinting_.done();
    resume_guest();
    report_.duration = since(began_);
    end(report_);
}

void Sweeper::end(Result<SweepReport> result) {
    writes_ = {};
    sweep_.phase = Phase::finished;
    next_batch_.cancel();
    std::exchange(done_, nullptr)(std::move(result));
}

} // namespace aerate
