// The hint protocol in the small: a guest, its hint queue, the device, KVM's log, and the shipping code of
// src/protocol, a few pages of each. The explorer tries every order in which they can act.
//
// The guest's pages are free, held (hinted, not taken back) or live. `data` are the live pages with content that must
// not be lost; `behind` those of which the copy does not have the newest content. Content itself is not modelled.
#pragma once

#include "protocol/hint_tracker.hpp"
#include "protocol/precopy.hpp"
#include "protocol/sweep.hpp"
#include "prove/hint_setting.hpp"
#include "prove/small_pages.hpp"
#include "prove/trace.hpp"

#include <array>
#include <cstdint>

namespace aerate::prove {

enum class HintAction : std::uint8_t {
    // the guest
    take,    ///< a free page gets an owner, who writes it
    write,   ///< the owner writes it again
    give,    ///< the owner frees it
    look,    ///< the driver reads the command ID
    begin,   ///< the driver starts a round, with a start marker
    mark,    ///< which Linux sends only now
    hint,    ///< the driver takes a free block and hints it
    end,     ///< the driver sends the stop marker
    release, ///< the driver gives a hinted block back to the allocator
    done,    ///< the driver has read DONE and gives everything back
    report,  ///< free page reporting: the block is isolated, discarded, given back
    // a device other than the balloon
    lend, ///< the guest gives a page to a device to write to
    land, ///< the device's data is in the page
    complete,
    // the balloon
    pop,
    scan,         ///< see whether a hinted page reads as zero
    discard_page, ///< carry out a discard that was decided before
    hint_late,    ///< carry out a hint that was accepted before
    // who copies or sweeps
    read_log,
    rearm_log,
    publish,
    send,
    hand_over,
    next_round,
    finish,
    close,
    batch,
    round_over,
    freeze,
    discard,
    resume,
    resumed, ///< the sweep learns of it
    publish_done,
};

inline Action act(HintAction kind, unsigned page = 0) {
    return {static_cast<std::uint8_t>(kind), static_cast<std::uint8_t>(page)};
}

class HintModel {
public:
    static constexpr std::uint8_t max_pages = 4;
    static constexpr std::uint8_t max_queue = 6;
    static constexpr std::uint8_t max_rounds = 4;
    static constexpr Verdict when_nothing_is_possible = Verdict::stuck;

    struct Chain {
        enum class Kind : std::uint8_t { hint, marker, shared_marker };
        Kind kind{};
        std::uint8_t value = 0; ///< the page or the command
        bool operator==(const Chain&) const = default;
    };

    struct State {
        // the guest
        SmallPages held, live, data;
        std::uint8_t seen = 0;   ///< the command ID as last read
        std::uint8_t active = 0; ///< the one it hints under
        std::uint8_t word = 0;   ///< which every start marker points at (Linux)
        bool starting = false;   ///< the shared word is written, the marker is not sent (Linux)
        bool hinting = false;
        std::array<Chain, max_queue> queue{};
        std::uint8_t queued = 0;
        // memory
        SmallPages in_flight, landed;
        SmallPages dirty;   ///< KVM's log
        SmallPages got;     ///< read from KVM's log and not cleared there yet
        SmallPages guarded; ///< write-protected by userfaultfd
        SmallPages behind;
        SmallPages zero; ///< content, as the guest cleared it
        // the monitor
        protocol::HintTracker tracker;
        protocol::Precopy<SmallPages> precopy;
        protocol::Sweep<SmallPages> sweep;
        SmallPages written; ///< since the ID, by write faults
        SmallPages decided; ///< accepted, checked, and not carried out yet
        SmallPages ever_hinted;
        SmallPages looked_at; ///< of this batch of a sweep
        // who watches whether the engine is complete
        SmallPages touched; ///< written since the log was read for the newest ID, in whatever way
        SmallPages owed;    ///< accepted and not written since: to be left out of the copy, or discarded
        bool frozen = false;
        std::uint8_t effect = no_effect; ///< what the engine asked for and is not done yet
        std::uint8_t published = 0;      ///< rounds
    };
    static constexpr std::uint8_t no_effect = 0xff;

    explicit HintModel(const HintSetting& setting);

    [[nodiscard]] const HintSetting& setting() const { return setting_; }
    [[nodiscard]] State initial() const;
    [[nodiscard]] Actions actions(const State&) const;
    Verdict apply(State&, Action) const;
    [[nodiscard]] bool finished(const State&) const;
    [[nodiscard]] std::uint64_t fingerprint(const State&) const;

private:
    static constexpr PageCount no_limit{1U << 20};
    static constexpr PageCount batch_limit{1};

    [[nodiscard]] bool precopies() const;
    [[nodiscard]] bool sweeps() const { return setting_.use == Use::discard_held; }
    [[nodiscard]] bool holds() const { return setting_.driver != Driver::linux_stock; }
    [[nodiscard]] bool shares_word() const { return setting_.driver == Driver::linux_stock; }
    [[nodiscard]] bool is_free(const State&, unsigned page) const;
    [[nodiscard]] bool leaves_trace(const State&, unsigned page) const;
    [[nodiscard]] bool may_release(const State&, unsigned page) const;
    void guest_actions(const State&, Actions&) const;
    void device_actions(const State&, Actions&) const;
    void balloon_actions(const State&, Actions&) const;
    void copy_actions(const State&, Actions&) const;
    void sweep_actions(const State&, Actions&) const;
    void round_actions(const State&, Actions&) const;

    /// Returns whether the use that is made of hints promises that each accepted one is used.
    [[nodiscard]] bool is_complete() const;
    void touch(State&, unsigned page) const;
    void guest_writes(State&, unsigned page) const;
    void begin(State&) const;
    void push(State&, Chain) const;
    Verdict discard(State&, SmallPages) const;
    Verdict pop(State&) const;
    Verdict use_hint(State&, unsigned page) const;
    void read_log(State&) const;
    void rearm_log(State&) const;
    void gathered(State&) const;
    Verdict publish(State&) const;
    void close_hints(State&) const;
    Verdict send(State&, unsigned page) const;
    [[nodiscard]] Verdict hand_over(const State&) const;
    void complete(State&, unsigned page) const;
    void step_precopy(State&, protocol::PrecopyEvent) const;
    template <typename Step>
    void with_page_first(SmallPages& pages, unsigned page, Step&& step) const;
    [[nodiscard]] bool may_scan(const State&) const;
    [[nodiscard]] SmallPages to_scan(const State&) const;
    void end_empty_scan(State&) const;
    void scan(State&, unsigned page) const;
    void step_sweep(State&, protocol::SweepEvent::Kind, PageRange = {}) const;
    void begin_sweep(State&) const;
    Verdict end_sweep(State&) const;

    HintSetting setting_;
    SmallPages all_;
};

/// The engines take the lowest pages first. Which those are is no matter of the protocol, and pages are interchangeable
/// here; so each may be the lowest.
template <typename Step>
void HintModel::with_page_first(SmallPages& pages, unsigned page, Step&& step) const {
    SmallPages others = pages;
    others.erase(page);
    pages.remove(others);
    step();
    pages.add(others);
}

} // namespace aerate::prove
