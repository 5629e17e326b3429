// The statistics queue (virtio 1.2, 5.5.6.3). The device drives it: the driver leaves one buffer with the device, and
// to return that buffer is to ask for fresh numbers.
//
// Loop thread.
#pragma once

#include "balloon/counters.hpp"
#include "base/error.hpp"
#include "event/event_loop.hpp"
#include "memory/guest_memory.hpp"
#include "virtio/device.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

namespace aerate::balloon {

/// By tag. The spec has 0 to 9, Linux since 6.12 the others (include/uapi/linux/virtio_balloon.h).
inline constexpr std::array<std::string_view, 16> statistic_names{
    "swap_in",             // bytes
    "swap_out",            // bytes
    "major_faults",        //
    "minor_faults",        //
    "free_memory",         // bytes
    "total_memory",        // bytes
    "available_memory",    // bytes
    "disk_caches",         // bytes
    "hugetlb_allocations", //
    "hugetlb_failures",    //
    "oom_kill",            //
    "alloc_stall",         //
    "async_scan",          // bytes
    "direct_scan",         // bytes
    "async_reclaim",       // bytes
    "direct_reclaim",      // bytes
};
namespace statistic { // by name, where the monitor looks at one
inline constexpr std::size_t free_memory = 4;
inline constexpr std::size_t available_memory = 6;
inline constexpr std::size_t oom_kill = 10;
inline constexpr std::size_t alloc_stall = 11;
} // namespace statistic
using StatisticValues = std::array<std::optional<std::uint64_t>, statistic_names.size()>;

/// Numbers of the guest's: for people and for hints to policy, never to be trusted.
struct GuestStatistics {
    StatisticValues values;
    std::optional<std::chrono::steady_clock::time_point> received; ///< nothing: there are none
};

class Statistics {
public:
    using Callback = std::move_only_function<void(const Result<GuestStatistics>&)>;
    static constexpr std::chrono::milliseconds default_answer_limit = std::chrono::seconds(5);
    static constexpr std::chrono::seconds least_age_limit{15};

    Statistics(GuestMemory& memory, EventLoop& loop, Counters& counters,
               std::chrono::milliseconds answer_limit = default_answer_limit);

    void attach(virtio::Virtqueue&, virtio::QueueIndex, virtio::DeviceHost&);
    /// Forgets the queue and fails those who wait for an answer. The last numbers stay, and grow old.
    void reset();
    std::expected<bool, virtio::RingFault> serve(virtio::Virtqueue&);

    /// Asks the guest, and calls back with numbers that arrive after this call, or with an error after a time. What a
    /// decision rests on comes from here.
    void request(Callback);
    /// Asks the guest from time to time; 0 turns it off.
    void set_interval(std::chrono::seconds);
    [[nodiscard]] std::chrono::seconds interval() const { return interval_; }
    /// Calls back each time the guest has answered, whoever asked. One listener; null: none.
    void on_arrival(EventLoop::Callback arrived) { on_arrival_ = std::move(arrived); }
    /// Returns the latest numbers, to be shown with their age; no decision relies on them.
    [[nodiscard]] const GuestStatistics& latest() const { return latest_; }
    /// Returns how long ago latest() arrived, if it has.
    [[nodiscard]] std::optional<std::chrono::milliseconds> age() const;
    /// Returns the age beyond which numbers are stale: several answers are missing.
    [[nodiscard]] std::chrono::milliseconds age_limit() const { return std::max(least_age_limit, 3 * interval_); }

    /// Gives the held buffer back, so that no buffer of the guest's is in use while the VM is paused. The guest answers
    /// after resume.
    void return_buffer();

private:
    void take(const virtio::DescriptorChain&);
    void answer(const Result<GuestStatistics>&);

    GuestMemory& memory_;
    EventLoop& loop_;
    Counters& counters_;
    std::chrono::milliseconds answer_limit_;
    virtio::Virtqueue* queue_ = nullptr;
    virtio::QueueIndex index_;
    virtio::DeviceHost* host_ = nullptr;
    std::optional<virtio::ChainId> held_;
    GuestStatistics latest_;
    EventLoop::Callback on_arrival_;
    std::vector<Callback> waiting_;
    Subscription answer_timer_;
    std::chrono::seconds interval_{0};
    Subscription interval_timer_;
};

} // namespace aerate::balloon
