// Takes messages off the front-end's socket, and puts replies on it. What a single message may be is checked here: its
// header, its length, how many descriptors come with it. Never blocks; a front-end that dribbles bytes, or does not
// read its replies, holds nothing up.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "vhost_user/wire.hpp"

#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

namespace aerate::vhost_user {

struct Message {
    RequestCode request{};
    bool need_reply = false;
    std::vector<std::byte> payload;
    std::vector<FileDescriptor> fds;

    /// REQUIRES: the payload is as long.
    template <typename T>
        requires std::is_trivially_copyable_v<T>
    [[nodiscard]] T read(std::size_t offset = 0) const {
        T value;
        std::memcpy(&value, std::span(payload).subspan(offset, sizeof value).data(), sizeof value);
        return value;
    }
};

class MessageSocket {
public:
    /// Makes it non-blocking.
    explicit MessageSocket(FileDescriptor);

    [[nodiscard]] int fd() const { return fd_.get(); }
    /// The next message, or nothing if it has not come as a whole yet. An error ends the connection: the peer is gone,
    /// or broke the framing (V4), or sent more descriptors than any message has (V1).
    [[nodiscard]] Result<std::optional<Message>> receive();
    /// A reply to `request`. Fails when the peer does not take its replies off the socket.
    [[nodiscard]] Result<> reply(RequestCode request, std::span<const std::byte> payload, int fd = -1);

private:
    [[nodiscard]] Result<bool> fill(std::span<std::byte> wanted);
    [[nodiscard]] Result<> check_header() const;

    FileDescriptor fd_;
    std::array<std::byte, sizeof(Header)> header_{};
    std::size_t received_ = 0; ///< of header and payload
    Message message_;
};

/// Sends one message without waiting. errno is EAGAIN when the socket is full.
[[nodiscard]] bool send_message(int socket, const Header&, std::span<const std::byte> payload, int fd = -1);

} // namespace aerate::vhost_user
