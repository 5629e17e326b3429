// Writes Prometheus' text exposition format, version 0.0.4. Not by a metrics library: values are exact 64-bit integers,
// and there is no registry to keep.
#pragma once

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace aerate::control {

/// Writes families: all samples of one name together, below its HELP and TYPE, as the format demands.
class MetricsWriter {
public:
    using Labels = std::vector<std::pair<std::string, std::string>>;

    /// Puts `common` before the labels of each sample.
    explicit MetricsWriter(Labels common = {})
        : common_(std::move(common)) {}

    void family(std::string_view name, std::string_view type, std::string_view help) {
        name_ = name;
        fmt::format_to(std::back_inserter(text_), "# HELP aerate_{0} {1}\n# TYPE aerate_{0} {2}\n", name,
                       escaped(help, false), type);
    }
    template <typename Value>
    void sample(const Value& value, const Labels& labels = {}) {
        fmt::format_to(std::back_inserter(text_), "aerate_{}", name_);
        char before = '{';
        for (const Labels* const list : std::array<const Labels*, 2>{&common_, &labels})
            for (const auto& [label, word] : *list) {
                fmt::format_to(std::back_inserter(text_), "{}{}=\"{}\"", before, label, escaped(word, true));
                before = ',';
            }
        fmt::format_to(std::back_inserter(text_), "{}{}\n", before == ',' ? "} " : " ", value);
    }
    template <typename Value>
    void gauge(std::string_view name, std::string_view help, const Value& value) {
        family(name, "gauge", help);
        sample(value);
    }
    [[nodiscard]] std::string take() { return std::move(text_); }

private:
    [[nodiscard]] static std::string escaped(std::string_view text, bool in_quotes) {
        std::string out;
        for (const char c : text) {
            if (c == '\n')
                out += "\\n";
            else if (c == '\\' || (in_quotes && c == '"'))
                (out += '\\') += c;
            else
                out += c;
        }
        return out;
    }

    Labels common_;
    std::string name_;
    std::string text_;
};

/// Returns a time in seconds, exactly: "12.000345".
[[nodiscard]] inline std::string exact_seconds(std::chrono::microseconds time) {
    constexpr std::uint64_t second = 1'000'000;
    const auto count = static_cast<std::uint64_t>(time.count() < 0 ? 0 : time.count());
    return fmt::format("{}.{:06}", count / second, count % second);
}

} // namespace aerate::control
