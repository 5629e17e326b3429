#include "control/table.hpp"

#include "base/check.hpp"
#include "base/printable.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace aerate::control {

void Table::add(std::vector<std::string> cells) {
    for (std::string& cell : cells)
        cell = printable(cell);
    rows_.push_back(std::move(cells));
}

std::string Table::print(std::size_t room) const {
    struct Shown {
        std::size_t column;
        std::size_t width;
    };
    constexpr std::size_t gap = 2;
    std::vector<Shown> shown;
    std::size_t whole = 0;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        std::size_t width = columns_[i].title.size();
        for (const auto& row : rows_) {
            CHECK(row.size() == columns_.size());
            width = std::max(width, row[i].size());
        }
        whole += (i == 0 ? 0 : gap) + width;
        shown.push_back({i, width});
    }
    while (whole > room) {
        const auto first = std::ranges::max_element(
            shown, {}, [this](const Shown& candidate) { return columns_[candidate.column].dispensable; });
        if (first == shown.end() || columns_[first->column].dispensable == 0)
            break;
        whole -= gap + first->width;
        shown.erase(first);
    }
    std::string text;
    const auto add_line = [&](auto cell_of) {
        std::string line;
        for (const auto& [column, width] : shown)
            line += columns_[column].align == Align::left ? fmt::format("{:<{}}  ", cell_of(column), width)
                                                          : fmt::format("{:>{}}  ", cell_of(column), width);
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + '\n';
    };
    add_line([&](std::size_t i) -> const std::string& { return columns_[i].title; });
    for (const auto& row : rows_)
        add_line([&](std::size_t i) -> const std::string& { return row[i]; });
    return text;
}

} // namespace aerate::control
