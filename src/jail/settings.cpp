#include "jail/settings.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

namespace aerate::jail {
namespace {

constexpr std::size_t id_max = 64;
constexpr std::size_t name_max = 255; // NAME_MAX; a program's has ".pid" added
constexpr std::size_t value_max = 4095;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_alphanumeric(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_printable(char c) {
    return c >= ' ' && c <= '~';
}

/// Holds for what names an entry of a directory, and is printable.
bool is_file_name(std::string_view text, std::size_t longest) {
    return !text.empty() && text.size() <= longest && text != "." && text != ".." &&
           std::ranges::all_of(text, [](char c) { return is_printable(c) && c != '/'; });
}

template <typename Number>
std::optional<Number> number(std::string_view text) {
    Number value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || text.empty())
        return std::nullopt;
    return value;
}

std::optional<std::pair<std::string_view, std::string_view>> assignment(std::string_view text) {
    const auto equals = text.find('=');
    if (equals == std::string_view::npos)
        return std::nullopt;
    return std::pair{text.substr(0, equals), text.substr(equals + 1)};
}

} // namespace

Result<Id> Id::parse(std::string_view text) {
    if (text.empty() || text.size() > id_max)
        return fail("--id: it has {} characters; give 1 to {}", text.size(), id_max);
    if (!std::ranges::all_of(text, [](char c) { return is_alphanumeric(c) || c == '-'; }))
        return fail("--id: {} has other characters than letters, digits and hyphens", text);
    return Id(text);
}

Result<ProgramName> ProgramName::of_path(std::string_view path) {
    const auto slash = path.rfind('/');
    const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
    if (!is_file_name(name, name_max - 4))
        return fail("--exec-file: \"{}\" does not end in the name of a program", path);
    return ProgramName(name);
}

Result<CgroupSetting> CgroupSetting::parse(std::string_view text) {
    const auto parts = assignment(text);
    if (!parts)
        return fail("--cgroup: {} is not FILE=VALUE, as memory.max=1G", text);
    const auto [file, value] = *parts;
    const auto dot = file.find('.');
    const bool named = dot != std::string_view::npos && dot > 0 && dot + 1 < file.size() && file.size() <= name_max &&
                       std::ranges::all_of(file, [](char c) { return is_alphanumeric(c) || c == '_' || c == '.'; });
    if (!named || file.find("..") != std::string_view::npos)
        return fail("--cgroup: \"{}\" is not the name of a controller's file, as memory.max is", file);
    if (file.substr(0, dot) == "cgroup")
        return fail("--cgroup: {} belongs to no controller; the launcher itself decides who is in the cgroup", file);
    if (value.empty() || value.size() > value_max || !std::ranges::all_of(value, is_printable))
        return fail("--cgroup: the value of {} is empty, too long, or not printable", file);
    return CgroupSetting(file, value);
}

std::string_view CgroupSetting::controller() const {
    return std::string_view(file_).substr(0, file_.find('.'));
}

Result<CgroupPath> CgroupPath::parse(std::string_view text) {
    std::vector<std::string> parts;
    for (std::size_t begin = 0; begin <= text.size();) {
        const auto end = std::min(text.find('/', begin), text.size());
        const auto part = text.substr(begin, end - begin);
        // The kernel's own files in there are called so, and a cgroup could not be.
        if (!is_file_name(part, name_max) || part.starts_with("cgroup."))
            return fail("--parent-cgroup: \"{}\" is no path below a cgroup hierarchy: name cgroups, with one / between "
                        "two, without . and ..",
                        text);
        parts.emplace_back(part);
        begin = end + 1;
    }
    return CgroupPath(std::move(parts));
}

std::string CgroupPath::text() const {
    return fmt::format("{}", fmt::join(parts_, "/"));
}

Result<CgroupVersion> parse_cgroup_version(std::string_view text) {
    if (text == "1")
        return CgroupVersion::v1;
    if (text == "2")
        return CgroupVersion::v2;
    return fail("--cgroup-version: {} is none; there are 1 and 2", text);
}

Result<ResourceLimit> ResourceLimit::parse(std::string_view text) {
    const auto parts = assignment(text);
    if (!parts)
        return fail("--resource-limit: {} is not RESOURCE=VALUE, as no-file=1024", text);
    const auto [name, digits] = *parts;
    if (name != "no-file" && name != "fsize")
        return fail("--resource-limit: there is no {}; there are no-file and fsize", name);
    const auto value = number<std::uint64_t>(digits);
    if (!value)
        return fail("--resource-limit: {} is not a number that fits, for {}", digits, name);
    return ResourceLimit(name == "fsize" ? RLIMIT_FSIZE : RLIMIT_NOFILE, *value);
}

Result<std::uint32_t> parse_owner(std::string_view text) {
    const auto value = number<std::uint32_t>(text);
    if (!value || *value == std::numeric_limits<std::uint32_t>::max())
        return fail("{} is not a number from 0 to 4294967294", text);
    return *value;
}

} // namespace aerate::jail
