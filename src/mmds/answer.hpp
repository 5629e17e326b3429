// What a guest's request comes to, by Firecracker's rules: paths, sessions, formats, status codes.
#pragma once

#include "control/mmds_config.hpp"
#include "mmds/counters.hpp"
#include "mmds/store.hpp"
#include "mmds/tokens.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace aerate::mmds {

/// What a request is answered by.
struct Request {
    std::string method;
    std::string target;
    std::string accept; ///< all that its Accept headers say
    std::optional<std::string> token;
    std::optional<std::string> token_life;
    bool ec2_names = false;      ///< the life came by EC2's name, and goes back by it
    bool forwarded = false;      ///< a proxy in the guest has passed it on: it has X-Forwarded-For
    bool several_values = false; ///< a token or a life came twice
};

struct Response {
    unsigned status = 200;
    std::string body{};
    bool json = false;
    std::string_view allow{}; ///< what methods there are, when it was none of them
    std::string_view life_header{};
    std::string life{};
};

/// What all requests of a VM are answered from. Lives on the main loop.
struct Source {
    const Store& store;
    const Tokens& tokens;
    control::MmdsVersion version = control::MmdsVersion::v1;
    bool imds_compat = false;
    Counters* counters = nullptr; ///< null: nobody counts
};

[[nodiscard]] Response answer(const Source&, const Request&, Tokens::Time now);

} // namespace aerate::mmds
