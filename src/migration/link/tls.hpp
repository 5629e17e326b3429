// What keeps strangers off a migration's connection: TLS 1.3, in which each side proves who it is, by a certificate of
// an authority that both trust or by a secret that both have.
//
//     const auto tls = TRY(protect(endpoint, {.psk_path = "/etc/aerate/psk"}));    // null: plain, and that is allowed
//     auto connection = connect_channel(socket, interrupt, tls.get(), TlsSide::client);
//
// Nothing of OpenSSL's TLS is touched before credentials are loaded: a monitor that does not migrate pays nothing.
#pragma once

#include "base/error.hpp"
#include "migration/link/channel.hpp"
#include "migration/link/endpoint.hpp"

#include <array>
#include <memory>
#include <string>

struct ssl_ctx_st;

namespace aerate::migration {

/// As a user names it: either the secret, or the three files of certificates, or neither.
struct Protection {
    std::string psk_path{};         ///< 32 secret bytes, the same on both sides
    std::string certificate_path{}; ///< PEM, with the chain up to the authority
    std::string key_path{};         ///< of the certificate
    std::string ca_path{};          ///< PEM: who may have signed the other side's certificate
    std::string peer_name{};        ///< in the destination's certificate; empty: its address
    /// This side connects, and needs no certificate of its own where the other asks for none.
    bool only_connects = false;
    bool plain = false; ///< over TCP without either: whoever can reach the address is believed
};

enum class TlsSide : std::uint8_t { client, server };

/// Credentials, loaded and checked. For both sides, and any number of connections at once.
class Tls {
public:
    [[nodiscard]] static Result<std::unique_ptr<const Tls>> load(const Protection&);
    ~Tls();
    Tls(const Tls&) = delete;
    Tls& operator=(const Tls&) = delete;

    [[nodiscard]] ssl_ctx_st* context() const { return context_; }
    [[nodiscard]] bool by_secret() const { return by_secret_; }
    [[nodiscard]] const std::string& peer_name() const { return peer_name_; }
    using Secret = std::array<unsigned char, 32>;
    [[nodiscard]] const Secret& secret() const { return secret_; }

private:
    Tls() = default;
    [[nodiscard]] Result<> use_secret(const std::string& path);
    [[nodiscard]] Result<> use_certificates(const Protection&);
    [[nodiscard]] Result<> use_own_certificate(const Protection&);

    ssl_ctx_st* context_ = nullptr;
    bool by_secret_ = false;
    Secret secret_{};
    std::string peer_name_;
};

/// Returns null when the connection is to be plain: on a unix socket, where the kernel says who the peer is, or over
/// TCP with a warning if `plain` allows it. Loopback is TCP like any other: every user of this machine can be there.
[[nodiscard]] Result<std::unique_ptr<const Tls>> protect(const Endpoint&, const Protection&);

/// `tls`: null for a plain one. It and `interrupt` outlive the connection.
[[nodiscard]] std::unique_ptr<Connection> connect_channel(FileDescriptor socket, const EventFd& interrupt,
                                                          const Tls* tls, TlsSide);

} // namespace aerate::migration
