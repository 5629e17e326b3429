#include "migration/copy_hints.hpp"

#include "base/check.hpp"
#include "base/log.hpp"

#include <utility>

namespace aerate::migration {

void CopyHints::ask(std::move_only_function<void(bool)> published) {
    CHECK(loop_.owned_here());
    if (!inbox_) {
        auto made = HintInbox::create(guest_.memory().address_space());
        if (!made) {
            log::warning("what the guest has free is copied too: {}", made.error().message);
            return loop_.post([published = std::move(published)]() mutable { published(false); });
        }
        inbox_ = *std::move(made);
    }
    guest_.start_hinting({.hinted = inbox_.get(),
                          .round_over =
                              [this, round = ++round_] {
                                  loop_.post([this, round] {
                                      if (waiting_ && round == round_)
                                          end_wait();
                                  });
                              }},
                         [this, published = std::move(published)](bool takes_part) mutable {
                             loop_.post(
                                 [published = std::move(published), takes_part]() mutable { published(takes_part); });
                         });
}

void CopyHints::wait() {
    CHECK(loop_.owned_here());
    waiting_ = true;
    spare_ = false;
    patience_ = HintPatience(Clock::now(), first_, next_);
    look();
}

void CopyHints::stop_waiting() {
    waiting_ = false;
    alarm_.cancel();
}

void CopyHints::take() {
    CHECK(loop_.owned_here());
    if (!inbox_)
        return;
    bool came = false;
    bool spare = false;
    inbox_->take([&](PageRange range) {
        const Duration worth = user_.use(range);
        patience_.hinted(Clock::now(), worth);
        came = true;
        spare = spare || worth > Duration{};
    });
    if (came)
        spare_ = spare;
}

void CopyHints::look() {
    take();
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(patience_.until() - Clock::now());
    if (left.count() <= 0)
        return end_wait();
    alarm_ = loop_.after(left, [this] { look(); });
}

void CopyHints::end_wait() {
    take();
    stop_waiting();
    user_.waited();
}

void CopyHints::close(std::move_only_function<void()> closed) {
    CHECK(loop_.owned_here());
    stop_waiting();
    if (!inbox_) // nothing was asked, and a round that is open is somebody else's
        return loop_.post(std::move(closed));
    guest_.stop_hinting([this, closed = std::move(closed)]() mutable {
        loop_.post([this, closed = std::move(closed)]() mutable {
            take();
            closed();
        });
    });
}

} // namespace aerate::migration
