#include "prove/catalogue.hpp"

#include <fmt/format.h>

#include <array>

namespace aerate::prove {
namespace {

constexpr std::array drivers{Driver::linux_stock, Driver::hold_until_used, Driver::wait_on_ack};
constexpr std::array logs{Log::eager, Log::clear_first, Log::ring, Log::lazy_clear};

HintSetting setting(Use use, Driver driver, Log log, const Scale& scale) {
    HintSetting setting;
    setting.use = use;
    setting.driver = driver;
    setting.log = log;
    setting.pages = scale.pages;
    setting.queue = scale.queue;
    setting.rounds = scale.rounds;
    setting.devices = true;
    setting.verifies = true;
    return setting;
}

std::string name_of_use(const HintSetting& setting) {
    std::string name = fmt::format("{}/{}", name_of(setting.use), name_of(setting.driver));
    if (setting.log != Log::eager)
        name += fmt::format("/{}", name_of(setting.log));
    return name;
}

/// The table that protocol facts lead to by hand; the explorer finds it again.
Verdict expected_of(const HintSetting& setting) {
    const bool holds = setting.driver != Driver::linux_stock;
    const bool lazy = setting.log == Log::lazy_clear;
    switch (setting.use) {
    case Use::clear_pending:
    case Use::skip_unwritten:
        return lazy && !holds ? Verdict::lost : Verdict::safe;
    case Use::clear_live:
        return holds ? Verdict::safe : Verdict::lost;
    case Use::discard_at_once:
    case Use::discard_checked:
        return holds ? Verdict::safe : Verdict::destroyed;
    case Use::discard_held:
    case Use::discard_locked:
        return Verdict::safe;
    case Use::skip_by_hint:
        return Verdict::lost;
    }
    return Verdict::safe;
}

bool asks_a_log(Use use) {
    return use == Use::clear_pending || use == Use::discard_held || use == Use::skip_unwritten;
}

bool ships(const HintSetting& setting) {
    return setting.driver == Driver::linux_stock && setting.log == Log::eager &&
           (setting.use == Use::clear_pending || setting.use == Use::discard_held ||
            setting.use == Use::skip_unwritten);
}

void add_uses(std::vector<Entry>& entries, const Scale& scale) {
    for (const Use use : {Use::clear_pending, Use::clear_live, Use::discard_at_once, Use::discard_checked,
                          Use::discard_held, Use::discard_locked, Use::skip_by_hint, Use::skip_unwritten}) {
        for (const Driver driver : drivers) {
            for (const Log log : logs) {
                if (log != Log::eager && !asks_a_log(use))
                    continue;
                // What is never cleared stays written: a sweep would be safe, and give nothing back.
                if (log == Log::lazy_clear && use == Use::discard_held)
                    continue;
                const HintSetting one = setting(use, driver, log, scale);
                entries.push_back({name_of_use(one), Section::uses, one, expected_of(one), ships(one)});
            }
        }
    }
}

void add_planted(std::vector<Entry>& entries, const Scale& scale) {
    struct Planted {
        Fault fault;
        Use use;
        Verdict expected;
        bool needs_devices = false;
    };
    constexpr Planted bugs[] = {
        {Fault::hint_clears_log, Use::clear_pending, Verdict::lost, true},
        {Fault::late_hints, Use::clear_pending, Verdict::lost},
        {Fault::id_reused, Use::clear_pending, Verdict::id_reused},
        {Fault::id_ignored, Use::clear_pending, Verdict::lost},
        {Fault::index_ignored, Use::clear_pending, Verdict::lost},
        {Fault::device_writes_pending, Use::clear_pending, Verdict::lost, true},
        {Fault::discard_in_flight, Use::discard_held, Verdict::destroyed, true},
        {Fault::not_protected_again, Use::discard_locked, Verdict::destroyed},
        {Fault::hole_not_protected, Use::discard_locked, Verdict::destroyed},
        {Fault::zero_not_checked, Use::discard_held, Verdict::destroyed},
        {Fault::zero_not_held, Use::discard_held, Verdict::destroyed},
        {Fault::hints_forgotten, Use::discard_held, Verdict::incomplete},
        {Fault::hinted_is_sent, Use::clear_pending, Verdict::incomplete},
    };
    for (const Planted& bug : bugs) {
        HintSetting one = setting(bug.use, Driver::linux_stock, Log::eager, scale);
        one.fault = bug.fault;
        one.devices = bug.needs_devices;
        one.verifies = false;
        one.by_content = bug.fault == Fault::zero_not_held;
        one.clears = bug.fault == Fault::zero_not_checked || one.by_content;
        entries.push_back({fmt::format("planted/{}", name_of(bug.fault)), Section::planted, one, bug.expected});
    }
}

void add_hand_off(std::vector<Entry>& entries) {
    entries.push_back({"hand-off/lease", Section::hand_off, HandOffSetting{}, Verdict::safe, true});
    entries.push_back({"hand-off/no-lease", Section::hand_off, HandOffSetting{.has_lease = false, .crashes = false},
                       Verdict::none_running, true});
    entries.push_back({"hand-off/run-on-state", Section::hand_off, HandOffSetting{.fault = HandOffFault::run_on_state},
                       Verdict::two_running});
    entries.push_back({"hand-off/resume-after-go", Section::hand_off,
                       HandOffSetting{.fault = HandOffFault::resume_after_go}, Verdict::two_running});
}

void add_freeze(std::vector<Entry>& entries) {
    const auto ships = [&](std::string_view name, const FreezeSetting& setting) {
        entries.push_back({fmt::format("freeze/{}", name), Section::freeze, setting, Verdict::safe, true});
    };
    ships("pauses-sweeps-copies", {});
    ships("disk-hangs", {.hangs = true});
    ships("restored", {.born_at_rest = true});
    ships("guest-dies", {.dies = true});
    const auto planted = [&](FreezeFault fault, Verdict expected, bool hangs = false) {
        entries.push_back({fmt::format("freeze/{}", name_of(fault)), Section::freeze,
                           FreezeSetting{.hangs = hangs, .fault = fault}, expected});
    };
    planted(FreezeFault::stale_answer, Verdict::moves_at_rest);
    planted(FreezeFault::vcpus_first, Verdict::held_for_nothing);
    planted(FreezeFault::device_forgotten, Verdict::held_for_nothing);
    planted(FreezeFault::resume_lost, Verdict::held_for_nothing);
    planted(FreezeFault::deadline_half, Verdict::held_for_nothing, true);
    planted(FreezeFault::deadline_goes_on, Verdict::stuck, true);
}

} // namespace

std::vector<Entry> catalogue(const Scale& scale) {
    std::vector<Entry> entries;
    add_uses(entries, scale);
    // Reports discard pages in the midst of the rounds, which then travel as zero.
    HintSetting reports = setting(Use::clear_pending, Driver::linux_stock, Log::eager, scale);
    reports.reports = true;
    reports.devices = false;
    entries.push_back({"clear-pending+reports/linux", Section::uses, reports, Verdict::safe, true});
    // Debian's kernels clear what they allocate: each hinted block is written after the ID.
    HintSetting clears = setting(Use::discard_held, Driver::linux_stock, Log::eager, scale);
    clears.clears = true;
    entries.push_back({"discard-held+init-on-alloc/linux", Section::uses, clears, Verdict::safe, true});
    // And a sweep that looks at content alone needs no log.
    clears.by_content = true;
    entries.push_back({"discard-zero+init-on-alloc/linux", Section::uses, clears, Verdict::safe, true});
    // More pages, a longer queue and more rounds for what ships. Without devices: those are in the rows above.
    Scale large{static_cast<std::uint8_t>(scale.pages + 1), static_cast<std::uint8_t>(scale.queue + 1),
                static_cast<std::uint8_t>(scale.rounds + 1)};
    if (scale.pages < HintModel::max_pages) {
        HintSetting one = setting(Use::clear_pending, Driver::linux_stock, Log::eager, large);
        one.devices = false;
        entries.push_back({"clear-pending-large/linux", Section::uses, one, Verdict::safe, true});
    }
    add_planted(entries, scale);
    add_hand_off(entries);
    add_freeze(entries);
    return entries;
}

std::vector<Entry> nightly() {
    std::vector<Entry> entries;
    // A sweep of this size does not fit into 24 GiB (tried); the table has a smaller one.
    for (const auto& [use, scale] :
         {std::pair{Use::clear_pending, Scale{4, 6, 3}}, {Use::skip_unwritten, Scale{3, 6, 3}}}) {
        HintSetting one = setting(use, Driver::linux_stock, Log::eager, scale);
        one.devices = false;
        one.verifies = false;
        entries.push_back({name_of_use(one), Section::uses, one, Verdict::safe, true});
    }
    return entries;
}

std::vector<Entry> entries_named(const std::vector<Entry>& entries, std::string_view name) {
    std::vector<Entry> found;
    for (const Entry& entry : entries) {
        if (entry.name == name)
            return {entry};
        if (entry.name.starts_with(name))
            found.push_back(entry);
    }
    return found;
}

Exploration explore(const Entry& entry, const ExplorerLimits& limits) {
    if (const auto* hints = std::get_if<HintSetting>(&entry.setting))
        return explore(HintModel(*hints), limits);
    if (const auto* freeze = std::get_if<FreezeSetting>(&entry.setting))
        return explore(FreezeModel(*freeze), limits);
    return explore(HandOffModel(std::get<HandOffSetting>(entry.setting)), limits);
}

} // namespace aerate::prove
