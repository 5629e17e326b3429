#include "web/tls.hpp"

#include "base/regular_file.hpp"

#include <boost/asio/ssl/context.hpp>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace aerate::web {

namespace ssl = boost::asio::ssl;

Result<std::shared_ptr<ssl::context>> load_tls(const std::string& certificate_path, const std::string& key_path) {
    // OpenSSL opens them by name, and on a FIFO it would wait for ever.
    TRY(open_regular(certificate_path, Link::follow));
    const RegularFile key = TRY(open_regular(key_path, Link::follow));
    TRY(check_secrecy(key_path, key.owner, key.mode));
    // No configuration file of the host's has a say in this.
    if (::OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr) != 1)
        return fail("OpenSSL cannot be initialised");
    SSL_CTX* const native = ::SSL_CTX_new(::TLS_server_method());
    if (native == nullptr)
        return fail("OpenSSL offers no TLS");
    auto context = std::make_shared<ssl::context>(native); // which owns it
    if (::SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION) != 1)
        return fail("OpenSSL offers no TLS 1.2");
    ::SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    boost::system::error_code error;
    if (context->use_certificate_chain_file(certificate_path, error); error)
        return fail("cannot use the certificate {}: {}", certificate_path, error.message());
    if (context->use_private_key_file(key_path, ssl::context::pem, error); error)
        return fail("cannot use the private key {}: {}", key_path, error.message());
    return context;
}

bool is_for(ssl::context& context, std::string_view name) {
    X509* const certificate = ::SSL_CTX_get0_certificate(context.native_handle());
    return certificate != nullptr && ::X509_check_host(certificate, name.data(), name.size(), 0, nullptr) == 1;
}

} // namespace aerate::web
