#include "migration/given.hpp"
#include "migration/source_engine.hpp"

namespace aerate::migration {
namespace {

/// At which a destination that was asked to verify reads its memory, at least.
constexpr std::uint64_t slowest_hashing = 256U << 20;

} // namespace

void Source::Engine::save() {
    begin_step(TimelineStep::Kind::saving);
    asked_ = true;
    guest_.save([this](Result<std::vector<std::byte>> saved) {
        loop().post([this, saved = std::move(saved)]() mutable {
            if (answered())
                offer(std::move(saved));
        });
    });
}

void Source::Engine::offer(Result<std::vector<std::byte>> state) {
    if (!state)
        return trouble(std::move(state).error());
    if (state->size() > max_state)
        return trouble({"the devices' state is too large to send", 0});
    state_size_ = state->size();
    if (auto sent = send(*state); !sent)
        return trouble(std::move(sent).error());
    enter(Phase::handing_over);
    begin_step(TimelineStep::Kind::loading);
    tell(HandOff::Event::all_sent);
}

Result<> Source::Engine::send(std::span<const std::byte> state) {
    if (!options_.verify)
        return link_->send_state(state);
    const PageBitmap& unneeded = precopy_.layers.hinted.bits();
    TRY(link_->send_unneeded(unneeded));
    TRY(link_->send_state(state));
    // Meanwhile the destination does the same, and leaves out the same pages: what is unneeded it need not have.
    TRY(link_->send_sum_up());
    const auto root = TRY(memory_root(guest_.memory(), unneeded, [this] {
        keep_alive();
        return !cancelled_ && !error_;
    }));
    if (!root)
        return fail("the migration was cancelled");
    memory_root_ = *root;
    return {};
}

void Source::Engine::tell(HandOff::Event event) {
    const auto effect = protocol::step(hand_off_, event);
    if (!effect)
        return;
    switch (*effect) {
    case HandOff::Effect::send_state:
        return end_state();
    case HandOff::Effect::record_given:
        return record();
    case HandOff::Effect::send_go:
        return send_go();
    case HandOff::Effect::claim:
        return claim();
    case HandOff::Effect::resume:
        return resume();
    case HandOff::Effect::destroy:
        downtime_ = since(frozen_);
        guest_.gone();
        forget_given(record_path_);
        return end(Outcome::moved);
    case HandOff::Effect::ask_operator:
        return end(Outcome::unknown);
    }
}

void Source::Engine::end_state() {
    auto sent = link_->send_state_end(state_size_, streams_->transcript(), memory_root_);
    if (!sent)
        return trouble(std::move(sent).error());
    expected_ = *sent;
    auto patience = options_.deadline;
    if (options_.verify)
        patience += std::chrono::seconds(guest_.memory().size().value / slowest_hashing);
    answer_timer_ =
        loop().after(patience, [this] { trouble({"the destination does not confirm that it has everything", 0}); });
}

void Source::Engine::record() {
    answer_timer_.cancel();
    if (cancelled_)
        return trouble({"the migration was cancelled", 0});
    if (!options_.record_directory.empty()) {
        auto recorded =
            record_given(options_.record_directory, link_->session(), {.guest = options_.guest, .terms = lease_});
        if (!recorded)
            return trouble(std::move(recorded).error());
        record_path_ = *recorded;
    }
    tell(HandOff::Event::recorded);
}

void Source::Engine::send_go() {
    begin_step(TimelineStep::Kind::starting);
    if (auto sent = link_->send_go(); !sent)
        return trouble(std::move(sent).error());
    answer_timer_ = loop().after(options_.deadline,
                                 [this] { trouble({"the destination does not confirm that the guest runs", 0}); });
}

void Source::Engine::claim() {
    const auto won = options_.lease->claim(*lease_, link_->session(), Side::source);
    if (!won) {
        error_ = won.error();
        return end(Outcome::unknown);
    }
    tell(*won ? HandOff::Event::won : HandOff::Event::lost);
}

void Source::Engine::receive() {
    do
        take_answer();
    while (!ended_ && !error_ && link_->holds_more());
}

void Source::Engine::take_answer() {
    const auto frame = link_->receive();
    if (!frame)
        return trouble(frame.error());
    if (frame->kind == FrameKind::error)
        return trouble({"the destination has ended the migration: " + parse_error(frame->payload), 0},
                       HandOff::Event::refused);
    if (frame->kind == FrameKind::ready && hand_off_.phase == HandOff::Phase::offered) {
        const auto sums = parse_sums(frame->payload);
        if (sums && *sums == expected_)
            return tell(HandOff::Event::ready);
        error_ = Error{"the destination's checksums differ from what was sent", 0};
        return tell(HandOff::Event::mismatch);
    }
    if (frame->kind == FrameKind::ack && frame->payload.empty() && hand_off_.phase == HandOff::Phase::given)
        return tell(HandOff::Event::ack);
    trouble({fmt::format("the destination sent {} unexpectedly", name_of(frame->kind)), 0});
}

} // namespace aerate::migration
