#include "platform/vm_clock.hpp"

#include <algorithm>
#include <bit>

namespace aerate {
namespace {

// Offsets and values: uapi/linux/vmclock-abi.h.
namespace field {
constexpr std::uint64_t magic = 0;
constexpr std::uint64_t size = 4;
constexpr std::uint64_t version = 8;
constexpr std::uint64_t counter_id = 10;
constexpr std::uint64_t seq_count = 12;
constexpr std::uint64_t disruption_marker = 16;
constexpr std::uint64_t flags = 24;
constexpr std::uint64_t clock_status = 34;
constexpr std::uint64_t counter_period_shift = 39;
constexpr std::uint64_t counter_value = 40;
constexpr std::uint64_t counter_period = 48;
constexpr std::uint64_t counter_period_maxerror = 64;
constexpr std::uint64_t time_sec = 72;
constexpr std::uint64_t time_frac_sec = 80;
constexpr std::uint64_t time_esterror = 88;
constexpr std::uint64_t time_maxerror = 96;
constexpr std::uint64_t vm_generation_counter = 104;
} // namespace field

constexpr std::uint32_t magic_value = 0x4b4c4356; // "VCLK"
constexpr std::uint8_t counter_tsc = 1;
constexpr std::uint8_t no_counter = 0xff;

namespace flag {
constexpr std::uint64_t period_maxerror_valid = 1U << 4;
constexpr std::uint64_t time_esterror_valid = 1U << 5;
constexpr std::uint64_t time_maxerror_valid = 1U << 6;
constexpr std::uint64_t has_generation_counter = 1U << 8;
} // namespace flag

namespace status {
constexpr std::uint8_t unknown = 0;
constexpr std::uint8_t synchronized = 2;
constexpr std::uint8_t free_running = 3;
constexpr std::uint8_t unreliable = 4;
} // namespace status

__extension__ using Wide = unsigned __int128;
constexpr std::uint64_t second = 1'000'000'000;

/// How long a tick takes, in 2^-(64 + shift) seconds.
struct Period {
    std::uint8_t shift;
    std::uint64_t value;
};

Period period_of(const VmClock::Time& time) {
    const std::uint64_t hertz = std::uint64_t{time.khz} * 1000;
    // As many digits as there is room for, with one to spare: the correction may make it longer.
    const auto shift = static_cast<std::uint8_t>(std::bit_width(hertz) - 2);
    const auto nominal = static_cast<std::uint64_t>((Wide{1} << (64 + shift)) / hertz);
    // More than the kernel lets anybody set would be a mistake of ours.
    constexpr std::int64_t unit = std::int64_t{1'000'000} << 16;
    constexpr std::int64_t limit = unit / 8;
    const std::int64_t faster = std::clamp(time.discipline.faster, -limit, limit);
    return {shift, static_cast<std::uint64_t>(Wide{nominal} * static_cast<std::uint64_t>(unit + faster) /
                                              static_cast<std::uint64_t>(unit))};
}

} // namespace

bool VmClock::begin(const std::optional<Time>& time) {
    // What is left out is zero: UTC, and a clock of unknown status.
    if (!memory_.fill(where_, page, std::byte{0}))
        return false;
    put(field::size, static_cast<std::uint32_t>(page.value));
    put(field::version, std::uint16_t{1});
    put(field::counter_id, time ? counter_tsc : no_counter);
    put(time);
    put(field::magic, magic_value);
    return true;
}

void VmClock::update(Change change, const std::optional<Time>& time) {
    if (memory_.load<std::uint32_t>({where_.value + field::magic}) != magic_value)
        return;
    // An odd count tells a reader to look again.
    const std::uint32_t odd = memory_.load<std::uint32_t>({where_.value + field::seq_count}).value_or(0) | 1U;
    put(field::seq_count, odd);
    if (change != Change::none)
        count(field::disruption_marker);
    if (change == Change::copied)
        count(field::vm_generation_counter);
    put(time);
    put(field::seq_count, odd + 1);
}

void VmClock::put(const std::optional<Time>& time) {
    if (memory_.load<std::uint8_t>({where_.value + field::counter_id}) != counter_tsc) {
        put(field::flags, flag::has_generation_counter);
        return put(field::clock_status, status::unknown);
    }
    if (!time) {
        put(field::flags, flag::has_generation_counter);
        return put(field::clock_status, status::unreliable);
    }
    const HostDiscipline& discipline = time->discipline;
    const auto nanoseconds = [](std::chrono::nanoseconds t) { return static_cast<std::uint64_t>(t.count()); };
    put(field::flags, flag::has_generation_counter | flag::period_maxerror_valid |
                          (discipline.synchronized ? flag::time_esterror_valid | flag::time_maxerror_valid : 0));
    put(field::clock_status, discipline.synchronized ? status::synchronized : status::free_running);
    put(field::time_esterror, nanoseconds(discipline.estimated_error));
    put(field::time_maxerror, nanoseconds(discipline.largest_error));
    // Linux lets its time of day be hurried by 500 millionths at most, and as much again while an offset is worked off
    // (MAXFREQ, ntp_update_offset).
    const Period period = period_of(*time);
    put(field::counter_period_shift, period.shift);
    put(field::counter_period, period.value);
    put(field::counter_period_maxerror, period.value / 1000);
    put(field::counter_value, time->tsc);
    put(field::time_sec, time->realtime / second);
    put(field::time_frac_sec, static_cast<std::uint64_t>((Wide{time->realtime % second} << 64) / second));
}

void VmClock::count(std::uint64_t offset) {
    put(offset, memory_.load<std::uint64_t>({where_.value + offset}).value_or(0) + 1);
}

} // namespace aerate
