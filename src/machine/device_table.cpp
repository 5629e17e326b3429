#include "machine/device_table.hpp"

#include "balloon/balloon.hpp"
#include "block/block.hpp"
#include "entropy/entropy.hpp"
#include "net/net.hpp"
#include "vsock/vsock.hpp"

#include <array>
#include <iterator>

namespace aerate {
namespace {

using Made = Result<std::vector<MadeDevice>>;

Made one(std::unique_ptr<virtio::Device> device, EventLoop& loop) {
    std::vector<MadeDevice> made;
    made.push_back({std::move(device), &loop});
    return made;
}

Made make_balloon(const DevicePlace& place) {
    if (!place.config.balloon)
        return {};
    const control::BalloonConfig& config = *place.config.balloon;
    auto balloon = TRY(balloon::Balloon::create({.deflate_on_oom = config.deflate_on_oom,
                                                 .free_page_hinting = config.free_page_hinting,
                                                 .free_page_reporting = config.free_page_reporting},
                                                place.memory, place.balloon_loop));
    TRY(balloon->set_target(whole_pages_of(config.target)));
    balloon->statistics().set_interval(config.stats_polling_interval);
    return one(std::move(balloon), place.balloon_loop);
}

Made make_disks(const DevicePlace& place) {
    std::vector<MadeDevice> made;
    made.reserve(place.config.drives.size());
    for (const control::Drive& drive : place.config.drives)
        made.push_back(
            {TRY(Block::create(place.main_loop, place.memory, place.files.disk(drive.drive_id), drive.drive_id,
                               {.engine = engine_kind(drive),
                                .flush = drive.cache_type == control::CacheType::writeback,
                                .limits = control::limits_of(drive.rate_limiter)})),
             &place.main_loop});
    return made;
}

Made make_entropy(const DevicePlace& place) {
    if (!place.config.entropy)
        return {};
    return one(std::make_unique<Entropy>(place.main_loop, place.memory,
                                         control::limits_of(place.config.entropy->rate_limiter)),
               place.main_loop);
}

Made make_networks(const DevicePlace& place) {
    std::vector<MadeDevice> made;
    made.reserve(place.config.network_interfaces.size());
    for (const control::NetworkInterface& interface : place.config.network_interfaces)
        made.push_back(
            {TRY(Net::create(place.net_loop, place.memory, place.files.network(interface.iface_id), interface.iface_id,
                             {.mac = control::mac_bytes(interface.guest_mac),
                              .mtu = interface.mtu,
                              .drop_spoofed = interface.drop_spoofed_mac,
                              .receive = control::limits_of(interface.rx_rate_limiter),
                              .transmit = control::limits_of(interface.tx_rate_limiter)})),
             &place.net_loop});
    return made;
}

Made make_vsock(const DevicePlace& place) {
    if (!place.config.vsock)
        return {};
    const control::VsockConfig& config = *place.config.vsock;
    vsock::Vsock::Options options;
    options.connections.guest_cid = config.guest_cid;
    options.connections.max_connections = config.max_connections;
    return one(TRY(vsock::Vsock::create(place.main_loop, place.memory, place.files.vsock(), options)), place.main_loop);
}

constexpr std::array kinds{
    DeviceKind{"balloon", make_balloon}, DeviceKind{"block", make_disks}, DeviceKind{"entropy", make_entropy},
    DeviceKind{"net", make_networks},    DeviceKind{"vsock", make_vsock},
};

} // namespace

IoEngineKind engine_kind(const control::Drive& drive) {
    return drive.io_engine == control::IoEngine::sync ? IoEngineKind::blocking : IoEngineKind::io_uring;
}

std::span<const DeviceKind> device_kinds() {
    return kinds;
}

Made make_devices(std::span<const DeviceKind> table, const DevicePlace& place) {
    std::vector<MadeDevice> devices;
    for (const DeviceKind& kind : table) {
        auto made = TRY(kind.make(place));
        std::ranges::move(made, std::back_inserter(devices));
    }
    return devices;
}

} // namespace aerate
