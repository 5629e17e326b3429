// A vhost-user front-end with a guest of its own: for tests, benchmarks and fuzzing of any back-end, and as honest or
// as hostile as they like.
//
//     FrontEnd front(socket);                     // a connected socket
//     front.negotiate(features);
//     front.share_memory();
//     front.start_rings(3);
//     front.queue(0).add({readable(pfns)}); front.kick(0); front.wait_used(0);
//
// Blocks, for at most a few seconds at a time. What does not come then is an error or an empty answer.
#pragma once

#include "base/check.hpp"
#include "base/fd.hpp"
#include "vhost_user/wire.hpp"
#include "virtio/driver_queue.hpp"
#include "virtio/features.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

namespace aerate::vhost_user::testing {

struct Received {
    Header header{};
    std::vector<std::byte> payload;
    FileDescriptor fd;
    template <typename T>
    [[nodiscard]] T as() const {
        T value{};
        std::memcpy(&value, payload.data(), std::min(sizeof value, payload.size()));
        return value;
    }
};

/// The front-end's file of guest memory, and where the guest has it.
class SharedRam {
public:
    SharedRam(std::uint64_t guest_start, std::size_t size, std::uint64_t file_offset = 0)
        : guest_start_(guest_start)
        , size_(size)
        , file_offset_(file_offset)
        , file_(::memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
        CHECK(::ftruncate(file_.get(), static_cast<off_t>(file_offset + size)) == 0);
        void* const mapped =
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), static_cast<off_t>(file_offset));
        CHECK(mapped != MAP_FAILED);
        host_ = static_cast<std::byte*>(mapped);
    }
    SharedRam(const SharedRam&) = delete;
    SharedRam& operator=(const SharedRam&) = delete;
    ~SharedRam() { ::munmap(host_, size_); }

    [[nodiscard]] RegionDescription description() const {
        return {guest_start_, size_, reinterpret_cast<std::uintptr_t>(host_), file_offset_};
    }
    [[nodiscard]] int fd() const { return file_.get(); }
    [[nodiscard]] std::byte* at(std::uint64_t guest_address) const { return host_ + (guest_address - guest_start_); }
    [[nodiscard]] std::uint64_t start() const { return guest_start_; }
    [[nodiscard]] std::size_t size() const { return size_; }

private:
    std::uint64_t guest_start_;
    std::size_t size_;
    std::uint64_t file_offset_;
    FileDescriptor file_;
    std::byte* host_ = nullptr;
};

