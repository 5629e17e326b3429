// Guest memory whose content another process supplies, page by page, as the guest touches it: Firecracker's page fault
// handler, which listens on a unix socket and is sent one message.
//
//     us                                            the handler
//     userfaultfd on all of RAM, connect   ---->    accept
//     the descriptor, and where RAM is     ---->    reads events of the descriptor from then on
//     a vCPU, a device or KVM touches a page: it waits until the handler has copied that page in (UFFDIO_COPY)
//     discard(): it waits until the handler has read UFFD_EVENT_REMOVE, and is to answer with zeros there from then on
//
// What the handler copies is what the guest's memory holds: it is trusted with that, and with nothing of ours. One that
// is slow holds whoever touches a page. One that has ended would hold them for ever, or, once nobody has the descriptor
// any more, have the guest read zeros where its memory was. So we keep the descriptor, and when the handler's process
// ends the memory is lost: see FileLossWatch.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "memory/file_loss.hpp"
#include "memory/guest_memory.hpp"
#include "memory/page_bitmap.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace aerate {

class FaultHandler {
public:
    /// Connects to the socket, whose process must be our own user's or root's, and hands it the memory. Fails when
    /// nobody listens there, or the host allows us no userfaultfd. `pages`: all of RAM. REQUIRES: nothing of the memory
    /// has been touched; the regions outlive this.
    [[nodiscard]] static Result<std::unique_ptr<FaultHandler>> connect(const FaultHandlerPlace&, Backing,
                                                                       std::span<const MappedRegion>, PageBitmap pages);
    FaultHandler(const FaultHandler&) = delete;
    FaultHandler& operator=(const FaultHandler&) = delete;
    ~FaultHandler();

    /// Returns the pages that may hold what the handler has: all that were not discarded.
    [[nodiscard]] const PageBitmap& pages() const { return pages_; }
    void discarded(PageRange range) { pages_.clear(range); }

    /// Holds once the handler has ended, or was given up. Any thread.
    [[nodiscard]] bool lost() const { return lost_.load(); }
    /// Returns an eventfd that is readable when lost() has become true.
    [[nodiscard]] int loss_event() const { return loss_event_.get(); }
    /// Lets everyone go who waits for a page: the memory is lost from then on. Any thread.
    void give_up();

private:
    FaultHandler(std::string socket, std::span<const MappedRegion> regions, PageBitmap pages)
        : socket_(std::move(socket))
        , regions_(regions)
        , pages_(std::move(pages)) {}
    [[nodiscard]] Result<> register_memory(Backing);
    [[nodiscard]] Result<> send(const FaultHandlerPlace&, ByteCount host_page_size) const;
    [[nodiscard]] Result<> prepare_for_its_end();
    [[nodiscard]] Result<> watch();
    void wait_for_its_end();

    std::string socket_;
    std::span<const MappedRegion> regions_;
    PageBitmap pages_;
    std::mutex giving_up_;
    std::atomic<bool> lost_{false};
    FileDescriptor faults_;     ///< the userfaultfd
    FileDescriptor connection_; ///< to the handler
    FileDescriptor process_;    ///< a pidfd of the handler's, where the host gives one
    FileDescriptor nothing_;    ///< an empty file, to be mapped in the memory's place
    FileDescriptor loss_event_;
    FileDescriptor stop_;
    std::vector<FileLossWatch> watches_; ///< of regions; they go before the event
    std::jthread watcher_;
};

} // namespace aerate
