#include "control/host_history.hpp"

#include "control/runtime_directory.hpp"
#include "control/schema_json.hpp"

namespace aerate::control {
namespace {

constexpr std::uint64_t history_version = 1;

constexpr auto reason_words = [] {
    WordList<policy::Reason, policy::reasons.size()> words{};
    for (std::size_t i = 0; i < words.size(); ++i)
        words[i] = {policy::reasons[i].name, policy::reasons[i].reason};
    return words;
}();

struct HeaderLine {
    std::uint64_t version = history_version;
    static void describe(auto& fields, auto& self) { fields("aerate_host_history", self.version, mandatory); }
};

struct StatisticsLine {
    policy::Statistics said{};
    static void describe(auto& fields, auto& self) {
        fields("free_bytes", self.said.free, mandatory);
        fields("available_bytes", self.said.available, mandatory);
        fields("caches_bytes", self.said.caches, mandatory);
        fields("age_ms", self.said.age, mandatory);
    }
    bool operator==(const StatisticsLine&) const = default;
};

struct DecisionLine {
    policy::Decision decision{};
    static void describe(auto& fields, auto& self) {
        fields("target_bytes", self.decision.target, mandatory);
        fields("reason", Word{self.decision.reason, reason_words}, mandatory);
        fields("taken_bytes", self.decision.taken, mandatory);
        fields("given_bytes", self.decision.given, mandatory);
        fields("pause", self.decision.pause, mandatory);
    }
    bool operator==(const DecisionLine&) const = default;
};

struct GuestLine {
    std::string name{};
    policy::Guest guest{};
    std::optional<StatisticsLine> statistics{};
    DecisionLine decision{};
    static void describe(auto& fields, auto& self) {
        fields("name", self.name, mandatory);
        fields("size_bytes", self.guest.size, mandatory);
        fields("floor_bytes", self.guest.floor, mandatory);
        fields("shares", self.guest.shares.value, mandatory);
        fields("target_bytes", self.guest.target, mandatory);
        fields("actual_bytes", self.guest.actual, mandatory);
        fields("resident_bytes", self.guest.resident, mandatory);
        fields("statistics", self.statistics);
        fields("unasked_deflations", self.guest.unasked_deflations, mandatory);
        fields("stalls", self.guest.stalls, mandatory);
        fields("reread_bytes", self.guest.reread, mandatory);
        fields("priority", self.guest.priority);
        fields("pausable", self.guest.pausable);
        fields("decision", self.decision, mandatory);
    }
    bool operator==(const GuestLine&) const = default;
};

struct HostLine {
    policy::Host host{};
    static void describe(auto& fields, auto& self) {
        fields("total_bytes", self.host.total, mandatory);
        fields("available_bytes", self.host.available, mandatory);
        fields("reserve_bytes", self.host.reserve, mandatory);
        fields("some_permille", self.host.some.value, mandatory);
        fields("full_permille", self.host.full.value, mandatory);
    }
    bool operator==(const HostLine&) const = default;
};

struct TickLine {
    policy::milliseconds now{};
    HostLine host{};
    policy::Level level{};
    policy::milliseconds next_look{};
    std::vector<GuestLine> guests{};
    static void describe(auto& fields, auto& self) {
        fields("now_ms", self.now, mandatory);
        fields("host", self.host, mandatory);
        fields("level", Word{self.level, policy::level_words}, mandatory);
        fields("next_look_ms", self.next_look, mandatory);
        fields("guests", self.guests, mandatory);
    }
};

template <typename Line>
std::string print(const Line& line) {
    const Result<Json> json = print_object(line);
    return json ? print_json(*json) : std::string(); // nothing in these can fail to be printed
}

Result<HostTick> tick_of(TickLine line) {
    if (line.guests.size() > host_tick_guests_max)
        return fail("guests: are {}, more than {}", line.guests.size(), host_tick_guests_max);
    HostTick tick{.inputs = {.now = line.now, .host = line.host.host},
                  .decisions = {.level = line.level, .next_look = line.next_look}};
    for (GuestLine& entry : line.guests) {
        TRY(validate_vm_name(entry.name));
        policy::VmName name{std::move(entry.name)};
        if (entry.statistics)
            entry.guest.said = entry.statistics->said;
        tick.decisions.guests.emplace(name, entry.decision.decision);
        if (!tick.inputs.guests.emplace(std::move(name), entry.guest).second)
            return fail("guests: two have the same name");
    }
    return tick;
}

std::string difference(const policy::Decisions& recorded, const policy::Decisions& now) {
    for (const auto& [name, decision] : now.guests) {
        const policy::Decision& before = recorded.guests.at(name);
        if (before != decision)
            return fmt::format("VM {}: {} bytes ({}) were recorded, {} bytes ({}) are decided now", name.value,
                               before.target.value, policy::explain(before.reason).name, decision.target.value,
                               policy::explain(decision.reason).name);
    }
    return "the host's level, or the time until the next look";
}

} // namespace

std::string print_history_header() {
    return print(HeaderLine{});
}

std::string print_host_tick(const HostTick& tick) {
    TickLine line{.now = tick.inputs.now,
                  .host = {tick.inputs.host},
                  .level = tick.decisions.level,
                  .next_look = tick.decisions.next_look};
    for (const auto& [name, guest] : tick.inputs.guests) {
        GuestLine entry{.name = name.value, .guest = guest, .decision = {tick.decisions.guests.at(name)}};
        if (guest.said)
            entry.statistics = StatisticsLine{*guest.said};
        line.guests.push_back(std::move(entry));
    }
    return print(line);
}

Result<HostTick> read_host_tick(std::string_view line) {
    if (line.size() > host_tick_length_max)
        return fail("it has more than {} bytes", host_tick_length_max);
    return tick_of(TRY(read_object<TickLine>(TRY(parse_json(line)))));
}

Result<void> HostReplay::replay(std::string_view line) {
    if (lines_ == 1) {
        const auto header = TRY(read_object<HeaderLine>(TRY(parse_json(line))));
        if (header.version != history_version)
            return fail("it is a history of version {}; this program reads version {}", header.version,
                        history_version);
        return {};
    }
    const HostTick tick = TRY(read_host_tick(line));
    ++ticks_;
    const policy::Decisions now = policy::step(state_, tick.inputs);
    if (now != tick.decisions && different_++ == 0)
        first_difference_ =
            fmt::format("line {}, {} ms: {}", lines_, tick.inputs.now.count(), difference(tick.decisions, now));
    return {};
}

Result<void> HostReplay::read(std::string_view line) {
    ++lines_;
    if (auto done = replay(line); !done)
        return fail_because(std::move(done).error(), "history, line {}", lines_);
    return {};
}

Result<void> HostReplay::feed(std::string_view bytes) {
    for (auto end = bytes.find('\n'); end != bytes.npos; end = bytes.find('\n')) {
        const std::string_view rest = bytes.substr(0, end);
        bytes.remove_prefix(end + 1);
        if (pending_.empty()) {
            TRY(read(rest));
            continue;
        }
        const std::string line = std::exchange(pending_, {}).append(rest);
        TRY(read(line));
    }
    if (pending_.size() + bytes.size() > host_tick_length_max)
        return fail("history, line {}: it has more than {} bytes", lines_ + 1, host_tick_length_max);
    pending_ += bytes;
    return {};
}

Result<void> HostReplay::finish() const {
    if (!pending_.empty())
        return fail("history, line {}: it is cut off", lines_ + 1);
    if (lines_ == 0)
        return fail("history: it is empty");
    return {};
}

} // namespace aerate::control
