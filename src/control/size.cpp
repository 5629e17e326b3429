#include "control/size.hpp"

#include <charconv>

namespace aerate::control {

Result<ByteCount> parse_size(std::string_view text) {
    constexpr std::string_view units = "KMGT";
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    if (unit.size() == 3 && unit.ends_with("iB"))
        unit.remove_suffix(2);
    if (unit.empty())
        unit = "M";
    const std::size_t power = unit.size() == 1 ? units.find(static_cast<char>(unit.front() & ~0x20)) : units.npos;
    if (error != std::errc() || power == units.npos)
        return fail("{} is not a size: give a whole number and K, M, G or T, as in 512M", text);
    const unsigned shift = 10 * (static_cast<unsigned>(power) + 1);
    if (number > (std::uint64_t{1} << 63) >> shift)
        return fail("{} is too large", text);
    return ByteCount{number << shift};
}

std::string in_mib(ByteCount bytes) {
    constexpr std::uint64_t tenth = (1 << 20) / 10;
    const std::uint64_t rest = bytes.value & ((1 << 20) - 1);
    return fmt::format("{}.{}", bytes.value >> 20, std::min<std::uint64_t>(rest / tenth, 9));
}

std::string in_mib(const std::optional<ByteCount>& bytes) {
    return bytes ? in_mib(*bytes) : "-";
}

} // namespace aerate::control
