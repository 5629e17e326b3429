// The device's half of a split virtqueue (virtio 1.2, 2.7). One thread.
#pragma once

#include "virtio/chain_buffers.hpp"
#include "virtio/completion_order.hpp"
#include "virtio/virtqueue.hpp"

namespace aerate::virtio {

class SplitRing final : public Virtqueue {
public:
    /// REQUIRES: check_registers() found nothing.
    SplitRing(const QueueRegisters&, QueuePosition, FeatureSet, GuestMemory&);

    [[nodiscard]] std::expected<std::optional<DescriptorChain>, RingFault> pop() override;
    void complete(ChainId, std::uint32_t written) override;
    void give_back(ChainId) override;
    [[nodiscard]] bool publish() override;
    void want_kicks(bool) override;
    [[nodiscard]] std::uint16_t available() override;
    [[nodiscard]] std::uint16_t in_flight() const override { return order_.in_flight(); }
    [[nodiscard]] std::uint16_t size() const override { return size_; }
    [[nodiscard]] QueuePosition position() const override { return {next_available_, next_used_}; }
    [[nodiscard]] std::optional<RingFault> fault() const override { return fault_; }
    [[nodiscard]] std::uint64_t completed() const override { return completed_; }

private:
    [[nodiscard]] std::uint16_t slot(std::uint16_t index) const {
        return static_cast<std::uint16_t>(index & (size_ - 1U));
    }
    [[nodiscard]] std::unexpected<RingFault> fail(RingFault);
    [[nodiscard]] std::expected<bool, RingFault> look_for_more();
    [[nodiscard]] std::expected<void, RingFault> read_chain(std::uint16_t head);
    void arm_kick();
    void stage_used(std::uint16_t head, std::uint32_t written);

    GuestMemory* memory_;
    QueueRegisters registers_;
    std::byte* descriptors_;
    std::byte* available_;
    std::byte* used_;
    std::uint16_t size_;
    bool event_index_;
    bool wants_kicks_ = true;

    std::uint16_t next_available_;
    std::uint16_t seen_available_;          ///< the driver's index, as of the last look
    std::uint16_t next_used_;               ///< staged up to here
    std::uint16_t published_;               ///< visible up to here
    std::optional<std::uint16_t> armed_at_; ///< avail_event as we last wrote it

    CompletionOrder order_;
    ChainBuffers buffers_;
    std::uint64_t completed_ = 0;
    std::optional<RingFault> fault_;
};

} // namespace aerate::virtio
