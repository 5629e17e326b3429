// What of a caller's request is looked at: as it came, from anybody.
#pragma once

#include <string_view>

namespace aerate::web {

struct Request {
    std::string_view method{};
    std::string_view target{};
    std::string_view body{};
    std::string_view host{};          ///< empty: it has none
    std::string_view origin{};        ///< likewise
    std::string_view authorization{}; ///< likewise
};

/// Why a request is not served.
struct Refusal {
    unsigned status = 400;
    std::string_view words{};     ///< for people; points into nothing that a caller sent
    std::string_view allow = {};  ///< with 405: the methods that there are
    std::string_view advice = {}; ///< with 401: RFC 6750's challenge
};

} // namespace aerate::web
