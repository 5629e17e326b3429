// A device that this monitor has never heard of is made, saved, restored and counted with the others, by its row in the
// table alone.
#include "base/testing/temporary_directory.hpp"
#include "base/testing/temporary_file.hpp"
#include "event/loop_thread.hpp"
#include "machine/testing/minimal_device.hpp"
#include "machine/virtio_slots.hpp"
#include "virtio/testing/fake_driver.hpp"
#include "virtio/testing/register_driver.hpp"

#include <gtest/gtest.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace aerate {
namespace {

using namespace virtio::testing;

/// The virtio half of a VM. The test's thread is a vCPU.
class Vm {
public:
    explicit Vm(FakeDriver& fake, const TemporaryFile& disk)
        : fake_(fake) {
        config_.balloon.emplace();
        config_.drives.push_back({.drive_id = "disk", .path_on_host = disk.path(), .is_read_only = true});
        config_.entropy.emplace();
        std::array<int, 2> ends{};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
        const FileDescriptor card(ends[0]);
        peer_ = FileDescriptor(ends[1]);
        config_.network_interfaces.push_back(
            {.iface_id = "eth0", .fd = static_cast<std::uint32_t>(ends[0]), .guest_mac = "02:00:00:00:00:01"});
        config_.vsock = {.guest_cid = 3, .uds_path = directory_ / "v.sock"};
        std::vector<DeviceKind> table(device_kinds().begin(), device_kinds().end());
        table.push_back(testing::minimal_kind);
        const auto files = HostFiles::open(config_).value();
        auto made = make_devices(table, {.config = config_,
                                         .files = *files,
                                         .memory = fake_.memory(),
                                         .main_loop = thread_.loop(),
                                         .balloon_loop = thread_.loop(),
                                         .net_loop = thread_.loop()});
        for (MadeDevice& device : made.value())
            EXPECT_TRUE(add_slot(slots, std::move(device), fake_.memory()));
        EXPECT_TRUE(thread_.start());
    }
    template <typename F>
    auto on_loop(F f) {
        return thread_.loop().call(f);
    }
    Vm(const Vm&) = delete;
    Vm& operator=(const Vm&) = delete;
    ~Vm() {
        on_loop([&] { slots.clear(); });
        thread_.stop();
    }

    void pause() {
        on_loop([&] {
            for (VirtioSlot& slot : slots)
                slot.transport->pause([] {});
        });
    }
    void resume() {
        on_loop([&] {
            for (VirtioSlot& slot : slots)
                slot.transport->resume();
        });
    }
    Result<> restore(const std::vector<state::SavedDevice>& saved) {
        TRY(check_fits(slots, saved));
        return on_loop([&] { return aerate::restore(slots, saved); });
    }
    VirtioSlot& slot(std::string_view name) { return *std::ranges::find(slots, name, &VirtioSlot::name); }
    RegisterDriver driver(std::string_view name) { return {*slot(name).transport, fake_}; }
    std::map<std::string, std::uint64_t> counters() {
        control::VmStatus status;
        on_loop([&] { add_virtio_counters(status, slots, thread_.loop()); });
        std::map<std::string, std::uint64_t> values;
        for (const control::Counter& counter : status.counters) {
            std::string name = counter.name;
            for (const auto& [label, value] : counter.labels)
                name += " " + value;
            values[name] = counter.value;
        }
        return values;
    }

    VirtioSlots slots;

private:
    FakeDriver& fake_;
    TemporaryDirectory directory_;
    control::VmConfig config_;
    FileDescriptor peer_; ///< of the network card
    LoopThread thread_{"test"};
};

std::optional<FakeUsed> wait_used(Vm& vm, FakeQueue& queue) {
    for (int i = 0; i < 1000; ++i) {
        if (auto used = queue.take_used())
            return used;
        vm.on_loop([] {});
    }
    return std::nullopt;
}

TEST(VirtioSlots, C2_ANewDeviceIsSavedRestoredAndCountedByItsRowInTheTable) {
    const TemporaryFile disk(1U << 20);
    FakeDriver fake;
    std::optional<FakeQueue> queue;
    std::vector<std::byte> bytes;
    {
        Vm vm(fake, disk);
        queue.emplace(vm.driver("minimal").start());
        queue->add({readable(std::uint32_t{42}), writable(4)});
        vm.driver("minimal").kick();
        ASSERT_TRUE(wait_used(vm, *queue));
        EXPECT_EQ(vm.counters()["minimal_bytes minimal"], 4U);
        EXPECT_EQ(vm.counters()["virtio_kicks minimal"], 1U);
        EXPECT_EQ(vm.counters().count("block_reads block:disk"), 1U);
        EXPECT_EQ(vm.counters().count("balloon_inflated_pages"), 1U);
        EXPECT_EQ(vm.counters().count("entropy_bytes entropy"), 1U);
        EXPECT_EQ(vm.counters().count("vsock_conns_added vsock"), 1U);
        vm.pause();
        state::SavedVm saved;
        saved.devices = save(vm.slots);
        bytes = state::encode(saved);
    }
    const auto saved = state::decode(bytes);
    ASSERT_TRUE(saved) << saved.error().message;
    ASSERT_EQ(saved->devices.size(), device_kinds().size() + 1);

    Vm vm(fake, disk);
    const auto restored = vm.restore(saved->devices);
    ASSERT_TRUE(restored) << restored.error().message;
    vm.resume();
    EXPECT_EQ(vm.counters()["minimal_bytes minimal"], 4U) << "its own state";
    queue->add({readable(std::array<std::byte, 8>{}), writable(8)});
    vm.driver("minimal").kick();
    EXPECT_TRUE(wait_used(vm, *queue)) << "its transport's";
    EXPECT_EQ(vm.counters()["minimal_bytes minimal"], 12U);
}

TEST(VirtioSlots, OtherDevicesThanTheSavedOnesAreRefusedByName) {
    const TemporaryFile disk(1U << 20);
    FakeDriver fake;
    Vm vm(fake, disk);
    vm.pause();
    auto saved = save(vm.slots);
    saved.back().name = "magpie";
    auto refused = vm.restore(saved);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "the saved guest has the device magpie where its configuration has minimal");
    saved.pop_back();
    EXPECT_FALSE(vm.restore(saved));
}

TEST(VirtioSlots, ADiskOfAnotherSizeIsRefused) {
    const TemporaryFile small(1U << 20);
    const TemporaryFile large(2U << 20);
    FakeDriver fake;
    std::vector<state::SavedDevice> saved;
    {
        Vm vm(fake, small);
        vm.pause();
        saved = save(vm.slots);
    }
    Vm vm(fake, large);
    const auto refused = vm.restore(saved);
    ASSERT_FALSE(refused);
    EXPECT_EQ(
        refused.error().message,
        "device block:disk: it had 1048576 bytes when the guest was saved, and has 2097152 now: give the disk that "
        "belongs to it");
}

} // namespace
} // namespace aerate
