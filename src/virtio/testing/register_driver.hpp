// A driver's steps on the registers of a transport, all of them right.
#pragma once

#include "base/endian.hpp"
#include "virtio/mmio_registers.hpp"
#include "virtio/mmio_transport.hpp"
#include "virtio/testing/fake_driver.hpp"

#include <array>
#include <cstdint>
#include <utility>

namespace aerate::virtio::testing {

class RegisterDriver {
public:
    RegisterDriver(MmioTransport& transport, FakeDriver& fake)
        : transport_(transport)
        , fake_(fake) {}

    void write(std::uint32_t offset, std::uint32_t value) {
        std::array<std::byte, 4> bytes{};
        store_little_endian(bytes, value);
        transport_.write({offset}, bytes);
    }
    void reset() { write(mmio_register::status, 0); }
    /// From reset to DRIVER_OK, with one split ring and no feature but VERSION_1.
    FakeQueue start(QueueIndex index = {0}) {
        for (const std::uint32_t status : {0U, 1U, 3U})
            write(mmio_register::status, status);
        for (const std::uint32_t word : {0U, 1U}) {
            write(mmio_register::driver_features_select, word);
            write(mmio_register::driver_features, static_cast<std::uint32_t>(split_ring.bits >> (32 * word)));
        }
        write(mmio_register::status, 11);
        FakeQueue queue = fake_.queue(8, split_ring);
        const auto registers = queue.registers();
        write(mmio_register::queue_select, index.value);
        write(mmio_register::queue_size, registers.size);
        const std::pair<std::uint32_t, GuestAddress> areas[] = {
            {mmio_register::queue_descriptors_low, registers.descriptors},
            {mmio_register::queue_driver_low, registers.driver},
            {mmio_register::queue_device_low, registers.device}};
        for (const auto& [low, address] : areas) {
            write(low, static_cast<std::uint32_t>(address.value));
            write(low + 4, static_cast<std::uint32_t>(address.value >> 32));
        }
        write(mmio_register::queue_ready, 1);
        write(mmio_register::status, 15);
        return queue;
    }
    void kick(QueueIndex index = {0}) { write(mmio_register::queue_notify, index.value); }

private:
    MmioTransport& transport_;
    FakeDriver& fake_;
};

} // namespace aerate::virtio::testing
