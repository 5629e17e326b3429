#include "reclaim/sweeper.hpp"

#include "base/check.hpp"
#include "base/since.hpp"

#include <algorithm>
#include <utility>

namespace aerate {
namespace {

using Event = protocol::SweepEvent::Kind;
using Effect = protocol::SweepEffect::Kind;

} // namespace

Sweeper::Sweeper(EventLoop& loop, GuestMemory& memory, DirtyTracker& tracker, balloon::FreePageHinting& hinting,
                 Guest guest, PageCount batch)
    : loop_(loop)
    , memory_(memory)
    , tracker_(tracker)
    , hinting_(hinting)
    , guest_(std::move(guest))
    , batch_(batch) {}

void Sweeper::start(Way way, Done done) {
    CHECK(loop_.owned_here());
    if (done_)
        return done(fail("a sweep is under way already"));
    if (hinting_.tracker().open())
        return done(fail("a round of free page hinting is under way: stop it first"));
    if (auto prepared = prepare(way); !prepared)
        return done(std::unexpected(std::move(prepared).error()));
    done_ = std::move(done);
    sweep_.logs = way == Way::by_log;
    sweep_.limit = sweep_.logs ? batch_ : PageCount{batch_.value / 4};
    sweep_.scans = true;
    report_ = {};
    collected_ = {};
    began_ = may_hold_ = Clock::now();
    tell({Event::start, {}});
}

Result<> Sweeper::prepare(Way way) {
    sweep_ = {};
    for (PageBitmap* set : {&sweep_.log, &sweep_.written, &sweep_.hinted, &sweep_.later, &sweep_.zero, &own_})
        *set = TRY(PageBitmap::create(memory_.address_space()));
    if (way == Way::by_log)
        writes_ = TRY(tracker_.track());
    return {};
}

void Sweeper::held(Result<Clock::time_point> vcpus_rest_since) {
    CHECK(loop_.owned_here());
    if (!hold_asked_ || held_since_)
        return; // a sweep that has ended asked for it
    if (!vcpus_rest_since)
        return end(std::unexpected(std::move(vcpus_rest_since).error()));
    held_since_ = *vcpus_rest_since;
    ++report_.batches;
    tell({Event::held, {}});
}

void Sweeper::cancel(std::string_view why) {
    CHECK(loop_.owned_here());
    if (busy())
        end(fail("{}", why));
}

void Sweeper::hinted(PageRange range) {
    report_.hinted += range.count;
    collected_ += range.count;
    tell({Event::hinted, range});
    if (collected_ >= sweep_.limit)
        tell({Event::batch, {}});
}

void Sweeper::round_ended(RoundEnd how) {
    if (how == RoundEnd::unanswered)
        return end(fail("the guest's virtio_balloon driver does not answer: it may be busy, or have no memory left"));
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
        return hold();
    case Effect::discard:
        return discard();
    case Effect::resume:
        return resume();
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

/// Finds what of the batch is worth reading while the guest runs. What is nobody's costs nothing; what a file, swap or
/// a page fault handler would have to supply first would keep the guest held for as long.
void Sweeper::find_own() {
    own_.clear_all();
    memory_.collect_resident(own_, &sweep_.hinted);
}

void Sweeper::scan() {
    if (sweep_.logs)
        find_own();
    for_each_run(own_, [this](PageRange there) {
        for (FrameNumber frame = there.first; frame < there.end(); ++frame.value) {
            if (!protocol::to_scan(sweep_, frame))
                continue;
            report_.read += PageCount{1};
            if (!memory_.is_zero(frame))
                continue;
            report_.zero += PageCount{1};
            tell({Event::zero, {frame, {1}}});
        }
    });
    tell({Event::scanned, {}});
}

/// Holds the guest for the next batch. However many are left, the guest runs for as long as it was stopped before. The
/// look at the batch counts.
void Sweeper::hold() {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(may_hold_ - Clock::now());
    if (left.count() > 0) {
        breath_ = loop_.after(left, [this] { hold(); });
        return;
    }
    if (!sweep_.logs)
        find_own();
    hold_asked_ = true;
    guest_.hold();
}

void Sweeper::discard() {
    ranges_.clear();
    for_each_run(sweep_.hinted, [this](PageRange run) { ranges_.push_back(run); });
    report_.discarded += memory_.discard(ranges_).discarded;
    tell({Event::discarded, {}});
}

/// Resumes the sweep: the hints that came meanwhile may be a batch.
void Sweeper::resume() {
    if (!sweep_.logs && report_.zero.value < report_.read.value / 2)
        return finish();
    let_go();
    collected_ = sweep_.later.count();
    tell({Event::resumed, {}});
    if (collected_ >= sweep_.limit)
        tell({Event::batch, {}});
}

void Sweeper::finish() {
    report_.duration = since(began_);
    end(report_);
}

/// Ends the sweep. Whatever it was doing, the guest runs and has its pages, and the logs are given up.
void Sweeper::end(Result<SweepReport> result) {
    (void)protocol::step(sweep_, {Event::cancel, {}});
    hinting_.done();
    let_go();
    breath_.cancel();
    writes_ = {};
    if (result)
        result->longest_hold = report_.longest_hold;
    std::exchange(done_, nullptr)(std::move(result));
}

void Sweeper::let_go() {
    if (!std::exchange(hold_asked_, false))
        return;
    guest_.resume();
    if (!held_since_)
        return;
    const auto held_for = since(*std::exchange(held_since_, std::nullopt));
    report_.longest_hold = std::max(report_.longest_hold, held_for);
    may_hold_ = Clock::now() + held_for;
}

} // namespace aerate
