// A tap device: an Ethernet port of the host, or one queue of such, as a descriptor (Linux,
// Documentation/networking/tuntap.rst).
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "net/backend.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace aerate::net {

class Tap final : public BackEnd {
public:
    enum class Queues : std::uint8_t { one, several };

    /// Attaches to the tap of that name, which a process with CAP_NET_ADMIN makes if it does not exist. Fails when
    /// another process is attached to it, unless it has several queues: then this is one more of them.
    [[nodiscard]] static Result<std::shared_ptr<Tap>> open(const std::string& name, Queues = Queues::one);
    /// Takes a descriptor of a tap that somebody else has opened, with IFF_VNET_HDR; one of several with
    /// IFF_MULTI_QUEUE too.
    [[nodiscard]] static Result<std::shared_ptr<Tap>> adopt(FileDescriptor, Queues = Queues::one);

    [[nodiscard]] std::string label() const override { return "tap " + name_; }
    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] bool offloads() const override { return true; }
    void set_guest_offloads(GuestOffloads) override;
    [[nodiscard]] bool set_used(bool) override;
    [[nodiscard]] int readable() const override { return fd_.get(); }
    [[nodiscard]] int writable() const override { return for_writing_.get(); }
    [[nodiscard]] Received receive(std::span<const iovec>) override;
    [[nodiscard]] Outcome send(std::span<const iovec>) override;

private:
    Tap(std::string name, FileDescriptor fd, FileDescriptor for_writing)
        : name_(std::move(name))
        , fd_(std::move(fd))
        , for_writing_(std::move(for_writing)) {}
    [[nodiscard]] static Result<std::shared_ptr<Tap>> make(std::string name, FileDescriptor, bool used);

    std::string name_;
    FileDescriptor fd_;
    FileDescriptor for_writing_; ///< the same file, to be watched for something else
    GuestOffloads offloads_;
    bool used_ = true; ///< attached, where there are several queues
};

/// Opens so many queues of the tap, as the back ends of a card.
[[nodiscard]] Result<BackEnds> open_tap(const std::string& name, std::uint16_t queues);
/// Takes descriptors of one tap's queues, a tap's own descriptor if there is one. REQUIRES: there is one.
[[nodiscard]] Result<BackEnds> adopt_tap(std::vector<FileDescriptor>);

} // namespace aerate::net
