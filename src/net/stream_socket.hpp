// Frames over a stream socket, as QEMU's "-netdev stream" has them and passt speaks it: four bytes of length in network
// byte order, then the frame. No virtio header travels with them, and so no offload is offered.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/host.hpp"
#include "net/backend.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace aerate::net {

class StreamSocket : public BackEnd {
public:
    /// Takes a connected stream socket.
    [[nodiscard]] static Result<std::shared_ptr<StreamSocket>> adopt(FileDescriptor, std::string label);

    [[nodiscard]] std::string label() const override { return label_; }
    [[nodiscard]] bool offloads() const override { return false; }
    void set_guest_offloads(GuestOffloads) override {}
    [[nodiscard]] int readable() const override { return fd_.get(); }
    [[nodiscard]] int writable() const override { return for_writing_.get(); }
    [[nodiscard]] Received receive(std::span<const iovec>) override;
    [[nodiscard]] Outcome send(std::span<const iovec>) override;

    [[nodiscard]] Outcome flush() override;

    /// The longest frame that a peer may send. What says to be longer has lost its place in the stream.
    static constexpr std::size_t frame_max = 65535;

private:
    static constexpr std::size_t length_size = 4;
    /// Several frames come with one system call.
    static constexpr std::size_t buffer_size = 4 * (length_size + frame_max);

    StreamSocket(FileDescriptor fd, FileDescriptor for_writing, std::string label,
                 std::unique_ptr<std::byte[], host::FreeMemory> buffer)
        : fd_(std::move(fd))
        , for_writing_(std::move(for_writing))
        , label_(std::move(label))
        , buffer_(std::move(buffer)) {}
    /// A frame that has come whole.
    [[nodiscard]] std::span<const std::byte> next_frame();
    [[nodiscard]] Outcome read_more();
    [[nodiscard]] Outcome lose();

    FileDescriptor fd_;
    FileDescriptor for_writing_;
    std::string label_;
    std::unique_ptr<std::byte[], host::FreeMemory> buffer_; ///< what came: [begin_, end_)
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::vector<std::byte> rest_; ///< of a frame that went in part: one, at most
    std::vector<iovec> pieces_;
    bool lost_ = false;
};

} // namespace aerate::net
