// Reads the names of events out of a text/event-stream (HTML, "Server-sent events"), piece by piece. Bounded: what is
// no field "event" is not kept.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace aerate::hostd {

class EventReader {
public:
    static constexpr std::size_t longest_name = 64;

    /// Calls `heard(name)` for each event that ends in these bytes.
    template <typename Heard>
    void feed(std::string_view bytes, Heard&& heard) {
        for (const char c : bytes) {
            if (c == '\r')
                continue;
            if (c != '\n') {
                if (line_.size() < prefix.size() + longest_name)
                    line_ += c;
                else
                    too_long_ = true;
                continue;
            }
            if (line_.empty() && !too_long_) {
                if (!name_.empty())
                    heard(std::string_view(name_));
                name_.clear();
            } else if (!too_long_ && line_.starts_with(prefix)) {
                name_ = line_.substr(prefix.size());
                name_.erase(0, std::min(name_.find_first_not_of(' '), name_.size()));
            }
            line_.clear();
            too_long_ = false;
        }
    }

private:
    static constexpr std::string_view prefix = "event:";
    std::string line_;
    std::string name_;
    bool too_long_ = false;
};

} // namespace aerate::hostd
