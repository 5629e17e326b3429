// VmStatus as Firecracker writes its metrics: one JSON object a line. Counters say by how much they have grown since
// the line before, as Firecracker's do. What both have goes by Firecracker's names; what it alone has is left out.
#pragma once

#include "control/status.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace aerate::control {

class FirecrackerMetrics {
public:
    /// How long the process took from its start, by whoever started it, to its first request.
    struct StartUp {
        std::chrono::microseconds wall{};
        std::chrono::microseconds cpu{};
    };
    void set_start_up(StartUp start_up) { start_up_ = start_up; }

    /// Returns the line, with its end. `now` is the time since 1970. Until delivered() is called, the next one says the
    /// same growth again, and what has come to it.
    [[nodiscard]] std::string line(const VmStatus&, std::chrono::milliseconds now);
    void delivered();

private:
    [[nodiscard]] std::uint64_t growth(const std::string& key, std::uint64_t value);

    struct Count {
        std::uint64_t last = 0;
        std::uint64_t owed = 0; ///< by how much it has grown since the last line that was delivered
    };
    StartUp start_up_;
    std::map<std::string, Count> counts_;
};

} // namespace aerate::control
