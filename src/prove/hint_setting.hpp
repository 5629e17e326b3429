// What a run of the hint model is about: which driver, which log, which use of the hints, how large.
#pragma once

#include <cstdint>
#include <string_view>

namespace aerate::prove {

/// When the guest's driver takes a hinted block back.
enum class Driver : std::uint8_t {
    linux_stock,     ///< at any time (shrinker, unbind), and every start marker points at one shared word
    hold_until_used, ///< not before the device has used the buffer
    wait_on_ack,     ///< the same, and one buffer at a time
};

/// How writes by vCPUs are found.
enum class Log : std::uint8_t {
    eager,       ///< read and cleared in one call
    lazy_clear,  ///< read, and cleared later by the chunk, when something of the chunk is sent or hinted
    clear_first, ///< read, then cleared whole, before an ID is published
    ring,        ///< dirty ring: collected, then reset, before an ID is published
};

/// What the monitor does on a hint.
enum class Use : std::uint8_t {
    clear_pending,   ///< skip in migration: two generations
    clear_live,      ///< skip in migration: in the bitmap that live writers set too
    discard_at_once, ///< give the memory back now
    discard_checked, ///< the same, after a look at the log
    discard_held,    ///< the same, with every writer held over the look and the discard
    discard_locked,  ///< the same, with write faults and discards under one lock
    skip_by_hint,    ///< leave out of a snapshot whatever was hinted
    skip_unwritten,  ///< the same, unless it was written since the ID
};

/// Bugs to be found.
enum class Fault : std::uint8_t {
    none,
    hint_clears_log,       ///< the monitor's own log, too
    late_hints,            ///< an accepted hint may take effect after the harvest
    id_reused,             ///< every round has the same command ID
    id_ignored,            ///< a hint counts whatever marker came before it
    index_ignored,         ///< the chains in the queue at publication are not taken for stale
    device_writes_pending, ///< completed device writes go into this round's set
    discard_in_flight,     ///< vCPUs are held for the discard, devices are not
    not_protected_again,   ///< a discard drops the write protection, and it stays off
    hole_not_protected,    ///< pages that were never touched are not write-protected
    zero_not_checked,      ///< what read as zero is discarded even if it was written since
    zero_not_held,         ///< what read as zero before the guest was held is discarded
    hints_forgotten,       ///< a sweep takes no hints while the guest is being resumed
    hinted_is_sent,        ///< a hint does not take its page out of what is to be sent
};

struct HintSetting {
    Driver driver = Driver::linux_stock;
    Log log = Log::eager;
    Use use = Use::clear_pending;
    Fault fault = Fault::none;
    std::uint8_t pages = 2;
    std::uint8_t queue = 3;
    std::uint8_t rounds = 2;
    bool devices = false;    ///< devices write to guest memory
    bool reports = false;    ///< the guest reports free pages, too
    bool clears = false;     ///< the guest clears each page that it allocates (init_on_alloc); a sweep looks for zeroes
    bool by_content = false; ///< a sweep has no log, and discards what reads as zero while the guest is held
    bool verifies = false;   ///< nothing that a verification leaves out may be live in the end
    bool reduce = true;      ///< states that go on equally are one
};

constexpr std::string_view name_of(Driver driver) {
    constexpr std::string_view names[] = {"linux", "hold-until-used", "wait-on-ack"};
    return names[static_cast<unsigned>(driver)];
}
constexpr std::string_view name_of(Log log) {
    constexpr std::string_view names[] = {"eager", "lazy-clear", "clear-first", "ring"};
    return names[static_cast<unsigned>(log)];
}
constexpr std::string_view name_of(Use use) {
    constexpr std::string_view names[] = {"clear-pending", "clear-live",     "discard-at-once", "discard-checked",
                                          "discard-held",  "discard-locked", "skip-by-hint",    "skip-unwritten"};
    return names[static_cast<unsigned>(use)];
}
constexpr std::string_view name_of(Fault fault) {
    constexpr std::string_view names[] = {"none",
                                          "hint-clears-log",
                                          "late-hints",
                                          "id-reused",
                                          "id-ignored",
                                          "index-ignored",
                                          "device-writes-pending",
                                          "discard-in-flight",
                                          "not-protected-again",
                                          "hole-not-protected",
                                          "zero-not-checked",
                                          "zero-not-held",
                                          "hints-forgotten",
                                          "hinted-is-sent"};
    return names[static_cast<unsigned>(fault)];
}

} // namespace aerate::prove
