// Who is served. Pure: the page's rules of access in one place.
//
// A caller shows the token in the header Authorization, which a browser sends for nobody but our own script: there is
// no cookie, so no other site can have a browser act in our user's name. Two more rules hold even where that fails:
//  - Host must be an address, "localhost", or a name that our certificate is for. A stranger's name that was made to
//  lead
//    here (DNS rebinding) is none of these.
//  - What changes something comes from our own page or from no page: Origin is ours, or absent.
#pragma once

#include "web/request.hpp"
#include "web/route.hpp"
#include "web/token.hpp"

#include <functional>
#include <optional>
#include <string_view>

namespace aerate::web {

struct Access {
    Token token;
    bool tls = false;
    bool metrics_open = false;
    /// Returns whether the certificate is for that name.
    std::function<bool(std::string_view name)> certified = [](std::string_view) { return false; };
};

/// Returns why the request is refused, whatever it asks for.
[[nodiscard]] std::optional<Refusal> refuse_host(const Access&, const Request&);
[[nodiscard]] std::optional<Refusal> refuse_caller(const Access&, const Request&, const Route&);
/// Returns whether the caller has shown the token.
[[nodiscard]] bool shows_token(const Access&, const Request&);

/// Returns the name in "name:port", "[v6]:port" and the like, brackets off; nothing if it is none of these.
[[nodiscard]] std::optional<std::string_view> host_name(std::string_view host);

} // namespace aerate::web
