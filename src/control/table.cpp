#include "control/table.hpp"

#include "base/check.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace aerate::control {

std::string Table::print() const {
    std::vector<std::size_t> widths;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        std::size_t width = columns_[i].title.size();
        for (const auto& row : rows_) {
            CHECK(row.size() == columns_.size());
            width = std::max(width, row[i].size());
        }
        widths.push_back(width);
    }
    std::string text;
    const auto add_line = [&](auto cell_of) {
        std::string line;
        for (std::size_t i = 0; i < columns_.size(); ++i)
            line += columns_[i].align == Align::left ? fmt::format("{:<{}}  ", cell_of(i), widths[i])
                                                     : fmt::format("{:>{}}  ", cell_of(i), widths[i]);
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + '\n';
    };
    add_line([&](std::size_t i) -> const std::string& { return columns_[i].title; });
    for (const auto& row : rows_)
        add_line([&](std::size_t i) -> const std::string& { return row[i]; });
    return text;
}

} // namespace aerate::control
