// A trace as a text file: the model's name, then an action a line. What was found once is replayed by a unit test, and
// by a real guest on real KVM.
#pragma once

#include "base/error.hpp"
#include "prove/trace.hpp"

#include <string>
#include <string_view>

namespace aerate::prove {

struct TraceFile {
    std::string model; ///< an Entry's name
    Trace trace;
    bool operator==(const TraceFile&) const = default;
};

std::string to_text(const TraceFile&);
/// Says the line that is wrong.
Result<TraceFile> parse_trace_file(std::string_view text);

/// Hashes a verdict and its trace: the same on every machine.
std::uint64_t hash_of(Verdict, std::uint64_t states, const Trace&);

} // namespace aerate::prove
