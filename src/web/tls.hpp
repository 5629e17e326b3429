// The page's certificate: what it takes to be served beyond loopback.
#pragma once

#include "base/error.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace boost::asio::ssl {
class context;
}

namespace aerate::web {

/// Takes PEM files. Fails if they do not belong together, or others can read the key.
[[nodiscard]] Result<std::shared_ptr<boost::asio::ssl::context>> load_tls(const std::string& certificate_path,
                                                                          const std::string& key_path);
/// Returns whether the certificate is for that name.
[[nodiscard]] bool is_for(boost::asio::ssl::context&, std::string_view name);

} // namespace aerate::web
