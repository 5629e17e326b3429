#include "policy/hold.hpp"

namespace aerate::policy {

void Hold::fail(milliseconds now) {
    if (!held(now) || length_ == milliseconds{})
        length_ = std::clamp(length_ * 2, hold_min, hold_max);
    until_ = now + length_;
    asked_.reset();
}

void Hold::ask(milliseconds now) {
    if (!asked_)
        asked_ = now;
}

void Hold::look(milliseconds now) {
    if (asked_ && since(*asked_, now) >= std::max(length_, hold_min))
        length_ = {};
}

} // namespace aerate::policy
