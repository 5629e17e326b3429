#include "migration/link/tls.hpp"

#include "base/log.hpp"
#include "base/regular_file.hpp"
#include "migration/link/tls_channel.hpp"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <sys/stat.h>

#include <string_view>

namespace aerate::migration {
namespace {

// The hash of the first is what the secret is bound to, so a secret allows only those that share it.
constexpr const char* ciphers_for_secret = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
constexpr const char* ciphers_for_certificates =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
constexpr std::array<unsigned char, 2> cipher_of_secret{0x13, 0x01};
constexpr std::string_view identity = "aerate";
const auto* const identity_bytes = reinterpret_cast<const unsigned char*>(identity.data());

const Tls& credentials_of(SSL* ssl) {
    return *static_cast<const Tls*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
}

/// Returns the secret as TLS 1.3 has it: the session of a connection that never was (RFC 8446, 4.2.11).
SSL_SESSION* session_of_secret(SSL* ssl) {
    const auto& secret = credentials_of(ssl).secret();
    SSL_SESSION* session = SSL_SESSION_new();
    const SSL_CIPHER* cipher = SSL_CIPHER_find(ssl, cipher_of_secret.data());
    if (session != nullptr && cipher != nullptr &&
        SSL_SESSION_set1_master_key(session, secret.data(), secret.size()) == 1 &&
        SSL_SESSION_set1_id_context(session, identity_bytes, identity.size()) == 1 &&
        SSL_SESSION_set_cipher(session, cipher) == 1 && SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1)
        return session;
    SSL_SESSION_free(session);
    return nullptr;
}

int offer_secret(SSL* ssl, const EVP_MD* digest, const unsigned char** id, std::size_t* length, SSL_SESSION** session) {
    *session = nullptr;
    // Asked a second time after a HelloRetryRequest, for the hash that was agreed on.
    if (digest != nullptr && EVP_MD_get_type(digest) != NID_sha256)
        return 1;
    *session = session_of_secret(ssl);
    *id = identity_bytes;
    *length = identity.size();
    return *session != nullptr ? 1 : 0;
}

int find_secret(SSL* ssl, const unsigned char* id, std::size_t length, SSL_SESSION** session) {
    const bool ours = std::string_view(reinterpret_cast<const char*>(id), length) == identity;
    *session = ours ? session_of_secret(ssl) : nullptr;
    return !ours || *session != nullptr ? 1 : 0;
}

std::unexpected<Error> fail_tls(const char* what, const std::string& path) {
    const auto code = ERR_peek_error();
    const char* text = ERR_SYSTEM_ERROR(code) ? nullptr : ERR_reason_error_string(code);
    auto error = fail("cannot use the {} {}: {}", what, path,
                      ERR_SYSTEM_ERROR(code) ? describe_errno(ERR_GET_REASON(code))
                                             : std::string(text != nullptr ? text : "it is malformed"));
    ERR_clear_error();
    return error;
}

} // namespace

Result<std::unique_ptr<const Tls>> Tls::load(const Protection& wanted) {
    const bool certificates = !wanted.certificate_path.empty() || !wanted.key_path.empty() || !wanted.ca_path.empty();
    const bool anonymous = wanted.only_connects && wanted.certificate_path.empty() && wanted.key_path.empty();
    const bool own = !wanted.certificate_path.empty() && !wanted.key_path.empty();
    if (certificates && (wanted.ca_path.empty() || (!own && !anonymous)))
        return fail("TLS needs three files: this side's certificate, its key, and the authority's certificate");
    if (certificates != wanted.psk_path.empty())
        return fail("a connection is protected by a secret or by certificates, not by both");
    // No configuration file of the host's has a say in this.
    if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr) != 1)
        return fail("OpenSSL cannot be initialised");
    std::unique_ptr<Tls> tls(new Tls);
    tls->context_ = SSL_CTX_new(TLS_method());
    SSL_CTX* context = tls->context_;
    if (context == nullptr || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(context, certificates ? ciphers_for_certificates : ciphers_for_secret) != 1)
        return fail("OpenSSL offers no TLS 1.3");
    SSL_CTX_set_app_data(context, tls.get());
    // Every migration proves anew who it is with: no tickets, no sessions that are resumed.
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_set_session_id_context(context, identity_bytes, identity.size()) != 1)
        return fail("OpenSSL accepts no session context");
    if (SSL_CTX_set_num_tickets(context, 0) != 1)
        return fail("OpenSSL insists on session tickets");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    tls->peer_name_ = wanted.peer_name;
    TRY(certificates ? tls->use_certificates(wanted) : tls->use_secret(wanted.psk_path));
    return tls;
}

