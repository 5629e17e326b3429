// How a guest can break the structure of a ring. Each names a case of the hostile-input table in
// docs/hostile-inputs.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace aerate::virtio {

enum class RingFault : std::uint8_t {
    chain_too_long,          ///< R1, P2: a loop, or more segments than the ring has descriptors
    index_out_of_range,      ///< R2, P3: `next`, an available head or a buffer ID at or beyond the ring's size
    bad_indirect,            ///< R3, R4, P4: nested, mixed with NEXT, not negotiated, length 0 or not a multiple of 16
    readable_after_writable, ///< R14
    chain_too_large,         ///< R9: more than 2^32 bytes
    available_jumped,        ///< R10: avail.idx further ahead than the ring is long
    too_many_in_flight,      ///< R16, P3: a head made available again before it was used
    outside_memory,          ///< R7, R13, R17: the ring or an indirect table is not RAM
    bad_registers,           ///< R12, R13: a size or alignment that no ring may have
    bad_position,            ///< P6: a restored position that no ring can reach
};
inline constexpr std::size_t ring_fault_kinds = 10;

[[nodiscard]] std::string_view describe(RingFault);

} // namespace aerate::virtio
