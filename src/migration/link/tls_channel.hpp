// TLS over a socket. Its errors about a failed handshake are meant for the operator who set up the two sides.
#pragma once

#include "migration/link/tls.hpp"

struct ssl_st;

namespace aerate::migration {

class TlsChannel final : public Connection {
public:
    TlsChannel(FileDescriptor socket, const EventFd& interrupt, const Tls&, TlsSide);
    ~TlsChannel() override;
    TlsChannel(const TlsChannel&) = delete;
    TlsChannel& operator=(const TlsChannel&) = delete;

    Result<> open(std::chrono::milliseconds limit) override;
    Result<> send(std::span<const std::byte>, std::chrono::milliseconds limit) override;
    Result<> receive(std::span<std::byte>, std::chrono::milliseconds limit) override;
    Result<std::size_t> receive_some(std::span<std::byte>, std::chrono::milliseconds limit) override;
    Result<> wait_for_more() override;
    [[nodiscard]] int fd() const override { return socket_.fd(); }
    [[nodiscard]] bool holds_more() const override;
    void ignore_interrupts() override { socket_.ignore_interrupts(); }
    void finish(std::chrono::milliseconds limit) override;
    [[nodiscard]] std::chrono::nanoseconds waited() const override { return socket_.waited(); }

private:
    using Clock = SocketChannel::Clock;
    [[nodiscard]] Result<> expect_peer();
    [[nodiscard]] Result<> wait_or_explain(int returned, Clock::time_point until, std::chrono::milliseconds limit);
    [[nodiscard]] std::string reason() const;

    SocketChannel socket_;
    const Tls& tls_;
    TlsSide side_;
    ssl_st* ssl_ = nullptr;
    bool opened_ = false;
};

} // namespace aerate::migration
