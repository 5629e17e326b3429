// The device's half of a packed virtqueue (virtio 1.2, 2.8). One thread.
//
// Available and used descriptors share one ring. Between next_used_ and next_available_ lie the descriptors of chains
// that the device holds: never more than the ring has, or the driver broke it.
#pragma once

#include "virtio/chain_buffers.hpp"
#include "virtio/completion_order.hpp"
#include "virtio/virtqueue.hpp"

namespace aerate::virtio {

class PackedRing final : public Virtqueue {
public:
    /// REQUIRES: check_registers() and check_position() found nothing.
    PackedRing(const QueueRegisters&, QueuePosition, FeatureSet, GuestMemory&);

    [[nodiscard]] std::expected<std::optional<DescriptorChain>, RingFault> pop() override;
    void complete(ChainId, std::uint32_t written) override;
    void give_back(ChainId) override;
    [[nodiscard]] bool publish() override;
    void want_kicks(bool) override;
    [[nodiscard]] std::uint16_t available() override;
    [[nodiscard]] std::uint16_t in_flight() const override { return order_.in_flight(); }
    [[nodiscard]] std::uint16_t size() const override { return size_; }
    [[nodiscard]] QueuePosition position() const override {
        return {next_available_.slot, next_used_.slot, next_available_.wrap, next_used_.wrap};
    }
    [[nodiscard]] std::optional<RingFault> fault() const override { return fault_; }
    [[nodiscard]] std::uint64_t completed() const override { return completed_; }

private:
    /// A chain's extent in the ring.
    struct Extent {
        std::uint16_t id;
        std::uint16_t descriptors;
    };
    [[nodiscard]] std::unexpected<RingFault> fail(RingFault);
    [[nodiscard]] packed::Tail tail_at(std::uint16_t slot) const;
    [[nodiscard]] bool is_empty() const;
    [[nodiscard]] std::expected<Extent, RingFault> read_chain();
    void arm_kick();
    void stage_used(std::uint16_t id, std::uint32_t written, std::uint16_t descriptors);

    GuestMemory* memory_;
    QueueRegisters registers_;
    std::byte* ring_;
    std::byte* driver_event_;
    std::byte* device_event_;
    std::uint16_t size_;
    bool event_index_;
    bool wants_kicks_ = true;

    packed::Cursor next_available_;
    packed::Cursor next_used_;
    std::optional<packed::Cursor> armed_at_; ///< the device's event suppression as we last wrote it
    std::uint16_t held_ = 0;                 ///< descriptors of chains in flight

    /// The first used descriptor of a batch is written last: until then the driver, which goes in order, sees none.
    std::uint16_t first_staged_ = 0;
    std::uint64_t first_word_ = 0;
    std::uint16_t staged_ = 0; ///< descriptors given back since the last publish()

    CompletionOrder order_;
    ChainBuffers buffers_;
    std::uint64_t completed_ = 0;
    std::optional<RingFault> fault_;
};

} // namespace aerate::virtio
