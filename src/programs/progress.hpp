// One line on a terminal that says how far something is.
#pragma once

#include "base/units.hpp"

#include <chrono>
#include <string>

namespace aerate {

/// Prints to standard error, and only when that is a terminal.
class ProgressLine {
public:
    explicit ProgressLine(std::string what);
    ~ProgressLine() { clear(); }
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;

    void show(ByteCount done, ByteCount all);
    void show(const std::string& text);
    void clear();

private:
    std::string what_;
    bool terminal_;
    bool shown_ = false;
    std::chrono::steady_clock::time_point last_{};
};

} // namespace aerate
