#include "host/host_memory.hpp"

#include "base/host.hpp"
#include "host/proc_file.hpp"

#include <fcntl.h>

#include <charconv>

namespace aerate::hostd {
namespace {

std::string_view trimmed(std::string_view text) {
    const auto first = text.find_first_not_of(" \t");
    return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

std::optional<std::uint64_t> number_at(std::string_view text) {
    text = trimmed(text);
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() ? std::optional(value) : std::nullopt;
}

/// Returns what follows `key` in the line that begins with it.
std::optional<std::string_view> line_of(std::string_view text, std::string_view key) {
    while (!text.empty()) {
        const auto end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        if (line.starts_with(key))
            return line.substr(key.size());
        if (end == std::string_view::npos)
            break;
        text.remove_prefix(end + 1);
    }
    return std::nullopt;
}

constexpr std::uint64_t kib_max = 1ULL << 53;

Result<std::optional<ByteCount>> kib(std::string_view text, std::string_view key) {
    const auto line = line_of(text, key);
    if (!line)
        return std::nullopt;
    const auto value = number_at(*line);
    if (!value || *value > kib_max)
        return fail("/proc/meminfo: {} has no number", key);
    return ByteCount{*value << 10};
}

Result<std::chrono::microseconds> total(std::string_view text, std::string_view kind) {
    constexpr std::string_view key = "total=";
    const auto line = line_of(text, kind);
    const auto place = line ? line->find(key) : std::string_view::npos;
    const auto value = place == std::string_view::npos ? std::nullopt : number_at(line->substr(place + key.size()));
    if (!value || *value > static_cast<std::uint64_t>(std::chrono::microseconds::max().count()))
        return fail("the memory pressure file says nothing of \"{}\"", kind);
    return std::chrono::microseconds(*value);
}

} // namespace

Result<MemoryInfo> read_memory_info(std::string_view text) {
    const auto all = TRY(kib(text, "MemTotal:"));
    const auto available = TRY(kib(text, "MemAvailable:"));
    if (!all || !available)
        return fail("/proc/meminfo says no MemTotal or no MemAvailable");
    return MemoryInfo{.total = *all,
                      .available = *available,
                      .swap_total = TRY(kib(text, "SwapTotal:")).value_or(ByteCount{}),
                      .swap_free = TRY(kib(text, "SwapFree:")).value_or(ByteCount{}),
                      .huge_pages = TRY(kib(text, "Hugetlb:")).value_or(ByteCount{})};
}

Result<Pressure> read_pressure(std::string_view text) {
    return Pressure{.some = TRY(total(text, "some")), .full = TRY(total(text, "full"))};
}

Result<HostMemory> HostMemory::open() {
    FileDescriptor memory = host::descriptor([] { return ::open("/proc/meminfo", O_RDONLY | O_CLOEXEC); });
    if (!memory.valid())
        return fail_errno("cannot open /proc/meminfo");
    FileDescriptor pressure = host::descriptor([] { return ::open("/proc/pressure/memory", O_RDONLY | O_CLOEXEC); });
    return HostMemory(std::move(memory), std::move(pressure));
}

Result<HostReading> HostMemory::read() const {
    HostReading reading{.memory = TRY(read_memory_info(TRY(read_again(memory_))))};
    // Where PSI is off (psi=0) the file is there, and reading it fails.
    if (pressure_.valid())
        if (const auto text = read_again(pressure_))
            if (const auto pressure = read_pressure(*text))
                reading.pressure = *pressure;
    return reading;
}

} // namespace aerate::hostd
