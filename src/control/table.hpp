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
        unsigned dispensable = 0; ///< where there is no room, the columns with the highest number go first; 0 stays
    };

    explicit Table(std::vector<Column> columns)
        : columns_(std::move(columns)) {}
    /// Adds a row; each cell becomes printable().
    /// REQUIRES: as many cells as there are columns.
    void add(std::vector<std::string> cells);
    /// Prints the table as wide as it takes, or without the columns that do not fit into `room`.
    [[nodiscard]] std::string print(std::size_t room = std::string::npos) const;

private:
    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

} // namespace aerate::control
