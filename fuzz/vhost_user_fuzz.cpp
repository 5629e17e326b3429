// A hostile front-end: the input is a script of messages, with whatever descriptors, of kicks, and of writes to the
// guest's memory. A message goes to the session as the socket would bring it; one in four goes through the socket, so
// that framing is fuzzed too. Negotiation can be had for one byte, so that what is behind it is near.
#include "base/check.hpp"
#include "script.hpp"
#include "vhost_user/session.hpp"

#include <boost/asio/io_context.hpp>
#include <fcntl.h>
#include <unistd.h>

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace aerate::vhost_user {
namespace {

constexpr std::uint64_t ram_start = 0xaa8000;
constexpr std::uint64_t ram_size = 2U << 20;
constexpr std::uint64_t user_start = 0x7000'0000;
constexpr std::uint16_t ring_size = 8;

/// Files that messages bring along; they last as long as the process.
struct Files {
    Files()
        : ram(::memfd_create("ram", MFD_CLOEXEC))
        , event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
        , directory(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
        CHECK(::ftruncate(ram.get(), ram_size) == 0);
        CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets.data()) == 0);
        host = static_cast<std::byte*>(::mmap(nullptr, ram_size, PROT_READ | PROT_WRITE, MAP_SHARED, ram.get(), 0));
    }
    FileDescriptor ram;
    FileDescriptor event;
    FileDescriptor directory;
    std::array<int, 2> sockets{};
    std::byte* host = nullptr;
};

Files& files() {
    static Files all;
    return all;
}

/// What a session leaves in it when it goes is run, and does nothing: see clean_up().
EventLoop& loop() {
    static EventLoop one;
    return one;
}

/// The next execution finds everything as the first one did.
void clean_up() {
    loop().context().poll();
    std::array<std::byte, 4096> bytes;
    for (const int socket : files().sockets)
        while (::recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT) > 0)
            ;
    (void)!::read(files().event.get(), bytes.data(), bytes.size());
}

class Enemy {
public:
    explicit Enemy(fuzz::Script& script)
        : script_(script) {
        std::array<int, 2> pair{};
        CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()) == 0);
        front_ = FileDescriptor(pair[0]);
        auto made = Session::create(
            loop(), FileDescriptor(pair[1]),
            {.balloon = {.deflate_on_oom = true, .free_page_hinting = true, .free_page_reporting = true}},
            {.replacing = [this] { ++replaced_; }, .ended = [this](const std::string&) { over_ = true; }});
        CHECK(made.has_value());
        session_ = *std::move(made);
    }

    void run() {
        const unsigned start = script_.below(4);
        if (start != 0)
            set_up(start == 2, start == 3);
        for (int steps = 0; !script_.ended() && !over_ && steps < 200; ++steps) {
            if (step())
                loop().context().poll();
        }
    }

