#include "migration/wire/compression_choice.hpp"

#include <algorithm>
#include <utility>

namespace aerate::migration {
namespace {

// A heavier form must save this much of the time, and is left for a lighter one that costs hardly more: between the two
// the choice stands, and processor time that would save nothing is left to the guest.
constexpr double worth_more_work = 0.95;
constexpr double worth_less_work = 1.02;

} // namespace

void CompressionChoice::Typical::add(double value) {
    last_[count_++ % last_.size()] = value;
}

double CompressionChoice::Typical::value() const {
    if (count_ == 0)
        return 0;
    auto sorted = last_;
    const std::size_t known = std::min(count_, sorted.size());
    const std::size_t middle = (known - 1) / 2;
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(middle),
                     sorted.begin() + static_cast<std::ptrdiff_t>(known));
    return sorted[middle];
}

CompressionChoice::CompressionChoice(const std::vector<CompressionSetting>& forms) {
    forms_.push_back({.setting = {}, .tried = true});
    for (const CompressionSetting& setting : forms)
        forms_.push_back({.setting = setting});
}

double CompressionChoice::cost(const Form& form) const {
    return std::max(handling_.value() + form.compressing.value(), (1 - form.saved) * link_);
}

/// However well it compresses: it takes no less time than the heaviest of the lighter ones that were tried. What it
/// took itself does not count: that may have been a bad moment.
double CompressionChoice::least_cost(std::size_t form) const {
    double compressing = 0;
    for (std::size_t i = 0; i < form; ++i)
        if (forms_[i].tried)
            compressing = std::max(compressing, forms_[i].compressing.value());
    return handling_.value() + compressing;
}

/// Decides whether to try: a try may win something, and costs no more than a hundredth of the time; the first few a
/// tenth.
bool CompressionChoice::is_due(std::size_t number) const {
    constexpr double seldom = 100;
    constexpr double often = 10;
    constexpr unsigned frames_between = 16;
    constexpr double frame = 256U << 10;
    const Form& form = forms_[number];
    const double now = cost(forms_[in_use_]);
    const double least = least_cost(number);
    if (number == in_use_ || least >= worth_more_work * now)
        return false;
    const double waited = form.since_tried.count();
    const double extra = form.tried ? std::max(form.compressing.value(), cost(form) - now) : 0;
    const double price = std::max(least - handling_.value(), extra) * frame;
    if (!form.compressing.steady())
        return waited >= often * price;
    return frames_since_try_ >= frames_between && waited >= seldom * price;
}

CompressionSetting CompressionChoice::next() {
    next_ = in_use_;
    for (std::size_t number = 1; number < forms_.size(); ++number)
        if (is_due(number) && (next_ == in_use_ || forms_[number].since_tried > forms_[next_].since_tried))
            next_ = number;
    frames_since_try_ = next_ == in_use_ ? frames_since_try_ + 1 : 0;
    return forms_[next_].setting;
}

void CompressionChoice::sent(const Sent& frame, const LinkRate& link, Duration elapsed) {
    link_ = link.per_byte();
    for (Form& form : forms_)
        form.since_tried += elapsed;
    if (frame.content.value > 0) {
        const auto content = static_cast<double>(frame.content.value);
        handling_.add(frame.handling.count() / content);
        if (next_ > 0)
            learn(forms_[next_], frame.compressing.count() / content,
                  1 - static_cast<double>(frame.stored.value) / content);
    }
    choose();
}

void CompressionChoice::learn(Form& form, double compressing, double saved) {
    constexpr double weight = 0.2;
    constexpr double little = 0.01; // so that what was nothing can become something
    form.compressing.add(compressing);
    form.since_tried = {};
    const double before = std::exchange(form.saved, form.tried ? (1 - weight) * form.saved + weight * saved : saved);
    // Content that has become harder for one has become harder for all.
    if (std::exchange(form.tried, true))
        for (Form& other : forms_)
            if (&other != &form && &other != &forms_.front())
                other.saved =
                    std::clamp((other.saved + little) * (form.saved + little) / (before + little) - little, 0.0, 1.0);
}

/// Chooses the lightest of those that are about as good as the best; a heavier one than now only when it pays.
void CompressionChoice::choose() {
    double least = cost(forms_[in_use_]);
    for (const Form& form : forms_)
        if (form.tried)
            least = std::min(least, cost(form));
    const auto found = std::ranges::find_if(
        forms_, [&](const Form& form) { return form.tried && cost(form) <= worth_less_work * least; });
    const auto best = static_cast<std::size_t>(found - forms_.begin());
    if (best < in_use_ || (best < forms_.size() && cost(*found) < worth_more_work * cost(forms_[in_use_])))
        in_use_ = best;
}

} // namespace aerate::migration
