#include "platform/vm_clock.hpp"

namespace aerate {
namespace {

// Offsets and values: uapi/linux/vmclock-abi.h.
namespace field {
constexpr std::uint64_t magic = 0;
constexpr std::uint64_t size = 4;
constexpr std::uint64_t version = 8;
constexpr std::uint64_t counter_id = 10;
constexpr std::uint64_t seq_count = 12;
constexpr std::uint64_t disruption_marker = 16;
constexpr std::uint64_t flags = 24;
constexpr std::uint64_t vm_generation_counter = 104;
} // namespace field

constexpr std::uint32_t magic_value = 0x4b4c4356; // "VCLK"
constexpr std::uint8_t no_counter = 0xff;
constexpr std::uint64_t has_generation_counter = 1U << 8;

GuestAddress at(GuestAddress page, std::uint64_t offset) {
    return {page.value + offset};
}

} // namespace

bool VmClock::begin() {
    // What is left out is zero: UTC, and a clock of unknown status.
    return memory_.fill(where_, page, std::byte{0}) &&
           memory_.store(at(where_, field::size), static_cast<std::uint32_t>(page.value)) &&
           memory_.store(at(where_, field::version), std::uint16_t{1}) &&
           memory_.store(at(where_, field::counter_id), no_counter) &&
           memory_.store(at(where_, field::flags), has_generation_counter) &&
           memory_.store(at(where_, field::magic), magic_value);
}

void VmClock::disrupted(bool copied) {
    if (memory_.load<std::uint32_t>(at(where_, field::magic)) != magic_value)
        return;
    const auto count = [this](std::uint64_t offset) {
        const GuestAddress address = at(where_, offset);
        (void)memory_.store(address, memory_.load<std::uint64_t>(address).value_or(0) + 1);
    };
    // An odd count tells a reader to look again.
    const GuestAddress sequence = at(where_, field::seq_count);
    const std::uint32_t odd = memory_.load<std::uint32_t>(sequence).value_or(0) | 1U;
    (void)memory_.store(sequence, odd);
    count(field::disruption_marker);
    if (copied)
        count(field::vm_generation_counter);
    (void)memory_.store(sequence, odd + 1);
}

} // namespace aerate
