#include "migration/source_engine.hpp"

#include <algorithm>

namespace aerate::migration {

void Source::Engine::publish() {
    progress_.pending = precopy_.layers.pending.count();
    // A last round that fits as it is needs no hints.
    if (throughput_.time_for(progress_.pending) <= options_.downtime_limit || options_.hint_limit.count() == 0) {
        tell(RoundEvent::published);
        return after_hints();
    }
    enter(Phase::hinting);
    asked_ = true;
    guest_.start_hinting({.hinted =
                              [this](PageRange range) {
                                  loop().post([this, range] {
                                      any_hint_ = true;
                                      last_hint_ = Clock::now();
                                      progress_.hinted += precopy_.layers.pending.bits().count(range);
                                      tell(RoundEvent::hinted, range);
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

void Source::Engine::wait_for_hints() {
    waiting_for_hints_ = true;
    any_hint_ = false;
    hints_since_ = last_hint_ = Clock::now();
    hints_for_ = options_.hint_limit;
    if (progress_.round > 1)
        hints_for_ = std::min(hints_for_, throughput_.time_for(progress_.pending));
    hint_timer_ =
        loop().every(std::max(options_.hint_pause / 4, std::chrono::milliseconds(1)), [this] { look_for_hints(); });
}

void Source::Engine::look_for_hints() {
    const auto pause = any_hint_ ? options_.hint_pause : options_.hint_start;
    if (since(hints_since_) >= hints_for_ || since(last_hint_) >= pause)
        after_hints();
}

void Source::Engine::after_hints() {
    waiting_for_hints_ = false;
    hint_timer_.cancel();
    if (precopy_.phase == Precopy::Phase::copying)
        judge();
}

void Source::Engine::close_hints() {
    if (!hinting_)
        return tell(RoundEvent::closed);
    asked_ = true;
    guest_.stop_hinting([this] {
        loop().post([this] {
            hinting_ = false;
            if (answered())
                tell(RoundEvent::closed);
        });
    });
}

} // namespace aerate::migration