/// The driver's half of one ring, and its wake-ups.
class DriverRing {
public:
    DriverRing(virtio::RingMemory memory, std::uint16_t size, virtio::FeatureSet features)
        : slots_(std::make_unique<virtio::DriverSlot[]>(size))
        , size_(size)
        , kick(::eventfd(0, EFD_CLOEXEC))
        , call(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
        , error(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
        , driver_(make(memory, {slots_.get(), size}, features)) {}

    bool add(std::span<const virtio::DriverBuffer> chain, std::uint32_t token = 0) {
        return std::visit([&](auto& driver) { return driver.add(chain, token); }, driver_);
    }
    bool publish() {
        return std::visit([](auto& driver) { return driver.publish(); }, driver_);
    }
    std::optional<virtio::UsedChain> take_used() {
        return std::visit([](auto& driver) { return driver.take_used(); }, driver_);
    }
    [[nodiscard]] virtio::QueueRegisters registers() const {
        return std::visit([](const auto& driver) { return driver.registers(); }, driver_);
    }
    [[nodiscard]] std::uint16_t size() const { return size_; }

private:
    using Driver = std::variant<virtio::SplitDriver, virtio::PackedDriver>;
    static Driver make(virtio::RingMemory memory, std::span<virtio::DriverSlot> slots, virtio::FeatureSet features) {
        const virtio::DriverOptions options{.event_index = features.has(virtio::feature::event_index)};
        if (features.has(virtio::feature::ring_packed))
            return virtio::PackedDriver(memory, slots, options);
        return virtio::SplitDriver(memory, slots, options);
    }
    std::unique_ptr<virtio::DriverSlot[]> slots_;
    std::uint16_t size_;

public:
    FileDescriptor kick;
    FileDescriptor call;
    FileDescriptor error;

private:
    Driver driver_;
};

class FrontEnd {
public:
    static constexpr int patience_ms = 5000;
    /// Guest addresses below this are for rings and buffers, a page each.
    static constexpr std::uint64_t ring_stride = 0x10000;

    explicit FrontEnd(FileDescriptor socket)
        : socket_(std::move(socket)) {
        const timeval limit{.tv_sec = patience_ms / 1000, .tv_usec = 0};
        ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    }

    // --- The wire ---

    bool send_raw(std::span<const std::byte> bytes, std::span<const int> fds = {}) const {
        iovec whole{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
        msghdr message{};
        message.msg_iov = &whole;
        message.msg_iovlen = 1;
        std::vector<std::byte> control(CMSG_SPACE(fds.size_bytes()));
        if (!fds.empty()) {
            message.msg_control = control.data();
            message.msg_controllen = control.size();
            cmsghdr* const part = CMSG_FIRSTHDR(&message);
            part->cmsg_level = SOL_SOCKET;
            part->cmsg_type = SCM_RIGHTS;
            part->cmsg_len = CMSG_LEN(fds.size_bytes());
            std::memcpy(CMSG_DATA(part), fds.data(), fds.size_bytes());
        }
        return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
    }
    bool send(RequestCode request, std::span<const std::byte> payload = {}, std::span<const int> fds = {},
              std::uint32_t flags = header_flag::version) const {
        auto bytes = bytes_of_struct(
            Header{static_cast<std::uint32_t>(request), flags, static_cast<std::uint32_t>(payload.size())});
        bytes.insert(bytes.end(), payload.begin(), payload.end());
        return send_raw(bytes, fds);
    }
    /// Nothing: the back-end closed the connection, or says nothing.
    [[nodiscard]] std::optional<Received> receive() const { return receive_from(socket_); }
    [[nodiscard]] static std::optional<Received> receive_from(const FileDescriptor& socket) {
        Received received;
        alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
        iovec head{.iov_base = &received.header, .iov_len = sizeof(Header)};
        msghdr message{};
        message.msg_iov = &head;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        if (::recvmsg(socket.get(), &message, MSG_WAITALL | MSG_CMSG_CLOEXEC) != sizeof(Header))
            return std::nullopt;
        if (cmsghdr* const part = CMSG_FIRSTHDR(&message); part != nullptr && part->cmsg_type == SCM_RIGHTS) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part), sizeof fd);
            received.fd = FileDescriptor(fd);
        }
        received.payload.resize(received.header.size);
        if (received.header.size > 0 && ::recv(socket.get(), received.payload.data(), received.payload.size(),
                                               MSG_WAITALL) != static_cast<ssize_t>(received.payload.size()))
            return std::nullopt;
        return received;
    }
    [[nodiscard]] bool closed() const {
        pollfd poll{.fd = socket_.get(), .events = POLLIN, .revents = 0};
        std::byte byte{};
        return ::poll(&poll, 1, patience_ms) == 1 && ::recv(socket_.get(), &byte, 1, MSG_DONTWAIT) <= 0;
    }
    template <typename T>
    [[nodiscard]] std::optional<T> ask(RequestCode request, std::span<const std::byte> payload = {}) const {
        if (!send(request, payload))
            return std::nullopt;
        const auto answer = receive();
        return answer ? std::optional(answer->as<T>()) : std::nullopt;
    }
    /// Sends with NEED_REPLY; true if it is acknowledged with success, false if with an error, nothing if not at all.
    [[nodiscard]] std::optional<bool> acknowledged(RequestCode request, std::span<const std::byte> payload = {},
                                                   std::span<const int> fds = {}) const {
        if (!send(request, payload, fds, header_flag::version | header_flag::need_reply))
            return std::nullopt;
        const auto answer = receive();
        if (!answer || answer->header.flags != (header_flag::version | header_flag::reply) ||
            answer->payload.size() != sizeof(std::uint64_t))
            return std::nullopt;
        return answer->as<std::uint64_t>() == 0;
    }
    template <typename T>
    [[nodiscard]] std::optional<bool> set(RequestCode request, const T& value, std::span<const int> fds = {}) const {
        return acknowledged(request, bytes_of_struct(value), fds);
    }
    void hang_up() { socket_.close(); }

