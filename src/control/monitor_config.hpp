// Where the monitor's own words go: its log, Firecracker's metrics, the guest's serial output. They belong to the
// process and are named by its operator; a snapshot or a stream has none of them.
#pragma once

#include "base/error.hpp"
#include "base/log.hpp"
#include "control/rate_limiter_config.hpp"
#include "control/schema.hpp"

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace aerate::control {

/// Firecracker reads them in any case; the first spelling of each is the one that is printed.
inline constexpr WordList<log::Level, 21> log_level_words{
    {{"Error", log::Level::error},     {"error", log::Level::error},     {"ERROR", log::Level::error},
     {"Warning", log::Level::warning}, {"warning", log::Level::warning}, {"WARNING", log::Level::warning},
     {"Warn", log::Level::warning},    {"warn", log::Level::warning},    {"WARN", log::Level::warning},
     {"Info", log::Level::info},       {"info", log::Level::info},       {"INFO", log::Level::info},
     {"Debug", log::Level::debug},     {"debug", log::Level::debug},     {"DEBUG", log::Level::debug},
     {"Trace", log::Level::trace},     {"trace", log::Level::trace},     {"TRACE", log::Level::trace},
     {"Off", log::Level::off},         {"off", log::Level::off},         {"OFF", log::Level::off}}};

struct LoggerConfig {
    std::optional<std::string> log_path{};
    std::optional<log::Level> level{};
    std::optional<bool> show_level{};
    static constexpr std::string_view object = "logger";
    static void describe(auto& fields, auto& self) {
        fields("log_path", self.log_path);
        fields("level", Word{self.level, log_level_words});
        fields("show_level", self.show_level);
        fields.only("show_log_origin", false, "messages name no source lines; leave it out");
        fields.refuse("module", "messages belong to no module that they could be filtered by; leave it out");
    }
    bool operator==(const LoggerConfig&) const = default;
};

struct MetricsConfig {
    std::string metrics_path{};
    static constexpr std::string_view object = "metrics";
    static void describe(auto& fields, auto& self) {
        fields("metrics_path", self.metrics_path, mandatory.with(not_empty));
    }
    bool operator==(const MetricsConfig&) const = default;
};

struct SerialConfig {
    std::optional<std::string> serial_out_path{};
    std::optional<TokenBucketConfig> rate_limiter{}; ///< of bytes; those beyond it are dropped
    static constexpr std::string_view object = "serial";
    static void describe(auto& fields, auto& self) {
        fields("serial_out_path", self.serial_out_path);
        fields("rate_limiter", self.rate_limiter);
    }
    bool operator==(const SerialConfig&) const = default;
};

struct MonitorConfig {
    std::optional<LoggerConfig> logger{};
    std::optional<MetricsConfig> metrics{};
    std::optional<SerialConfig> serial{};
    bool operator==(const MonitorConfig&) const = default;
};

} // namespace aerate::control
