#include "migration/link/tls_channel.hpp"

#include "base/check.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>

#include <sys/socket.h>

#include <algorithm>
#include <climits>

namespace aerate::migration {
namespace {

// OpenSSL's own socket BIO would raise SIGPIPE, and wait where the socket is a blocking one.

int descriptor_of(BIO* bio) {
    return static_cast<const SocketChannel*>(BIO_get_data(bio))->fd();
}

int transferred(BIO* bio, ssize_t count, int retry) {
    BIO_clear_retry_flags(bio);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
    return static_cast<int>(count);
}

int write_socket(BIO* bio, const char* bytes, int length) {
    const auto size = static_cast<std::size_t>(length);
    return transferred(bio, ::send(descriptor_of(bio), bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT), BIO_FLAGS_WRITE);
}

int read_socket(BIO* bio, char* into, int length) {
    const ssize_t count = ::recv(descriptor_of(bio), into, static_cast<std::size_t>(length), MSG_DONTWAIT);
    if (count == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return transferred(bio, count, BIO_FLAGS_READ);
}

long control_socket(BIO* bio, int command, long, void*) {
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
    default:
        return 0;
    }
}

BIO_METHOD* socket_method() {
    static BIO_METHOD* const method = [] {
        BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "aerate socket");
        CHECK(made != nullptr && BIO_meth_set_write(made, write_socket) == 1 &&
              BIO_meth_set_read(made, read_socket) == 1 && BIO_meth_set_ctrl(made, control_socket) == 1);
        return made;
    }();
    return method;
}

} // namespace

TlsChannel::TlsChannel(FileDescriptor socket, const EventFd& interrupt, const Tls& tls, TlsSide side)
    : socket_(std::move(socket), interrupt)
    , tls_(tls)
    , side_(side)
    , ssl_(SSL_new(tls.context())) {
    BIO* bio = BIO_new(socket_method());
    CHECK(ssl_ != nullptr && bio != nullptr); // no memory for a kilobyte
    BIO_set_data(bio, &socket_);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_, bio, bio);
    // A record is read in one go, not its five bytes of header first. Not by a client, which waits with fd().
    if (side == TlsSide::server) {
        SSL_set_read_ahead(ssl_, 1);
        SSL_set_default_read_buffer_len(ssl_, 64U << 10);
    }
}

TlsChannel::~TlsChannel() {
    SSL_free(ssl_);
}

/// Sets the name or the address that the destination's certificate must have. A unix socket's file names its peer.
Result<> TlsChannel::expect_peer() {
    if (tls_.by_secret() || side_ == TlsSide::server)
        return {};
    X509_VERIFY_PARAM* expected = SSL_get0_param(ssl_);
    if (const std::string& name = tls_.peer_name(); !name.empty()) {
        if (X509_VERIFY_PARAM_set1_ip_asc(expected, name.c_str()) != 1 && SSL_set1_host(ssl_, name.c_str()) != 1)
            return fail("{} is not a name that a certificate can carry", name);
        return {};
    }
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    if (::getpeername(socket_.fd(), reinterpret_cast<sockaddr*>(&peer), &length) != 0)
        return fail_errno("cannot determine where the connection goes");
    const auto set = [&](const void* address, std::size_t size) {
        return X509_VERIFY_PARAM_set1_ip(expected, static_cast<const unsigned char*>(address), size) == 1;
    };
    if ((peer.ss_family == AF_INET && !set(&reinterpret_cast<const sockaddr_in&>(peer).sin_addr, 4)) ||
        (peer.ss_family == AF_INET6 && !set(&reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr, 16)))
        return fail("OpenSSL does not accept the destination's address");
    return {};
}

Result<> TlsChannel::open(std::chrono::milliseconds limit) {
    TRY(expect_peer());
    const auto until = Clock::now() + limit;
    for (;;) {
        ERR_clear_error();
        const int done = side_ == TlsSide::client ? SSL_connect(ssl_) : SSL_accept(ssl_);
        if (done == 1)
            break;
        TRY(wait_or_explain(done, until, limit));
    }
    // Only a peer that has the secret can have got here with it; without it a certificate would have been needed, of an
    // authority that was not named.
    if (tls_.by_secret() && SSL_session_reused(ssl_) != 1)
        return fail("the other side does not have the same pre-shared key");
    opened_ = true;
    return {};
}

