// Aligned columns for people: the first is left-aligned, numbers after it are right-aligned.
#pragma once

#include <string>
#include <vector>

namespace aerate::control {

class Table {
public:
    enum class Align : unsigned char { left, right };
    struct Column {
        std::string title;
        Align align = Align::right;
    };

    explicit Table(std::vector<Column> columns)
        : columns_(std::move(columns)) {}
    /// REQUIRES: as many cells as there are columns.
    void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
    [[nodiscard]] std::string print() const;

private:
    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

} // namespace aerate::control
