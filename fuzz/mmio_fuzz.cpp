// A guest that writes any register at any time, with any width, around a driver that knows its trade, so that the
// script also reaches a running device. Everything runs on the loop's thread: a run is a function of its input.
#include "base/check.hpp"
#include "base/endian.hpp"
#include "base/log.hpp"
#include "ring_script.hpp"
#include "script.hpp"
#include "virtio/mmio_registers.hpp"
#include "virtio/mmio_transport.hpp"
#include "virtio/testing/echo_device.hpp"

#include <array>
#include <cstdint>
#include <vector>

namespace aerate::fuzz {
namespace {

namespace reg = mmio_register;

constexpr std::uint32_t registers[] = {reg::magic,
                                       reg::version,
                                       reg::device_features,
                                       reg::device_features_select,
                                       reg::driver_features,
                                       reg::driver_features_select,
                                       reg::queue_select,
                                       reg::queue_size_max,
                                       reg::queue_size,
                                       reg::queue_ready,
                                       reg::queue_notify,
                                       reg::interrupt_status,
                                       reg::interrupt_ack,
                                       reg::status,
                                       reg::queue_descriptors_low,
                                       reg::queue_descriptors_high,
                                       reg::queue_driver_low,
                                       reg::queue_driver_high,
                                       reg::queue_device_low,
                                       reg::queue_device_high,
                                       reg::shared_memory_length_low,
                                       reg::config_generation,
                                       reg::config,
                                       reg::config + 4};
constexpr std::uint32_t values[] = {0,    1,    2,    3,  4,  7,      8,       11,      15,
                                    0x40, 0x4f, 0x80, 16, 64, 0x8000, 0x10000, 0x20000, 0xffff'ffff};

class Session {
public:
    explicit Session(Script script)
        : script_(script)
        , transport_(MmioTransport::create(device_, fuzz_memory(), loop_, interrupt_, {}).value()) {
        CHECK(fuzz_memory().fill(table_area, {0x20000}, std::byte{0}));
    }
    void run() {
        loop_.post([this] { steps(); });
        loop_.run();
    }

private:
    /// Up to where the loop gets a turn, and so on until the script ends.
    void steps() {
        while (!script_.ended()) {
            const bool yields = step();
            const std::uint32_t status = read(reg::status);
            CHECK((status & ~0xcfU) == 0);
            CHECK((status & device_status::driver_ok) == 0 || (status & device_status::features_ok) != 0);
            CHECK(read(reg::interrupt_status) <= 3);
            CHECK(read(reg::magic) == mmio_magic);
            if (yields)
                return loop_.post([this] { steps(); });
        }
        write(reg::status, 0);
        CHECK(read(reg::status) == 0 && read(reg::queue_ready) == 0 && read(reg::interrupt_status) == 0);
        loop_.post([this] { loop_.stop(); });
    }

    bool step() {
        switch (script_.below(12)) {
        case 0:
        case 1:
            write(script_.one_of(registers), script_.one_of(values));
            return false;
        case 2:
            write(script_.one_of(registers), script_.take<std::uint32_t>());
            return false;
        case 3: {
            std::array<std::byte, 8> bytes{};
            const auto access = std::span(bytes).first(1 + script_.below(8));
            const ByteCount offset{script_.take<std::uint16_t>()};
            if (script_.below(2) == 0)
                transport_->read(offset, access);
            else
                transport_->write(offset, access);
            return false;
        }
        case 4:
            bring_up();
            return false;
        case 5:
            if (driver_) {
                const std::array buffers{DriverBuffer{{script_.one_of(interesting_addresses)}, 16, false},
                                         DriverBuffer{{table_area.value + 0x800}, 16, true}};
                (void)driver_->add(buffers, 0);
                if (driver_->publish())
                    write(reg::queue_notify, queue_);
            }
            return true;
        case 6:
            while (driver_ && driver_->take_used()) {
            }
            return false;
        case 7:
            testing::poke(fuzz_memory(), {ring_area.value + script_.take<std::uint16_t>() % 2048U},
                          script_.take<std::uint16_t>());
            return false;
        case 8:
            transport_->config_changed();
            return false;
        case 9:
            if (paused_)
                transport_->resume();
            else
                transport_->pause([] {});
            paused_ = !paused_;
            return false;
        case 10:
            device_.again_while_kicked = true;
            write(reg::queue_notify, script_.below(4));
            return true;
        default:
            (void)interrupt_.drain();
            return true;
        }
    }

    void bring_up() {
        write(reg::status, 0);
        write(reg::status, 3);
        const FeatureSet features = ring_features(script_);
        write(reg::driver_features_select, 0);
        write(reg::driver_features, static_cast<std::uint32_t>(features.bits));
        write(reg::driver_features_select, 1);
        write(reg::driver_features, static_cast<std::uint32_t>(features.bits >> 32));
        write(reg::status, 11);
        const auto host = fuzz_memory().span(ring_area, SplitDriver::ring_bytes(ring_size));
        driver_.emplace(RingMemory{host->data(), ring_area}, slots_,
                        DriverOptions{.event_index = features.has(feature::event_index)});
        queue_ = script_.below(3);
        const QueueRegisters at = driver_->registers();
        write(reg::queue_select, queue_);
        write(reg::queue_size, at.size);
        write(reg::queue_descriptors_low, static_cast<std::uint32_t>(at.descriptors.value));
        write(reg::queue_driver_low, static_cast<std::uint32_t>(at.driver.value));
        write(reg::queue_device_low, static_cast<std::uint32_t>(at.device.value));
        write(reg::queue_ready, 1);
        CHECK(read(reg::queue_ready) == 1);
        write(reg::status, 15);
        CHECK(read(reg::status) == 15);
    }

    std::uint32_t read(std::uint32_t offset) {
        std::array<std::byte, 4> bytes{};
        transport_->read({offset}, bytes);
        return load_little_endian<std::uint32_t>(bytes);
    }
    void write(std::uint32_t offset, std::uint32_t value) {
        std::array<std::byte, 4> bytes;
        store_little_endian(bytes, value);
        transport_->write({offset}, bytes);
    }

    static constexpr std::uint16_t ring_size = 8;
    Script script_;
    EventLoop loop_;
    EventFd interrupt_ = EventFd::create().value();
    testing::EchoDevice device_{fuzz_memory()};
    std::unique_ptr<MmioTransport> transport_;
    std::array<DriverSlot, ring_size> slots_;
    std::optional<SplitDriver> driver_;
    std::uint32_t queue_ = 0;
    bool paused_ = false;
};

} // namespace
} // namespace aerate::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    aerate::log::set_level(aerate::log::Level::error);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // A longer script says nothing new.
    if (size <= 4096)
        aerate::fuzz::Session(aerate::fuzz::Script(data, size)).run();
    return 0;
}
