// Which states are one.
#include "prove/fingerprint_table.hpp"
#include "prove/hint_model.hpp"

#include <algorithm>
#include <array>

namespace aerate::prove {
namespace {

using State = HintModel::State;
using Chain = HintModel::Chain;

} // namespace

/// Equal states go on equally. What is left out (unless setting().reduce is off), and why that is right:
///   - the order of the pages: a page is what is known of it, its places in the queue included, and keys are sorted;
///   - what stands in chains that are stale already, or that will be before the next hint counts: nobody looks at it
///     (a driver that holds its blocks does: whether they are used);
///   - with Linux, whether a free block is held: it may be taken back at any time;
///   - numbers of commands where only their being equal matters.
std::uint64_t HintModel::fingerprint(const State& state) const {
    const bool exact = !setting_.reduce || setting_.fault != Fault::none;
    const auto counts = [&](unsigned at) {
        return exact || holds() || (state.tracker.open() && at >= state.tracker.stale_chains);
    };
    const auto& layers = state.precopy.layers;
    std::array<std::uint64_t, max_pages> keys{};
    for (unsigned page = 0; page < setting_.pages; ++page) {
        std::uint64_t key = 0;
        const auto bit = [&key](bool value) { key = key << 1 | (value ? 1U : 0U); };
        bit((holds() || exact) && state.held.has(page));
        bit((setting_.use == Use::skip_unwritten || setting_.verifies || !setting_.reduce) && layers.hinted.has(page));
        for (const SmallPages& set :
             {state.live,         state.data,        state.in_flight,  state.landed,    state.dirty,
              state.got,          state.guarded,     state.behind,     state.written,   state.decided,
              state.ever_hinted,  layers.log,        layers.pending,   state.sweep.log, state.sweep.written,
              state.sweep.hinted, state.sweep.later, state.sweep.zero, state.looked_at, state.zero,
              state.touched,      state.owed})
            bit(set.has(page));
        for (unsigned at = 0; at < state.queued; ++at)
            bit(counts(at) && state.queue[at].kind == Chain::Kind::hint && state.queue[at].value == page);
        keys[page] = key;
    }
    if (setting_.reduce)
        std::ranges::make_heap(keys), std::ranges::sort_heap(keys); // g++ 12 warns of std::sort on so few

    std::uint64_t shared = 0;
    const auto field = [&shared](unsigned bits, std::uint64_t value) { shared = shared << bits | value; };
    bool word_is_queued = false;
    for (unsigned at = 0; at < state.queued; ++at) {
        const Chain& chain = state.queue[at];
        const bool is_shared = chain.kind == Chain::Kind::shared_marker;
        word_is_queued = word_is_queued || (is_shared && counts(at));
        field(4, !counts(at) || chain.kind == Chain::Kind::hint ? 0U : is_shared ? 15U : 1U + chain.value);
    }
    const bool can_begin = state.seen > protocol::command_done && state.seen != state.active;
    field(3, state.queued);
    field(1, state.hinting ? 1 : 0);
    field(1, state.starting ? 1 : 0);
    field(1, can_begin ? 1 : 0);
    if (shares_word() && !exact) {
        field(1, state.seen == state.tracker.config_value() ? 1 : 0);
        field(1, state.active == state.tracker.config_value() ? 1 : 0);
    } else {
        field(3, state.seen);
        field(3, state.active);
    }
    field(3, word_is_queued || exact ? state.word : 0U);
    field(2, static_cast<unsigned>(state.tracker.phase));
    field(3, state.tracker.stale_chains);
    field(1, state.frozen ? 1 : 0);
    field(4, state.effect & 15U);
    field(3, state.published);
    field(4, static_cast<unsigned>(state.precopy.phase));
    field(1, state.precopy.finishing ? 1 : 0);
    field(4, static_cast<unsigned>(state.sweep.phase));
    field(1, state.sweep.round_over ? 1 : 0);

    Fingerprint fingerprint;
    fingerprint.mix(keys[0] | keys[1] << 32);
    fingerprint.mix(keys[2] | keys[3] << 32);
    fingerprint.mix(shared);
    return fingerprint.value();
}

} // namespace aerate::prove
