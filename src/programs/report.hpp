// What a VM answered to a command, for people or, when asked, as the JSON that came.
#pragma once

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>

namespace aerate {

class Report {
public:
    /// What `say` prints of it, or with `as_json` the answer itself.
    template <typename Say>
    static void print(const std::string& answer, bool as_json, Say&& say) {
        if (as_json)
            fmt::print("{}\n", answer);
        else
            say(Report(nlohmann::json::parse(answer)));
    }

    [[nodiscard]] std::uint64_t mib(const char* field) const { return number<std::uint64_t>(field) >> 20; }
    [[nodiscard]] double milliseconds(const char* field) const { return number<double>(field) / 1000; }
    template <typename T>
    [[nodiscard]] T number(const char* field) const {
        return fields_.at(field).get<T>();
    }
    [[nodiscard]] bool boolean(const char* field) const { return fields_.at(field).get<bool>(); }
    /// Empty when it is not there.
    [[nodiscard]] std::string text(const char* field) const { return fields_.value(field, std::string()); }

private:
    explicit Report(nlohmann::json fields)
        : fields_(std::move(fields)) {}
    nlohmann::json fields_;
};

} // namespace aerate
