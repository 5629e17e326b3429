// Answers requests: who may ask (guard), what is asked (route), and what the source says to it.
#pragma once

#include "web/guard.hpp"
#include "web/source.hpp"

#include <functional>
#include <string>
#include <string_view>

namespace aerate::web {

struct Response {
    unsigned status = 200;
    std::string_view content_type = "application/json";
    std::string body{};
    std::string_view allow{};
    std::string_view challenge{};
    bool events = false; ///< no body: the caller is sent events from now on
};

/// Returns an error as JSON, as the control interface has it.
[[nodiscard]] Response failure(unsigned status, std::string_view words);

class Desk {
public:
    Desk(Access access, Source& source)
        : access_(std::move(access))
        , source_(source) {}

    using Respond = std::move_only_function<void(Response)>;
    /// Calls `respond` once, now or later. `caller` is for the log: who had a VM do something.
    void answer(const Request&, const std::string& caller, Respond);
    [[nodiscard]] const Access& access() const { return access_; }
    /// Returns what watchers are sent: the status, as one event.
    [[nodiscard]] std::string print_event() const;

private:
    [[nodiscard]] std::string print_status() const;

    Access access_;
    Source& source_;
};

} // namespace aerate::web
