// How the operator wants the page served.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace aerate::web {

struct Limits {
    std::uint32_t header_bytes = 8 << 10;
    std::size_t header_fields = 64;
    std::uint64_t body_bytes = 4 << 10;
    std::size_t connections = 128; ///< one more ends the oldest that has not shown the token
    std::size_t watchers = 32;     ///< of them, who are sent events
    std::chrono::milliseconds handshake_deadline{5'000};
    std::chrono::milliseconds header_deadline{5'000};
    std::chrono::milliseconds body_deadline{5'000};
    std::chrono::milliseconds write_deadline{10'000};
    std::chrono::milliseconds idle_deadline{60'000};
    std::chrono::milliseconds event_interval{900}; ///< at least, between two; a little under the tick of a second
};

struct Options {
    std::string listen = "127.0.0.1:9470"; ///< numbers; anything but loopback needs the two files
    std::string certificate_path{};        ///< PEM, with its chain
    std::string key_path{};
    std::string token_path{};  ///< empty: a token is made
    bool metrics_open = false; ///< who can connect can read /metrics
    Limits limits{};
};

} // namespace aerate::web
