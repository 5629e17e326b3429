#include "control/timeline_view.hpp"

#include "control/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

namespace aerate::control {
namespace {

using std::chrono::microseconds;

constexpr std::size_t bar_min = 10;
/// What the columns beside the bar take, with room for a move of a quarter of an hour.
constexpr std::size_t beside_bar = 48;

std::string in_milliseconds(microseconds time) {
    return fmt::format("{:.1f}", static_cast<double>(time.count()) / 1000);
}

/// Returns the step's place in the whole: at least one mark, however short it was.
std::string bar(const MigrationStep& step, microseconds begin, microseconds whole, std::size_t width) {
    const auto column = [&](microseconds at) {
        const auto part =
            static_cast<double>((at - begin).count()) / static_cast<double>(std::max(whole, microseconds(1)).count());
        return std::min(width, static_cast<std::size_t>(std::clamp(part, 0.0, 1.0) * static_cast<double>(width)));
    };
    const std::size_t first = std::min(column(step.start), width - 1);
    const std::size_t last = std::max(column(step.start + step.duration), first + 1);
    return std::string(first, ' ') + std::string(last - first, '#');
}

microseconds end_of(const std::vector<MigrationStep>& steps) {
    return steps.back().start + steps.back().duration;
}

std::string table_of(const std::vector<MigrationStep>& steps, std::size_t columns) {
    Table table({{"STEP", Table::Align::left},
                 {"ROUND", Table::Align::right, 3},
                 {"AT MS", Table::Align::right, 1},
                 {"TOOK MS"},
                 {"SENT KIB", Table::Align::right, 2},
                 {"", Table::Align::left}});
    const microseconds begin = steps.front().start;
    const std::size_t width = std::max(bar_min, columns - std::min(columns, beside_bar));
    for (const MigrationStep& step : steps)
        table.add({step.step, step.round == 0 ? "" : fmt::to_string(step.round), in_milliseconds(step.start),
                   in_milliseconds(step.duration), fmt::to_string(step.sent.value >> 10),
                   bar(step, begin, end_of(steps) - begin, width)});
    return table.print(columns);
}

} // namespace

std::string render_timeline(const std::vector<MigrationStep>& steps, std::size_t columns) {
    if (steps.empty())
        return {};
    std::string text = table_of(steps, columns);
    std::vector<MigrationStep> still;
    std::ranges::copy_if(steps, std::back_inserter(still), &MigrationStep::still);
    if (!still.empty())
        text += fmt::format("\nOf that the guest stood still for {} ms:\n{}",
                            in_milliseconds(end_of(still) - still.front().start), table_of(still, columns));
    return text;
}

} // namespace aerate::control
