#include "control/top_view.hpp"

#include "base/printable.hpp"
#include "control/size.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace aerate::control {
namespace {

std::string coloured(std::string_view bar) {
    constexpr std::string_view plain = "\x1b[0m";
    std::string text;
    char last = 0;
    for (const char c : bar) {
        if (c != last)
            text += c == '#'   ? "\x1b[31m"
                    : c == '=' ? "\x1b[33m"
                    : c == 'b' ? "\x1b[34m"
                    : c == 'r' ? "\x1b[32m"
                               : plain;
        text += last = c;
    }
    return text.append(plain);
}

/// How the columns share the terminal: where it is narrow, the bar is worth more than two of the figures, which it
/// shows.
struct Layout {
    std::size_t name;
    bool all_figures;
    std::size_t bar; ///< 0: none
};
constexpr std::size_t frame_of_bar = 3; // a space and two brackets
constexpr std::size_t narrow_figures = 12 + 12 + 3 * 9;
constexpr std::size_t wide_figures = 16 + 12 + 5 * 10;

Layout layout_for(std::size_t columns) {
    constexpr std::size_t useful_bar = 16;
    if (columns >= wide_figures + frame_of_bar + useful_bar)
        return {16, true, columns - wide_figures - frame_of_bar};
    if (columns >= narrow_figures + frame_of_bar + useful_bar)
        return {12, false, columns - narrow_figures - frame_of_bar};
    return {16, true, 0};
}

std::string row(const Layout& layout, std::string_view name, std::string_view state,
                const std::array<std::string, 5>& figures) {
    std::string text = fmt::format("{:<{}.{}} {:>11}", name, layout.name, layout.name, state);
    for (std::size_t i = 0; i < (layout.all_figures ? 5 : 3); ++i)
        text += fmt::format(" {:>{}}", figures[i], layout.all_figures ? 9 : 8);
    return text;
}

std::string figures(const Layout& layout, const VmStatus& vm) {
    const auto used = guest_used(vm);
    return row(layout, printable(vm.name), name_of(vm.state),
               {in_mib(vm.memory.guest_size), in_mib(vm.memory.resident), used ? in_mib(*used) : "-",
                in_mib(vm.memory.ballooned), in_mib(vm.memory.reported)});
}

} // namespace

std::optional<ByteCount> guest_used(const VmStatus& vm) {
    if (!vm.balloon || vm.balloon->statistics_old)
        return std::nullopt;
    const auto& statistics = vm.balloon->statistics;
    const auto total = statistics.find("total_memory");
    auto available = statistics.find("available_memory");
    if (available == statistics.end())
        available = statistics.find("free_memory");
    if (total == statistics.end() || available == statistics.end() || available->second > total->second)
        return std::nullopt;
    return std::min(ByteCount{total->second - available->second}, vm.memory.guest_size);
}

std::string memory_bar(const VmStatus& vm, std::size_t width) {
    const MemoryByState& memory = vm.memory;
    const ByteCount used = std::min(guest_used(vm).value_or(memory.resident), memory.resident);
    const std::array<std::pair<char, ByteCount>, 4> parts{
        {{'#', used}, {'=', memory.resident - used}, {'b', memory.ballooned}, {'r', memory.reported}}};
    std::string bar;
    for (const auto& [letter, bytes] : parts) {
        if (memory.guest_size.value == 0)
            break;
        const double share = static_cast<double>(bytes.value) / static_cast<double>(memory.guest_size.value);
        const auto cells =
            static_cast<std::size_t>(std::lround(std::clamp(share, 0.0, 1.0) * static_cast<double>(width)));
        bar.append(std::min(cells, width - bar.size()), letter);
    }
    bar.resize(width, '.');
    return bar;
}

std::string render_top(const std::vector<VmStatus>& vms, const TopView& view) {
    const Layout layout = layout_for(view.columns);
    constexpr std::size_t frame_rows = 4; // title, header, one for the count of the hidden, and the cursor's
    const std::size_t room = view.rows == 0 ? vms.size() : view.rows > frame_rows ? view.rows - frame_rows : 0;
    const std::size_t shown = std::min(vms.size(), room);
    const std::size_t bar_width = layout.bar;

    MemoryByState sum{};
    for (const VmStatus& vm : vms) {
        sum.guest_size += vm.memory.guest_size;
        sum.resident += vm.memory.resident;
        sum.ballooned += vm.memory.ballooned;
    }
    const auto clipped = [&](const std::string& line) { return line.substr(0, view.columns) + '\n'; };
    std::string text = clipped(fmt::format("{} VMs: {} MiB of RAM given, {} resident, {} ballooned", vms.size(),
                                           in_mib(sum.guest_size), in_mib(sum.resident), in_mib(sum.ballooned)));
    const std::string header = row(layout, "NAME", "STATE", {"RAM", "RESIDENT", "USED", "BALLOON", "REPORTED"});
    text += clipped(header + (bar_width == 0       ? ""
                              : layout.all_figures ? "  #used =resident b=balloon r=reported"
                                                   : "  #used =res b=ball r=free"));
    for (std::size_t i = 0; i < shown; ++i) {
        const std::string line = figures(layout, vms[i]);
        if (bar_width > 0) {
            const std::string bar = memory_bar(vms[i], bar_width);
            text += line + " [" + (view.colour ? coloured(bar) : bar) + "]\n";
        } else {
            text += clipped(line);
        }
    }
    if (shown < vms.size())
        text += clipped(fmt::format("and {} more", vms.size() - shown));
    return text;
}

} // namespace aerate::control
