#include "migration/source_engine.hpp"

namespace aerate::migration {

void Source::Engine::publish() {
    look_at_pending();
    // A last round that fits as it is needs no hints.
    if (convergence().fits(throughput_, progress_.pending) || !options_.hints || !hint_turns_.next(progress_.hinted)) {
        tell(RoundEvent::published);
        return after_hints();
    }
    enter(Phase::hinting);
    begin_step(TimelineStep::Kind::hinting);
    asked_ = true;
    hints_.ask([this](bool published) {
        hinting_ = published;
        if (!answered())
            return;
        tell(RoundEvent::published);
        published ? hints_.wait() : after_hints();
    });
}

HintPatience::Duration Source::Engine::use_hint(PageRange range) {
    const PageCount spared = precopy_.layers.pending.bits().count(range);
    progress_.hinted += spared;
    tell(RoundEvent::hinted, range);
    return throughput_.time_for(spared);
}

template <typename F>
void Source::Engine::stop_hinting(F then) {
    asked_ = true;
    hints_.close([this, then] {
        hinting_ = false;
        if (answered())
            then();
    });
}

void Source::Engine::after_hints() {
    if (precopy_.phase != Precopy::Phase::copying)
        return;
    if (!hinting_ || hints_.spare())
        return judge();
    // Whatever the guest hints costs its host memory: Linux clears each block (init_on_alloc) that it takes to hint it.
    stop_hinting([this] { judge(); });
}

void Source::Engine::close_hints() {
    if (!hinting_)
        return tell(RoundEvent::closed);
    stop_hinting([this] { tell(RoundEvent::closed); });
}

} // namespace aerate::migration