Result<> TlsChannel::send(std::span<const std::byte> bytes, std::chrono::milliseconds limit) {
    const auto until = Clock::now() + limit;
    while (!bytes.empty()) {
        ERR_clear_error();
        std::size_t sent = 0;
        if (const int done = SSL_write_ex(ssl_, bytes.data(), bytes.size(), &sent); done == 1)
            bytes = bytes.subspan(sent);
        else
            TRY(wait_or_explain(done, until, limit));
    }
    return {};
}

Result<> TlsChannel::receive(std::span<std::byte> into, std::chrono::milliseconds limit) {
    const auto until = Clock::now() + limit;
    while (!into.empty()) {
        ERR_clear_error();
        std::size_t received = 0;
        if (const int done = SSL_read_ex(ssl_, into.data(), into.size(), &received); done == 1)
            into = into.subspan(received);
        else
            TRY(wait_or_explain(done, until, limit));
    }
    return {};
}

Result<std::size_t> TlsChannel::receive_some(std::span<std::byte> into, std::chrono::milliseconds limit) {
    const auto until = Clock::now() + limit;
    for (;;) {
        ERR_clear_error();
        std::size_t received = 0;
        const int done = SSL_read_ex(ssl_, into.data(), into.size(), &received);
        if (done == 1 || SSL_get_error(ssl_, done) == SSL_ERROR_ZERO_RETURN)
            return received;
        TRY(wait_or_explain(done, until, limit));
    }
}

Result<> TlsChannel::wait_for_more() {
    return SSL_has_pending(ssl_) == 1 ? Result<>() : socket_.wait_for_more();
}

bool TlsChannel::holds_more() const {
    return SSL_pending(ssl_) > 0;
}

void TlsChannel::finish(std::chrono::milliseconds limit) {
    if (opened_) {
        ERR_clear_error();
        (void)SSL_shutdown(ssl_);
    }
    socket_.finish(limit);
}

/// Waits for what OpenSSL needs to continue, or says why it cannot.
Result<> TlsChannel::wait_or_explain(int returned, Clock::time_point until, std::chrono::milliseconds limit) {
    const int system_error = errno;
    switch (SSL_get_error(ssl_, returned)) {
    case SSL_ERROR_WANT_READ:
        return socket_.wait(POLLIN, until, limit);
    case SSL_ERROR_WANT_WRITE:
        return socket_.wait(POLLOUT, until, limit);
    case SSL_ERROR_ZERO_RETURN:
        return fail("the other side has closed the connection");
    case SSL_ERROR_SYSCALL:
        return std::unexpected(
            Error{fmt::format("the other side is gone: {}", describe_errno(system_error)), system_error});
    default:
        break;
    }
    // An end without TLS's own is a cut: an attacker on the path may have made it.
    if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return fail("the connection to the other side was cut{}",
                    opened_ ? ""
                            : " in the middle of the TLS handshake: do both sides use the same key, or certificates of "
                              "the same authority?");
    return fail("TLS with the other side failed: {}", reason());
}

std::string TlsChannel::reason() const {
    if (const long verified = SSL_get_verify_result(ssl_); !tls_.by_secret() && verified != X509_V_OK)
        return fmt::format("its certificate: {}", X509_verify_cert_error_string(verified));
    const auto code = ERR_peek_error();
    switch (ERR_GET_REASON(code)) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_TOO_SMALL:
        return "it does not speak TLS: it was started without a key or certificates";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return "it does not speak TLS 1.3";
    default:
        break;
    }
    const char* text = ERR_reason_error_string(code);
    const bool refused = tls_.by_secret() && !opened_;
    return fmt::format("{}{}", text != nullptr ? text : "no reason given",
                       refused ? ": do both sides use the same pre-shared key?" : "");
}

} // namespace aerate::migration
