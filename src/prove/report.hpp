// Verdicts as a table for the terminal, as the table of docs/proof.md, and as lines of JSON.
#pragma once

#include "prove/catalogue.hpp"

#include <string>
#include <vector>

namespace aerate::prove {

struct Finding {
    Entry entry;
    Exploration exploration;
    double seconds = 0;
};

[[nodiscard]] inline bool is_expected(const Finding& finding) {
    return finding.exploration.complete && finding.exploration.verdict == finding.entry.expected;
}

std::string table_heading();
std::string table_row(const Finding&);
/// Returns one line, without its end: model, driver, log, use, verdict, states, seconds, trace_length, and more.
std::string json_line(const Finding&);
/// Returns all of docs/proof.md. Without times, so that it is the same on every machine.
std::string proof_page(const std::vector<Finding>&);

} // namespace aerate::prove
