#include "migration/source_engine.hpp"

#include <algorithm>

namespace aerate::migration {

void Source::Engine::publish() {
    look_at_pending();
    // A last round that fits as it is needs no hints.
    if (progress_.expected <= options_.downtime_limit || !options_.hints || !hint_turns_.next(progress_.hinted)) {
        tell(RoundEvent::published);
        return after_hints();
    }
    enter(Phase::hinting);
    asked_ = true;
    guest_.start_hinting({.hinted =
                              [this](PageRange range) {
                                  loop().post([this, range] {
                                      const auto& layers = precopy_.layers;
                                      const PageCount spared =
                                          layers.pending.bits().count_without(layers.absent.bits(), range);
                                      progress_.hinted += spared;
                                      hints_spare_ = spared > PageCount{};
                                      hint_patience_.hinted(Clock::now(), throughput_.time_for(spared));
                                      tell(RoundEvent::hinted, range);
                                      if (waiting_for_hints_ && hint_patience_.until() < hint_alarm_)
                                          look_for_hints();
                                  });
                              },
                          .round_over =
                              [this] {
                                  loop().post([this] {
                                      if (waiting_for_hints_)
                                          after_hints();
                                  });
                              }},
                         [this](bool published) {
                             loop().post([this, published] {
                                 hinting_ = published;
                                 if (!answered())
                                     return;
                                 tell(RoundEvent::published);
                                 published ? wait_for_hints() : after_hints();
                             });
                         });
}

template <typename F>
void Source::Engine::stop_hinting(F then) {
    asked_ = true;
    guest_.stop_hinting([this, then] {
        loop().post([this, then] {
            hinting_ = false;
            if (answered())
                then();
        });
    });
}

void Source::Engine::wait_for_hints() {
    waiting_for_hints_ = true;
    hints_spare_ = false;
    hint_patience_ = HintPatience(Clock::now(), options_.hint_start, options_.hint_pause);
    look_for_hints();
}

void Source::Engine::look_for_hints() {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(hint_patience_.until() - Clock::now());
    if (left.count() <= 0)
        return after_hints();
    hint_alarm_ = hint_patience_.until();
    hint_timer_ = loop().after(left, [this] { look_for_hints(); });
}

void Source::Engine::after_hints() {
    waiting_for_hints_ = false;
    hint_timer_.cancel();
    if (precopy_.phase != Precopy::Phase::copying)
        return;
    if (!hinting_ || hints_spare_)
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
