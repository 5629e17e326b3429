// A tap device: an Ethernet port of the host, as a descriptor (Linux, Documentation/networking/tuntap.rst).
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "net/backend.hpp"

#include <memory>
#include <string>

namespace aerate::net {

class Tap final : public BackEnd {
public:
    /// Attaches to the tap of that name, which a process with CAP_NET_ADMIN makes if it does not exist. Fails when
    /// another process is attached to it.
    [[nodiscard]] static Result<std::shared_ptr<Tap>> open(const std::string& name);
    /// Takes a descriptor of a tap that somebody else has opened, with IFF_VNET_HDR.
    [[nodiscard]] static Result<std::shared_ptr<Tap>> adopt(FileDescriptor);

    [[nodiscard]] std::string label() const override { return "tap " + name_; }
    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] bool offloads() const override { return true; }
    void set_guest_offloads(GuestOffloads) override;
    [[nodiscard]] int readable() const override { return fd_.get(); }
    [[nodiscard]] int writable() const override { return for_writing_.get(); }
    [[nodiscard]] Received receive(std::span<const iovec>) override;
    [[nodiscard]] Outcome send(std::span<const iovec>) override;

private:
    Tap(std::string name, FileDescriptor fd, FileDescriptor for_writing)
        : name_(std::move(name))
        , fd_(std::move(fd))
        , for_writing_(std::move(for_writing)) {}
    [[nodiscard]] static Result<std::shared_ptr<Tap>> make(std::string name, FileDescriptor);

    std::string name_;
    FileDescriptor fd_;
    FileDescriptor for_writing_; ///< the same file, to be watched for something else
    GuestOffloads offloads_;
};

} // namespace aerate::net
