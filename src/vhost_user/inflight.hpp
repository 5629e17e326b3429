// The in-flight region (GET_INFLIGHT_FD): what a back-end that takes over after a crash has to know, in a file that the
// front-end keeps for it. The layout is that of the vhost-user document.
//
// The balloon gives back each queue's buffers in order, so all there is to know is how far each queue was used:
// whatever was made available after that is done (again). Of a split ring the used index tells; in a packed ring
// nothing does, so it is written here, before and after each publish, and a crash between the two is decided by looking
// at the ring.
#pragma once

#include "vhost_user/shared_file.hpp"
#include "virtio/ring_layout.hpp"
#include "virtio/virtqueue.hpp"

#include <cstdint>
#include <memory>
#include <optional>

namespace aerate::vhost_user {

class Inflight {
public:
    /// Returns how large the region is. REQUIRES: both are those of rings that may be.
    [[nodiscard]] static ByteCount bytes_for(std::uint16_t queues, std::uint16_t queue_size, bool packed);
    /// Creates an empty region, as a new file.
    [[nodiscard]] static Result<FileDescriptor> create(std::uint16_t queues, std::uint16_t queue_size, bool packed);
    /// Maps a region that another process, or an enemy, may have written. Fails when it is not of the size that it has
    /// to be (V10).
    [[nodiscard]] static Result<Inflight> map(FileDescriptor, ByteCount offset, ByteCount size, std::uint16_t queues,
                                              std::uint16_t queue_size, bool packed);

    /// How far a packed queue was used: before and after what was being published when its back-end ended. Nothing if
    /// nobody wrote it, or what is there is no position of such a ring.
    struct Used {
        virtio::packed::Cursor before;
        virtio::packed::Cursor after;
    };
    [[nodiscard]] std::optional<Used> used(std::uint16_t index, std::uint16_t ring_size) const;
    void publishing(std::uint16_t index, std::uint16_t ring_size, virtio::QueuePosition after);
    void published(std::uint16_t index);
    /// Forgets a ring that came to rest in order: there is nothing to do again.
    void forget(std::uint16_t index);
    [[nodiscard]] bool lost() const { return file_.lost(); }
    [[nodiscard]] std::uint16_t queues() const { return queues_; }

private:
    struct Head;
    Inflight(SharedFile file, std::uint16_t queues, std::size_t stride, bool packed)
        : file_(std::move(file))
        , queues_(queues)
        , stride_(stride)
        , packed_(packed) {}
    [[nodiscard]] Head* head(std::uint16_t index) const;

    SharedFile file_;
    std::uint16_t queues_;
    std::size_t stride_;
    bool packed_;
};

/// Returns a virtqueue that records how far it is used.
[[nodiscard]] std::unique_ptr<virtio::Virtqueue> recorded(std::unique_ptr<virtio::Virtqueue>, Inflight&,
                                                          std::uint16_t index);

} // namespace aerate::vhost_user
