// A page fault handler in a process of its own, as Firecracker's users have them, and others that do it wrong.
//
//     FaultHandlerProcess handler(directory / "socket", file.fd());       // what the file holds is what memory holds
//     auto memory = GuestMemory::restore(layout, FaultHandlerPlace{handler.socket()});
#pragma once

#include "base/fd.hpp"
#include "base/testing/refusing_host.hpp"
#include "base/unix_socket.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace aerate::testing {

/// Returns why no guest can have a page fault handler here; empty when it can.
inline std::string why_no_userfaultfd() {
    const FileDescriptor device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
    const FileDescriptor made(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC)));
    return device.valid() || made.valid() ? "" : std::strerror(errno);
}

class FaultHandlerProcess {
public:
    enum class Manner : std::uint8_t {
        right,
        hangs_up, ///< as soon as it has the descriptor, but serves
        silent,   ///< takes the descriptor, and does no more than count that there is a fault
        refuses,  ///< ends without taking it
        wrong,    ///< first tries to write where no guest memory is, then answers with pages of others
    };

    FaultHandlerProcess(std::string socket, int content, Manner manner = Manner::right)
        : socket_(std::move(socket))
        , told_(static_cast<Told*>(
              ::mmap(nullptr, sizeof(Told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
        std::array<int, 2> ready{};
        EXPECT_EQ(::pipe2(ready.data(), O_CLOEXEC), 0);
        child_ = ::fork();
        if (child_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            serve(content, manner, ready[1]);
            ::_exit(0);
        }
        ::close(ready[1]);
        char listens = 0;
        EXPECT_EQ(::read(ready[0], &listens, 1), 1);
        ::close(ready[0]);
    }
    FaultHandlerProcess(const FaultHandlerProcess&) = delete;
    FaultHandlerProcess& operator=(const FaultHandlerProcess&) = delete;
    ~FaultHandlerProcess() {
        end();
        ::munmap(told_, sizeof(Told));
    }

    [[nodiscard]] const std::string& socket() const { return socket_; }
    [[nodiscard]] std::uint64_t faults() const { return told_->faults.load(); }
    [[nodiscard]] std::uint64_t removed_bytes() const { return told_->removed.load(); }
    /// Returns what it was sent, once it has it.
    [[nodiscard]] std::string message() const {
        EXPECT_TRUE(soon([this] { return told_->length.load() != 0; }));
        return {told_->message.data(), told_->length.load()};
    }
    /// From here on it says nothing.
    void stop() const { ::kill(child_, SIGSTOP); }
    void end() {
        if (child_ > 0) {
            ::kill(child_, SIGKILL);
            ::waitpid(std::exchange(child_, 0), nullptr, 0);
        }
    }

private:
    struct Told {
        std::atomic<std::uint64_t> faults;
        std::atomic<std::uint64_t> removed;
        std::atomic<std::uint32_t> length;
        std::array<char, 1024> message;
    };
    struct Region {
        std::uint64_t base, size, offset, page;
    };

    void serve(int content, Manner manner, int ready) {
        FileDescriptor listening(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const auto address = unix_address(socket_).value();
        if (::bind(listening.get(), generic(address), sizeof address) != 0 || ::listen(listening.get(), 1) != 0)
            ::_exit(1);
        (void)!::write(ready, "!", 1);
        FileDescriptor connection(::accept(listening.get(), nullptr, nullptr));
        if (manner == Manner::refuses)
            return;
        const FileDescriptor faults = take(connection.get());
        if (manner == Manner::hangs_up)
            connection.close();
        while (manner == Manner::silent) {
            pollfd touched{.fd = faults.get(), .events = POLLIN, .revents = 0};
            if (::poll(&touched, 1, -1) == 1)
                told_->faults.store(1);
            ::pause();
        }
        const auto regions = parse();
        for (uffd_msg event{}; next(faults.get(), event);) {
            if (event.event == UFFD_EVENT_REMOVE)
                remove(regions, event);
            else if (event.event == UFFD_EVENT_PAGEFAULT)
                answer(faults.get(), content, regions, event.arg.pagefault.address, manner);
        }
    }

    FileDescriptor take(int connection) {
        iovec whole{.iov_base = told_->message.data(), .iov_len = told_->message.size()};
        alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
        msghdr header{};
        header.msg_iov = &whole;
        header.msg_iovlen = 1;
        header.msg_control = control.data();
        header.msg_controllen = control.size();
        const ssize_t length = ::recvmsg(connection, &header, MSG_CMSG_CLOEXEC);
        const cmsghdr* const part = CMSG_FIRSTHDR(&header);
        if (length <= 0 || part == nullptr || part->cmsg_type != SCM_RIGHTS)
            ::_exit(2);
        told_->length.store(static_cast<std::uint32_t>(length));
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(part), sizeof fd);
        return FileDescriptor(fd);
    }

    [[nodiscard]] std::vector<Region> parse() const {
        std::vector<Region> regions;
        const std::string text(told_->message.data(), told_->length.load());
        for (auto at = text.find('{'); at != std::string::npos; at = text.find('{', at + 1)) {
            Region region{};
            if (std::sscanf(text.c_str() + at, R"({"base_host_virt_addr":%lu,"size":%lu,"offset":%lu,"page_size":%lu)",
                            &region.base, &region.size, &region.offset, &region.page) != 4)
                ::_exit(3);
            regions.push_back(region);
        }
        return regions;
    }

    static bool next(int faults, uffd_msg& event) {
        pollfd ready{.fd = faults, .events = POLLIN, .revents = 0};
        do {
            if (::poll(&ready, 1, -1) < 0 && errno != EINTR)
                return false;
            if ((ready.revents & (POLLERR | POLLHUP)) != 0)
                return false;
        } while (::read(faults, &event, sizeof event) != static_cast<ssize_t>(sizeof event));
        return true;
    }

    void remove(const std::vector<Region>& regions, const uffd_msg& event) {
        for (std::uint64_t at = event.arg.remove.start; at < event.arg.remove.end; at += regions.front().page)
            removed_.insert(at);
        told_->removed.fetch_add(event.arg.remove.end - event.arg.remove.start);
    }

    void answer(int faults, int content, const std::vector<Region>& regions, std::uint64_t address, Manner manner) {
        told_->faults.fetch_add(1);
        for (const Region& region : regions) {
            if (address < region.base || address - region.base >= region.size)
                continue;
            const std::uint64_t page = address / region.page * region.page;
            std::vector<char> bytes(region.page);
            if (!removed_.contains(page))
                (void)!::pread(content, bytes.data(), bytes.size(),
                               static_cast<off_t>(page - region.base + region.offset));
            if (manner == Manner::wrong) {
                uffdio_copy astray{.dst = region.base - region.page,
                                   .src = reinterpret_cast<std::uintptr_t>(bytes.data()),
                                   .len = region.page,
                                   .mode = 0,
                                   .copy = 0};
                if (::ioctl(faults, UFFDIO_COPY, &astray) == 0)
                    ::_exit(4);
                std::memset(bytes.data(), 0x5a, bytes.size());
            }
            uffdio_copy copy{.dst = page,
                             .src = reinterpret_cast<std::uintptr_t>(bytes.data()),
                             .len = region.page,
                             .mode = 0,
                             .copy = 0};
            // EAGAIN: an event has come, which is read first; the fault comes again when it is woken.
            if (::ioctl(faults, UFFDIO_COPY, &copy) != 0) {
                uffdio_range range{.start = page, .len = region.page};
                ::ioctl(faults, UFFDIO_WAKE, &range);
            }
        }
    }

    std::string socket_;
    Told* told_; ///< what both processes see
    pid_t child_ = 0;
    std::set<std::uint64_t> removed_; ///< the handler's
};

} // namespace aerate::testing
