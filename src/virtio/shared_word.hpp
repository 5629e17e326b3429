// Words of a ring, which the other side may write at any moment. Atomic accesses, so that the compiler neither tears
// one nor reads it a second time where the code reads it once (R20). Freestanding.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>

namespace aerate::virtio {

/// REQUIRES: `at` is aligned for T.
template <std::unsigned_integral T>
[[nodiscard]] T load_word(std::byte* at, std::memory_order order = std::memory_order_relaxed) {
    return std::atomic_ref<T>(*reinterpret_cast<T*>(at)).load(order);
}

/// REQUIRES: `at` is aligned for T.
template <std::unsigned_integral T>
void store_word(std::byte* at, T value, std::memory_order order = std::memory_order_relaxed) {
    std::atomic_ref<T>(*reinterpret_cast<T*>(at)).store(value, order);
}

/// Orders a store before a load of what the other side wrote: either we see its store or it sees ours, so that no kick
/// and no interrupt is lost.
inline void full_barrier() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

} // namespace aerate::virtio
