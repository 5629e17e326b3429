// A back end of a test: gives the frames that it is told to, and keeps what it is sent.
#pragma once

#include "base/check.hpp"
#include "base/fd.hpp"
#include "event/event_fd.hpp"
#include "net/backend.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>
#include <functional>
#include <string>
#include <vector>

namespace aerate::net::testing {

using Bytes = std::vector<std::byte>;

/// A frame behind an empty header: addresses, and then bytes that count up.
inline Bytes make_frame(std::size_t size, const MacAddress& source = {2, 0, 0, 0, 0, 1}) {
    Bytes frame(header::size + size);
    for (std::size_t i = header::size; i < frame.size(); ++i)
        frame[i] = static_cast<std::byte>(i * 7);
    for (std::size_t i = 0; i < source.size() && header::size + source_mac_offset + i < frame.size(); ++i)
        frame[header::size + source_mac_offset + i] = std::byte{source[i]};
    return frame;
}

class FakeBackEnd final : public BackEnd {
public:
    explicit FakeBackEnd(bool is_used = true)
        : used(is_used) {}

    std::deque<Bytes> to_guest;
    std::vector<Bytes> sent;
    Outcome send_outcome = Outcome::done;
    Outcome receive_outcome = Outcome::done; ///< of frames that there are
    bool gone = false;
    bool fails = false;
    bool can_offload = true;
    GuestOffloads offloads_now{};
    unsigned receives = 0;
    bool used;
    bool refuses_use = false;
    std::function<void()> when_empty{}; ///< called when it says so

    /// The loop's watch sees it.
    void give(Bytes frame) {
        to_guest.push_back(std::move(frame));
        frames_.signal();
    }
    /// Takes no frame, and is not writable, until make_room().
    void be_full() {
        send_outcome = Outcome::later;
        constexpr std::array<std::byte, 4096> chunk{};
        while (::write(room_[1].get(), chunk.data(), chunk.size()) > 0) {
        }
    }
    void make_room() {
        send_outcome = Outcome::done;
        std::array<std::byte, 4096> chunk{};
        while (::read(room_[0].get(), chunk.data(), chunk.size()) > 0) {
        }
    }

    [[nodiscard]] std::string label() const override { return "fake"; }
    [[nodiscard]] bool offloads() const override { return can_offload; }
    void set_guest_offloads(GuestOffloads offloads) override { offloads_now = offloads; }
    [[nodiscard]] bool set_used(bool is_used) override {
        if (is_used && refuses_use)
            return false;
        used = is_used;
        return true;
    }
    [[nodiscard]] int readable() const override { return frames_.fd(); }
    [[nodiscard]] int writable() const override { return room_[1].get(); }
    [[nodiscard]] Received receive(std::span<const iovec> pieces) override {
        ++receives;
        if (gone)
            return {Outcome::gone, 0};
        if (fails)
            return {Outcome::dropped, 0};
        if (to_guest.empty()) {
            (void)frames_.drain();
            if (when_empty)
                when_empty();
            return {Outcome::later, 0};
        }
        const Bytes frame = std::move(to_guest.front());
        to_guest.pop_front();
        std::size_t at = 0;
        for (const iovec& piece : pieces) {
            const std::size_t length = std::min(piece.iov_len, frame.size() - at);
            std::copy_n(frame.data() + at, length, static_cast<std::byte*>(piece.iov_base));
            at += length;
        }
        return {receive_outcome, at};
    }
    [[nodiscard]] Outcome send(std::span<const iovec> pieces) override {
        if (send_outcome != Outcome::done)
            return send_outcome;
        Bytes& frame = sent.emplace_back();
        for (const iovec& piece : pieces) {
            const auto* const bytes = static_cast<const std::byte*>(piece.iov_base);
            frame.insert(frame.end(), bytes, bytes + piece.iov_len);
        }
        return Outcome::done;
    }

private:
    EventFd frames_ = *EventFd::create();
    static std::array<FileDescriptor, 2> pipe() {
        std::array<int, 2> ends{};
        CHECK(::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) == 0);
        return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
    }
    std::array<FileDescriptor, 2> room_ = pipe();
};

} // namespace aerate::net::testing