    // --- An honest life ---

    /// Protocol features are all that are offered, less `without`; returns false if something went wrong.
    bool negotiate(virtio::FeatureSet features, std::uint64_t without = 0) {
        const auto offered = ask<std::uint64_t>(RequestCode::get_features);
        const auto protocol = ask<std::uint64_t>(RequestCode::get_protocol_features);
        if (!offered || !protocol || !features.within({*offered}))
            return false;
        protocol_ = *protocol & ~without;
        features_ = features;
        std::array<int, 2> channel{};
        CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel.data()) == 0);
        channel_ = FileDescriptor(channel[0]);
        const timeval limit{.tv_sec = patience_ms / 1000, .tv_usec = 0};
        ::setsockopt(channel_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        const FileDescriptor theirs(channel[1]);
        const std::array given{theirs.get()};
        return set(RequestCode::set_protocol_features, protocol_) == true &&
               acknowledged(RequestCode::set_backend_req_fd, {}, given) == true &&
               set(RequestCode::set_features, features.bits) == true;
    }
    /// The back-end's next message of its own: a changed config space.
    [[nodiscard]] std::optional<Received> config_change() const { return receive_from(channel_); }

    [[nodiscard]] std::optional<bool> share_memory(std::initializer_list<const SharedRam*> rams) {
        auto payload = bytes_of_struct(MemTableHead{static_cast<std::uint32_t>(rams.size()), 0});
        std::vector<int> fds;
        for (const SharedRam* ram : rams) {
            const auto region = bytes_of_struct(ram->description());
            payload.insert(payload.end(), region.begin(), region.end());
            fds.push_back(ram->fd());
        }
        return acknowledged(RequestCode::set_mem_table, payload, fds);
    }
    /// Rings begin at `ram`'s start, ring_stride apart.
    void make_rings(const SharedRam& ram, std::size_t count, std::uint16_t size = 64) {
        rings_.clear();
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint64_t address = ram.start() + i * ring_stride;
            rings_.push_back(
                std::make_unique<DriverRing>(virtio::RingMemory{ram.at(address), {address}}, size, features_));
        }
        ram_ = &ram;
    }
    [[nodiscard]] std::uint32_t fresh_base() const {
        return features_.has(virtio::feature::ring_packed) ? 0x8000'8000U : 0U;
    }
    /// Everything up to SET_VRING_KICK and SET_VRING_ENABLE for one ring. False: something was refused.
    bool start_ring(std::uint32_t index, std::optional<std::uint32_t> base = std::nullopt) {
        DriverRing& ring = *rings_[index];
        const auto addresses = ring_addresses(index);
        const std::array call{ring.call.get()};
        const std::array error{ring.error.get()};
        const std::array kick{ring.kick.get()};
        return set(RequestCode::set_vring_call, std::uint64_t{index}, call) == true &&
               set(RequestCode::set_vring_err, std::uint64_t{index}, error) == true &&
               set(RequestCode::set_vring_num, VringState{index, ring.size()}) == true &&
               set(RequestCode::set_vring_base, VringState{index, base.value_or(fresh_base())}) == true &&
               set(RequestCode::set_vring_addr, addresses) == true &&
               set(RequestCode::set_vring_kick, std::uint64_t{index}, kick) == true && enable(index, true);
    }
    bool enable(std::uint32_t index, bool on) const {
        return !features_.has(feature::protocol_features) ||
               set(RequestCode::set_vring_enable, VringState{index, on ? 1U : 0U}) == true;
    }
    bool start_rings() {
        for (std::uint32_t i = 0; i < rings_.size(); ++i)
            if (!start_ring(i))
                return false;
        return (protocol_ & protocol_feature::status) == 0 || set_status(15);
    }
    bool set_status(std::uint64_t status) const { return set(RequestCode::set_status, status) == true; }
    [[nodiscard]] VringAddresses ring_addresses(std::uint32_t index) const {
        const auto registers = rings_[index]->registers();
        const auto user = [this](GuestAddress address) {
            return reinterpret_cast<std::uintptr_t>(ram_->at(address.value));
        };
        return {.index = index,
                .flags = 0,
                .descriptors = user(registers.descriptors),
                .used = user(registers.device),
                .available = user(registers.driver),
                .log = 0};
    }
    [[nodiscard]] DriverRing& ring(std::size_t index) { return *rings_[index]; }
    [[nodiscard]] std::size_t rings() const { return rings_.size(); }

    void kick(std::size_t index) {
        const std::uint64_t one = 1;
        CHECK(::write(rings_[index]->kick.get(), &one, sizeof one) == sizeof one);
    }
    /// Waits for interrupts until there is a used chain.
    [[nodiscard]] std::optional<virtio::UsedChain> wait_used(std::size_t index) {
        DriverRing& ring = *rings_[index];
        for (;;) {
            if (auto used = ring.take_used())
                return used;
            pollfd poll{.fd = ring.call.get(), .events = POLLIN, .revents = 0};
            if (::poll(&poll, 1, patience_ms) != 1)
                return ring.take_used();
            std::uint64_t count = 0;
            (void)!::read(ring.call.get(), &count, sizeof count);
        }
    }
    /// Adds one chain, kicks, and waits for it to be used.
    [[nodiscard]] std::optional<virtio::UsedChain> send_chain(std::size_t index,
                                                              std::span<const virtio::DriverBuffer> chain) {
        CHECK(rings_[index]->add(chain));
        if (rings_[index]->publish())
            kick(index);
        return wait_used(index);
    }
    [[nodiscard]] std::optional<std::uint32_t> read_config(std::uint32_t offset) const {
        auto payload = bytes_of_struct(ConfigHead{offset, 4, 0});
        payload.resize(payload.size() + 4);
        if (!send(RequestCode::get_config, payload))
            return std::nullopt;
        const auto answer = receive();
        if (!answer || answer->payload.size() != payload.size())
            return std::nullopt;
        std::uint32_t value = 0;
        std::memcpy(&value, answer->payload.data() + sizeof(ConfigHead), sizeof value);
        return value;
    }
    bool write_config(std::uint32_t offset, std::uint32_t value) const {
        auto payload = bytes_of_struct(ConfigHead{offset, 4, 0});
        const auto bytes = bytes_of_struct(value);
        payload.insert(payload.end(), bytes.begin(), bytes.end());
        return acknowledged(RequestCode::set_config, payload) == true;
    }
    /// GET_VRING_BASE.
    [[nodiscard]] std::optional<std::uint32_t> stop_ring(std::uint32_t index) const {
        const auto state = ask<VringState>(RequestCode::get_vring_base, bytes_of_struct(VringState{index, 0}));
        return state ? std::optional(state->value) : std::nullopt;
    }
    /// A round trip: what was sent before has been handled.
    [[nodiscard]] bool settled() const { return ask<std::uint64_t>(RequestCode::get_protocol_features).has_value(); }

private:
    FileDescriptor socket_;
    FileDescriptor channel_;
    virtio::FeatureSet features_;
    std::uint64_t protocol_ = 0;
    const SharedRam* ram_ = nullptr;
    std::vector<std::unique_ptr<DriverRing>> rings_;
};

} // namespace aerate::vhost_user::testing
