// A card's back end with the metadata service in front: frames of the guest for the service's address go there, its
// answers come first, and all else passes by.
//
// It is no filter: a guest that rewrites a frame while it is looked at may send that to the network, as it may anyway.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/host.hpp"
#include "event/event_fd.hpp"
#include "mmds/counters.hpp"
#include "mmds/frames.hpp"
#include "net/backend.hpp"

#include <memory>
#include <optional>

namespace aerate::mmds {

class Detour final : public net::BackEnd {
public:
    /// `tun` is an endpoint's.
    [[nodiscard]] static Result<std::shared_ptr<Detour>> create(std::shared_ptr<net::BackEnd>, FileDescriptor tun,
                                                                const Ipv4Address& service, std::shared_ptr<Counters>);

    [[nodiscard]] std::string label() const override { return network_->label(); }
    [[nodiscard]] bool offloads() const override { return network_->offloads(); }
    void set_guest_offloads(net::GuestOffloads offloads) override { network_->set_guest_offloads(offloads); }
    [[nodiscard]] int readable() const override { return readable_.get(); }
    [[nodiscard]] int writable() const override { return network_->writable(); }
    [[nodiscard]] net::Received receive(std::span<const iovec>) override;
    [[nodiscard]] net::Outcome send(std::span<const iovec>) override;
    [[nodiscard]] net::Outcome flush() override { return network_->flush(); }

private:
    Detour(std::shared_ptr<net::BackEnd>, FileDescriptor tun, const Ipv4Address& service, std::shared_ptr<Counters>,
           EventFd arp_waits, FileDescriptor readable, std::unique_ptr<std::byte[], host::FreeMemory> frame);
    void send_to_service(std::span<const iovec>);
    [[nodiscard]] std::optional<net::Received> receive_from_service(std::span<const iovec>);

    std::shared_ptr<net::BackEnd> network_;
    FileDescriptor tun_;
    Ipv4Address service_;
    std::shared_ptr<Counters> counters_;
    EventFd arp_waits_;
    FileDescriptor readable_;                              ///< an epoll of the three above
    std::unique_ptr<std::byte[], host::FreeMemory> frame_; ///< one on its way
    std::optional<ArpReply> arp_;                          ///< to the last request
    MacAddress guest_{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}; ///< who asked last
    bool look_ = true;                                     ///< there may be a packet in the tun
    unsigned not_looked_ = 0;                              ///< frames of the network since
};

} // namespace aerate::mmds
