#include "vhost_user/inflight.hpp"

#include "base/host.hpp"

#include <unistd.h>

#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <utility>

namespace aerate::vhost_user {

// QueueRegionPacked of the document. That of a split ring begins with the same first two fields; nothing else of it is
// needed, since its used index is in guest memory.
struct Inflight::Head {
    std::uint64_t features;
    std::uint16_t version;
    std::uint16_t descriptors;
    std::uint16_t free_head;
    std::uint16_t old_free_head;
    std::uint16_t used_index;
    std::uint16_t old_used_index;
    std::uint8_t used_wrap;
    std::uint8_t old_used_wrap;
    std::uint8_t padding[7];
};

namespace {

constexpr std::size_t packed_head_bytes = 29;
constexpr std::size_t packed_entry_bytes = 36;
constexpr std::size_t split_head_bytes = 16;
constexpr std::size_t split_entry_bytes = 16;
constexpr std::size_t region_alignment = 64;

std::size_t stride_of(std::uint16_t queue_size, bool packed) {
    const std::size_t bytes = packed ? packed_head_bytes + packed_entry_bytes * queue_size
                                     : split_head_bytes + split_entry_bytes * queue_size;
    return (bytes + region_alignment - 1) / region_alignment * region_alignment;
}

class RecordedQueue final : public virtio::Virtqueue {
public:
    RecordedQueue(std::unique_ptr<virtio::Virtqueue> queue, Inflight& inflight, std::uint16_t index)
        : queue_(std::move(queue))
        , inflight_(inflight)
        , index_(index) {}

    std::expected<std::optional<virtio::DescriptorChain>, virtio::RingFault> pop() override { return queue_->pop(); }
    void give_back(virtio::ChainId chain) override { queue_->give_back(chain); }
    void complete(virtio::ChainId id, std::uint32_t written) override { queue_->complete(id, written); }
    bool publish() override {
        inflight_.publishing(index_, queue_->size(), queue_->position());
        const bool interrupt = queue_->publish();
        inflight_.published(index_);
        return interrupt;
    }
    void want_kicks(bool want) override { queue_->want_kicks(want); }
    std::uint16_t available() override { return queue_->available(); }
    std::uint16_t in_flight() const override { return queue_->in_flight(); }
    std::uint16_t size() const override { return queue_->size(); }
    virtio::QueuePosition position() const override { return queue_->position(); }
    std::optional<virtio::RingFault> fault() const override { return queue_->fault(); }
    std::uint64_t completed() const override { return queue_->completed(); }

private:
    std::unique_ptr<virtio::Virtqueue> queue_;
    Inflight& inflight_;
    std::uint16_t index_;
};

} // namespace

ByteCount Inflight::bytes_for(std::uint16_t queues, std::uint16_t queue_size, bool packed) {
    return {queues * stride_of(queue_size, packed)};
}

Result<FileDescriptor> Inflight::create(std::uint16_t queues, std::uint16_t queue_size, bool packed) {
    FileDescriptor file =
        host::descriptor([&] { return ::memfd_create("vhost-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING); });
    if (!file.valid() || ::ftruncate(file.get(), static_cast<off_t>(bytes_for(queues, queue_size, packed).value)) != 0)
        return fail_errno("cannot create the in-flight region");
    return file;
}

Result<Inflight> Inflight::map(FileDescriptor file, ByteCount offset, ByteCount size, std::uint16_t queues,
                               std::uint16_t queue_size, bool packed) {
    const ByteCount wanted = bytes_for(queues, queue_size, packed);
    if (size != wanted || offset.value % region_alignment != 0)
        return fail("the in-flight region of {} bytes at {} is not the {} bytes of {} queues, or not aligned",
                    size.value, offset.value, wanted.value, queues);
    auto mapped = TRY(SharedFile::map("in-flight region", std::move(file), offset, wanted, wanted));
    return Inflight(std::move(mapped), queues, stride_of(queue_size, packed), packed);
}

Inflight::Head* Inflight::head(std::uint16_t index) const {
    if (!packed_ || index >= queues_)
        return nullptr;
    return reinterpret_cast<Head*>(file_.bytes().data() + index * stride_); // aligned to 64 bytes, as checked
}

std::optional<Inflight::Used> Inflight::used(std::uint16_t index, std::uint16_t ring_size) const {
    const Head* const shared = head(index);
    if (shared == nullptr)
        return std::nullopt;
    // Copied once, since others can write it.
    Head head;
    std::memcpy(&head, shared, packed_head_bytes);
    if (head.version != 1 || head.descriptors != ring_size || head.used_index >= ring_size ||
        head.old_used_index >= ring_size)
        return std::nullopt;
    return Used{.before = {head.old_used_index, head.old_used_wrap != 0},
                .after = {head.used_index, head.used_wrap != 0}};
}

void Inflight::publishing(std::uint16_t index, std::uint16_t ring_size, virtio::QueuePosition after) {
    Head* const shared = head(index);
    if (shared == nullptr)
        return;
    shared->version = 1;
    shared->descriptors = ring_size;
    shared->used_index = after.next_used;
    shared->used_wrap = after.used_wrap ? 1 : 0;
    std::atomic_thread_fence(std::memory_order_release);
}

void Inflight::published(std::uint16_t index) {
    Head* const shared = head(index);
    if (shared == nullptr)
        return;
    std::atomic_thread_fence(std::memory_order_release);
    shared->old_used_index = shared->used_index;
    shared->old_used_wrap = shared->used_wrap;
}

void Inflight::forget(std::uint16_t index) {
    if (Head* const shared = head(index))
        shared->version = 0;
}

std::unique_ptr<virtio::Virtqueue> recorded(std::unique_ptr<virtio::Virtqueue> queue, Inflight& inflight,
                                            std::uint16_t index) {
    return std::make_unique<RecordedQueue>(std::move(queue), inflight, index);
}

} // namespace aerate::vhost_user
