// The messages of the vhost-user protocol (QEMU's docs/interop/vhost-user.rst), as they stand on the wire: host byte
// order, no padding but what is written down.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace aerate::vhost_user {

enum class RequestCode : std::uint32_t {
    get_features = 1,
    set_features = 2,
    set_owner = 3,
    reset_owner = 4,
    set_mem_table = 5,
    set_log_base = 6,
    set_log_fd = 7,
    set_vring_num = 8,
    set_vring_addr = 9,
    set_vring_base = 10,
    get_vring_base = 11,
    set_vring_kick = 12,
    set_vring_call = 13,
    set_vring_err = 14,
    get_protocol_features = 15,
    set_protocol_features = 16,
    get_queue_num = 17,
    set_vring_enable = 18,
    set_backend_req_fd = 21,
    get_config = 24,
    set_config = 25,
    get_inflight_fd = 31,
    set_inflight_fd = 32,
    reset_device = 34,
    get_max_mem_slots = 36,
    add_mem_reg = 37,
    rem_mem_reg = 38,
    set_status = 39,
    get_status = 40,
};

/// From the back-end to the front-end, on the channel of SET_BACKEND_REQ_FD.
enum class BackEndRequestCode : std::uint32_t { config_change = 2 };

struct Header {
    std::uint32_t request;
    std::uint32_t flags;
    std::uint32_t size; ///< of the payload
};
static_assert(sizeof(Header) == 12);

namespace header_flag {
inline constexpr std::uint32_t version = 1;
inline constexpr std::uint32_t version_mask = 3;
inline constexpr std::uint32_t reply = 1U << 2;
inline constexpr std::uint32_t need_reply = 1U << 3;
inline constexpr std::uint32_t all = version_mask | reply | need_reply;
} // namespace header_flag

/// Feature bits that are vhost's own, beside virtio's.
namespace feature {
inline constexpr unsigned log_all = 26;
inline constexpr unsigned protocol_features = 30;
} // namespace feature

namespace protocol_feature {
inline constexpr std::uint64_t mq = 1U << 0;
inline constexpr std::uint64_t log_shmfd = 1U << 1;
inline constexpr std::uint64_t reply_ack = 1U << 3;
inline constexpr std::uint64_t backend_req = 1U << 5;
inline constexpr std::uint64_t config = 1U << 9;
inline constexpr std::uint64_t inflight_shmfd = 1U << 12;
inline constexpr std::uint64_t reset_device = 1U << 13;
inline constexpr std::uint64_t configure_mem_slots = 1U << 15;
inline constexpr std::uint64_t status = 1U << 16;
/// Not INBAND_NOTIFICATIONS: User Mode Linux 6.1 loses a config change that comes in one batch with an interrupt.
inline constexpr std::uint64_t offered =
    mq | log_shmfd | reply_ack | backend_req | config | inflight_shmfd | reset_device | configure_mem_slots | status;
} // namespace protocol_feature

/// SET_MEM_TABLE without CONFIGURE_MEM_SLOTS has at most this many regions.
inline constexpr std::size_t table_regions_max = 8;
inline constexpr std::size_t mem_slots_max = 32;
inline constexpr std::size_t config_bytes_max = 256;

struct RegionDescription {
    std::uint64_t guest_address;
    std::uint64_t size;
    std::uint64_t user_address; ///< in the front-end: rings are named by these
    std::uint64_t mmap_offset;
};
struct MemTableHead {
    std::uint32_t regions;
    std::uint32_t padding;
};
struct SingleRegion {
    std::uint64_t padding;
    RegionDescription region;
};
struct LogDescription {
    std::uint64_t mmap_size;
    std::uint64_t mmap_offset;
};
struct VringState {
    std::uint32_t index;
    std::uint32_t value;
};
struct VringAddresses {
    std::uint32_t index;
    std::uint32_t flags;
    std::uint64_t descriptors;
    std::uint64_t used;
    std::uint64_t available;
    std::uint64_t log; ///< guest address of the used ring, when flags has log_used
};
static_assert(sizeof(VringAddresses) == 40);
inline constexpr std::uint32_t log_used_flag = 1;

/// SET_VRING_KICK, _CALL and _ERR carry a number: the ring, and whether there is no file descriptor.
inline constexpr std::uint64_t vring_fd_index_mask = 0xff;
inline constexpr std::uint64_t vring_fd_none = 1U << 8;

struct ConfigHead {
    std::uint32_t offset;
    std::uint32_t size;
    std::uint32_t flags;
};
struct InflightDescription {
    std::uint64_t mmap_size;
    std::uint64_t mmap_offset;
    std::uint16_t queues;
    std::uint16_t queue_size;
    std::uint32_t padding;
};
/// The structure ends with its last field on the wire.
inline constexpr std::size_t inflight_description_bytes = 20;

/// A structure, or a number, as it goes over the wire.
template <typename T>
    requires std::is_trivially_copyable_v<T>
[[nodiscard]] std::vector<std::byte> bytes_of_struct(const T& value) {
    std::vector<std::byte> bytes(sizeof value);
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
}

/// No message that is known here has a longer payload.
inline constexpr std::size_t payload_max = 512;
/// SET_MEM_TABLE has the most.
inline constexpr std::size_t message_fds_max = table_regions_max;

} // namespace aerate::vhost_user