Result<> Tls::use_secret(const std::string& path) {
    auto read = read_secret(path, std::as_writable_bytes(std::span(secret_)));
    if (!read)
        return fail_because(std::move(read).error(), "cannot use the pre-shared key {}", path);
    by_secret_ = true;
    SSL_CTX_set_psk_use_session_callback(context_, offer_secret);
    SSL_CTX_set_psk_find_session_callback(context_, find_secret);
    return {};
}

Result<> Tls::use_certificates(const Protection& files) {
    // OpenSSL opens them by name, and on a FIFO it would wait for ever.
    for (const std::string* const path : {&files.certificate_path, &files.key_path, &files.ca_path}) {
        struct stat status{};
        if (::stat(path->c_str(), &status) == 0 && !S_ISREG(status.st_mode))
            return fail("cannot use {}: it is not a regular file", *path);
    }
    ERR_clear_error();
    if (!files.certificate_path.empty())
        TRY(use_own_certificate(files));
    if (SSL_CTX_load_verify_file(context_, files.ca_path.c_str()) != 1)
        return fail_tls("authority's certificate", files.ca_path);
    return {};
}

Result<> Tls::use_own_certificate(const Protection& files) {
    if (SSL_CTX_use_certificate_chain_file(context_, files.certificate_path.c_str()) != 1)
        return fail_tls("certificate", files.certificate_path);
    struct stat key{};
    if (::stat(files.key_path.c_str(), &key) == 0)
        if (auto secret = check_secrecy(files.key_path, key.st_uid, key.st_mode); !secret)
            return fail_because(std::move(secret).error(), "cannot use the private key {}", files.key_path);
    if (SSL_CTX_use_PrivateKey_file(context_, files.key_path.c_str(), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context_) != 1)
        return fail_tls("private key", files.key_path);
    return {};
}

Tls::~Tls() {
    SSL_CTX_free(context_);
    OPENSSL_cleanse(secret_.data(), secret_.size());
}

Result<std::unique_ptr<const Tls>> protect(const Endpoint& endpoint, const Protection& wanted) {
    const bool named = !wanted.psk_path.empty() || !wanted.certificate_path.empty() || !wanted.key_path.empty() ||
                       !wanted.ca_path.empty();
    if (named && wanted.plain)
        return fail("a connection is either plain or protected by what was given: leave one of them out");
    if (named)
        return Tls::load(wanted);
    if (endpoint.is_unix())
        return nullptr; // the kernel says who is at the other end: connect_to() and Listener::accept() ask
    if (!wanted.plain)
        return fail("{} is not authenticated: whoever can reach it, every user of this machine included, could take "
                    "the guest's memory or send a guest of their own. Give both sides the same pre-shared key "
                    "(--psk) or certificates (--tls-cert); on one machine a unix:PATH needs neither. --plain allows it "
                    "without",
                    endpoint.text());
    log::warning("{} is plain: whoever can reach it, every user of this machine included, can read and change the "
                 "guest's memory in transit, take it, or send a guest of their own",
                 endpoint.text());
    return nullptr;
}

std::unique_ptr<Connection> connect_channel(FileDescriptor socket, const EventFd& interrupt, const Tls* tls,
                                            TlsSide side) {
    if (tls == nullptr)
        return std::make_unique<SocketChannel>(std::move(socket), interrupt);
    return std::make_unique<TlsChannel>(std::move(socket), interrupt, *tls, side);
}

} // namespace aerate::migration