private:
    /// False: only memory was written, which by itself wakes nobody.
    bool step() {
        switch (script_.below(10)) {
        case 0:
        case 1:
        case 2:
        case 3:
            message();
            break;
        case 4:
            raw();
            break;
        case 5: { // the guest's memory: rings are in its first pages
            const std::uint64_t at = script_.below(2) != 0 ? script_.take<std::uint16_t>() % 0x2000
                                                           : script_.take<std::uint32_t>() % (ram_size - 8);
            const auto value = script_.take<std::uint64_t>();
            std::memcpy(files().host + at, &value, 1U + script_.below(8));
            return false;
        }
        case 6:
            chain();
            return false;
        case 7: {
            const std::uint64_t one = 1;
            (void)!::write(files().event.get(), &one, sizeof one);
            break;
        }
        case 8:
            host_action();
            break;
        default: {
            const bool packed = script_.below(2) != 0;
            const bool with_status = script_.below(2) != 0;
            if (std::exchange(again_, false))
                set_up(packed, with_status);
        }
        }
        return true;
    }

    bool give(RequestCode request, std::vector<std::byte> payload, std::initializer_list<int> fds,
              bool need_reply = false) {
        Message message{.request = request, .need_reply = need_reply, .payload = std::move(payload), .fds = {}};
        for (const int fd : fds)
            message.fds.emplace_back(::dup(fd));
        if (over_ || !session_->handle(std::move(message)))
            over_ = true;
        return !over_;
    }

    /// An honest beginning.
    void set_up(bool packed, bool with_status) {
        std::uint64_t features = 0x14000003eULL | (packed ? 1ULL << 34 : 0);
        std::uint64_t protocol = protocol_feature::offered & ~(with_status ? 0 : protocol_feature::status);
        give(RequestCode::set_protocol_features, bytes_of_struct(protocol), {});
        give(RequestCode::set_backend_req_fd, {}, {files().sockets[0]});
        give(RequestCode::set_features, bytes_of_struct(features), {});
        auto table = bytes_of_struct(MemTableHead{1, 0});
        const auto region = bytes_of_struct(RegionDescription{ram_start, ram_size, user_start, 0});
        table.insert(table.end(), region.begin(), region.end());
        give(RequestCode::set_mem_table, std::move(table), {files().ram.get()});
        std::memset(files().host, 0, 5 * 0x400);
        next_ = {};
        packed_ = packed;
        for (std::uint32_t i = 0; i < 5; ++i) {
            const std::uint64_t base = user_start + i * 0x400U;
            give(RequestCode::set_vring_num, bytes_of_struct(VringState{i, ring_size}), {});
            give(RequestCode::set_vring_base, bytes_of_struct(VringState{i, packed ? 0x8000'8000U : 0U}), {});
            give(RequestCode::set_vring_addr,
                 bytes_of_struct(VringAddresses{i, 0, base, base + 0x200, base + 0x100, 0}), {});
            give(RequestCode::set_vring_call, bytes_of_struct(std::uint64_t{i}), {files().sockets[1]});
            give(RequestCode::set_vring_kick, bytes_of_struct(std::uint64_t{i}), {files().event.get()});
            give(RequestCode::set_vring_enable, bytes_of_struct(VringState{i, 1}), {});
        }
        if (with_status)
            give(RequestCode::set_status, bytes_of_struct(std::uint64_t{15}), {});
    }

    [[nodiscard]] int any_fd() {
        const std::array all{files().ram.get(), files().event.get(), files().directory.get(), files().sockets[0],
                             files().sockets[1]};
        return all[script_.below(all.size())];
    }

    void message() {
        static constexpr RequestCode requests[] = {RequestCode::get_features,
                                                   RequestCode::set_features,
                                                   RequestCode::set_owner,
                                                   RequestCode::reset_owner,
                                                   RequestCode::set_mem_table,
                                                   RequestCode::set_log_base,
                                                   RequestCode::set_log_fd,
                                                   RequestCode::set_vring_num,
                                                   RequestCode::set_vring_addr,
                                                   RequestCode::set_vring_base,
                                                   RequestCode::get_vring_base,
                                                   RequestCode::set_vring_kick,
                                                   RequestCode::set_vring_call,
                                                   RequestCode::set_vring_err,
                                                   RequestCode::get_protocol_features,
                                                   RequestCode::set_protocol_features,
                                                   RequestCode::get_queue_num,
                                                   RequestCode::set_vring_enable,
                                                   RequestCode::set_backend_req_fd,
                                                   RequestCode::get_config,
                                                   RequestCode::set_config,
                                                   RequestCode::get_inflight_fd,
                                                   RequestCode::set_inflight_fd,
                                                   RequestCode::reset_device,
                                                   RequestCode::get_max_mem_slots,
                                                   RequestCode::add_mem_reg,
                                                   RequestCode::rem_mem_reg,
                                                   RequestCode::set_status,
                                                   RequestCode::get_status,
                                                   RequestCode{99}};
        static constexpr std::uint8_t sizes[] = {0, 8, 0, 0, 40, 16, 0,  8,  40, 8, 8,  8,  8, 8, 0,
                                                 8, 0, 8, 0, 16, 20, 20, 20, 0,  0, 40, 40, 8, 0, 0};
        static_assert(std::size(requests) == std::size(sizes));
        const unsigned which = script_.below(std::size(requests));
        const auto shape = script_.take<std::uint8_t>();
        std::vector<std::byte> payload((shape & 1U) != 0 ? script_.take<std::uint16_t>() % (payload_max + 1)
                                                         : sizes[which]);
        // Eight bytes at a time: a small number, an address that means something, or anything.
        for (std::size_t at = 0; at < payload.size() && !script_.ended(); at += 8) {
            std::uint64_t value = 0;
            switch (script_.below(5)) {
            case 0:
                value = script_.take<std::uint8_t>();
                break;
            case 1:
                value = user_start + script_.take<std::uint16_t>();
                break;
            case 2:
                value = ram_start + (std::uint64_t{script_.take<std::uint8_t>()} << 12);
                break;
            case 3:
                value = script_.below(8) | std::uint64_t{script_.take<std::uint16_t>()} << 32;
                break;
            default:
                value = script_.take<std::uint64_t>();
            }
            std::memcpy(payload.data() + at, &value, std::min<std::size_t>(8, payload.size() - at));
        }
        const unsigned fds = (shape >> 1U) & 3U;
        const bool need_reply = (shape & 0x18U) != 0;
        if (fds == 0)
            give(requests[which], std::move(payload), {}, need_reply);
        else if (fds < 3)
            give(requests[which], std::move(payload), {any_fd()}, need_reply);
        else
            give(requests[which], std::move(payload), {any_fd(), any_fd()}, need_reply);
    }

    void raw() {
        std::array<std::byte, 64> bytes{};
        const std::size_t length = script_.below(bytes.size() + 1);
        for (std::size_t i = 0; i < length; ++i)
            bytes[i] = std::byte{script_.take<std::uint8_t>()};
        if (script_.below(2) != 0) { // a header that is right
            const Header header{script_.below(42), header_flag::version | (script_.below(2) << 3U), script_.below(32)};
            std::memcpy(bytes.data(), &header, sizeof header);
        }
        (void)::send(front_.get(), bytes.data(), length, MSG_DONTWAIT | MSG_NOSIGNAL);
    }

    /// A descriptor in the next slot of a ring, made available.
    void chain() {
        const unsigned queue = script_.below(5);
        const std::uint16_t count = next_[queue]++;
        const unsigned slot = count % ring_size;
        std::byte* const ring = files().host + queue * 0x400U;
        const std::uint64_t address = ram_start + script_.take<std::uint32_t>() % (ram_size + 0x2000);
        const std::uint32_t any = script_.take<std::uint16_t>();
        const std::uint32_t length = any < 0xf000 ? any & 0xfffU : any; // long ones are rare, since they take long
        const unsigned flags = script_.below(8);
        std::memcpy(ring + slot * 16, &address, 8);
        std::memcpy(ring + slot * 16 + 8, &length, 4);
        if (packed_) {
            const auto id = static_cast<std::uint16_t>(slot);
            const auto lap = static_cast<std::uint16_t>(flags | ((count / ring_size) % 2 == 0 ? 0x80U : 0x8000U));
            std::memcpy(ring + slot * 16 + 12, &id, 2);
            std::memcpy(ring + slot * 16 + 14, &lap, 2);
            return;
        }
        const auto next = static_cast<std::uint16_t>((slot + 1) % ring_size);
        const auto plain = static_cast<std::uint16_t>(flags);
        const auto head = static_cast<std::uint16_t>(slot);
        const auto index = static_cast<std::uint16_t>(count + 1);
        std::memcpy(ring + slot * 16 + 12, &plain, 2);
        std::memcpy(ring + slot * 16 + 14, &next, 2);
        std::memcpy(ring + 0x100 + 4 + 2 * slot, &head, 2);
        std::memcpy(ring + 0x100 + 2, &index, 2);
    }

    void host_action() {
        BackEnd& back_end = session_->back_end();
        switch (script_.below(4)) {
        case 0:
            (void)back_end.balloon().set_target({script_.take<std::uint16_t>()});
            break;
        case 1:
            back_end.balloon().hinting().start(back_end.counted_hints());
            break;
        case 2:
            back_end.balloon().hinting().done();
            break;
        default:
            back_end.balloon().statistics().request([](const Result<balloon::GuestStatistics>&) {});
        }
    }

    fuzz::Script& script_;
    FileDescriptor front_;
    std::unique_ptr<Session> session_;
    std::array<std::uint16_t, 5> next_{};
    bool packed_ = false;
    bool again_ = true; ///< whether a second beginning is left: it is by far the longest step
    bool over_ = false;
    unsigned replaced_ = 0;
};

} // namespace
} // namespace aerate::vhost_user

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    aerate::fuzz::Script script(data, size);
    aerate::vhost_user::Enemy(script).run();
    aerate::vhost_user::clean_up();
    return 0;
}
