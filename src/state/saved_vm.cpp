#include "state/saved_vm.hpp"

#include "base/codec.hpp"

#include <algorithm>
#include <functional>
#include <string_view>

namespace aerate {

template <typename Codec>
void describe(Codec& codec, Described<Codec, VmState>& vm) {
    for (auto& chip : vm.interrupt_controllers)
        codec.raw(chip);
    codec(vm.clock);
}

template <typename Codec>
void describe(Codec& codec, Described<Codec, VcpuState>& vcpu) {
    codec.raw(vcpu.cpuid);
    codec.raw(vcpu.mp_state);
    codec.raw(vcpu.registers);
    codec.raw(vcpu.special_registers);
    codec(vcpu.xsave);
    codec.raw(vcpu.extended_control);
    codec.raw(vcpu.debug);
    codec.raw(vcpu.local_apic);
    codec.raw(vcpu.msrs);
    codec.raw(vcpu.events);
    codec(vcpu.tsc_khz);
}

template <typename Codec>
void describe(Codec& codec, Described<Codec, KeyboardState>& keyboard) {
    codec(keyboard.command_byte, keyboard.scanning);
}

template <typename Codec>
void describe(Codec& codec, Described<Codec, UartState>& uart) {
    codec(uart.interrupt_enable, uart.line_control, uart.modem_control, uart.line_errors, uart.modem_changes,
          uart.scratch, uart.divisor, uart.fifo_enabled, uart.transmitter_emptied, uart.received_count, uart.received);
}

} // namespace aerate

namespace aerate::virtio {

template <typename Codec>
void describe(Codec& codec, Described<Codec, TransportState::Queue>& queue) {
    auto& [registers, position] = queue;
    codec(registers.size, registers.descriptors.value, registers.driver.value, registers.device.value, registers.ready);
    codec(position.next_available, position.next_used, position.available_wrap, position.used_wrap);
}

template <typename Codec>
void describe(Codec& codec, Described<Codec, TransportState>& transport) {
    codec(transport.status, transport.interrupt_status, transport.config_generation, transport.device_features_select,
          transport.driver_features_select, transport.queue_select, transport.accepted.bits, transport.queues);
}

} // namespace aerate::virtio

namespace aerate::state {

template <typename Codec>
void describe(Codec& codec, Described<Codec, SavedDevice>& saved) {
    codec(saved.name, saved.transport, saved.device.version, saved.device.bytes);
}

namespace {

constexpr std::uint32_t magic = 0x54534541; // "AEST"
/// A file from outside may have as many as it likes; each costs a name in memory.
constexpr std::size_t records_max = 64;
constexpr std::size_t device_name_max = 128;

struct Record {
    std::string name;
    std::uint32_t version = 0;
    std::span<const std::byte> bytes;
};

// --- What version 1 of "virtio" had: the transports there, what its devices keep in records of their own -------------

namespace version_1 {

struct Transport {
    std::string name;
    virtio::TransportState transport;
};
struct Disk {
    std::string id;
    std::uint64_t size = 0;
};

void describe(Decoder& codec, Transport& saved) {
    codec(saved.name, saved.transport);
}
void describe(Decoder& codec, Disk& disk) {
    codec(disk.id, disk.size);
}

void read_transports(Decoder& record, SavedVm& saved) {
    std::vector<Transport> transports;
    record(transports);
    for (Transport& transport : transports)
        saved.devices.push_back({std::move(transport.name), std::move(transport.transport), {}});
}

/// Sets the state of a device. That of a device that is not there is dropped: the configuration has no such device
/// either.
void set_state(SavedVm& saved, std::string_view name, std::vector<std::byte> bytes) {
    const auto device = std::ranges::find(saved.devices, name, &SavedDevice::name);
    if (device != saved.devices.end())
        device->device = {.version = 1, .bytes = std::move(bytes)};
}

void read_disks(Decoder& record, SavedVm& saved) {
    std::vector<Disk> disks;
    record(disks);
    for (const Disk& disk : disks) {
        Encoder state;
        state(disk.size);
        set_state(saved, "block:" + disk.id, state.take());
    }
}

void read_balloon(Decoder& record, SavedVm& saved) {
    bool present = false;
    record(present);
    if (!present)
        return;
    const auto rest = record.rest();
    set_state(saved, "balloon", {rest.begin(), rest.end()});
}

} // namespace version_1

// --- The records -----------------------------------------------------------------------------------------------------

struct Kind {
    std::string_view name;
    std::uint32_t newest;
    void (*read)(Decoder&, std::uint32_t version, SavedVm&);
    /// Null if it is no longer written.
    void (*write)(Encoder&, const SavedVm&);
    bool (*required)(std::uint32_t virtio_version) = [](std::uint32_t) { return true; };
    /// What a guest can do without: it may be absent, and is when it says nothing.
    bool (*says_something)(const SavedVm&) = nullptr;
};

template <auto field>
void read_field(Decoder& record, std::uint32_t, SavedVm& saved) {
    record(saved.*field);
}
template <auto field>
void write_field(Encoder& record, const SavedVm& saved) {
    record(saved.*field);
}

/// In the order in which they are written and read; "virtio" is the last, so that a file which was cut lacks something
/// that is required.
constexpr std::string_view virtio_record = "virtio";
constexpr auto before_virtio_2 = [](std::uint32_t virtio_version) { return virtio_version < 2; };
constexpr std::array kinds{
    Kind{"vm", 1, read_field<&SavedVm::vm>, write_field<&SavedVm::vm>},
    Kind{"vcpus", 1, read_field<&SavedVm::vcpus>, write_field<&SavedVm::vcpus>},
    Kind{"serial", 1, read_field<&SavedVm::serial>, write_field<&SavedVm::serial>},
    Kind{"cmos", 1, read_field<&SavedVm::clock_register>, write_field<&SavedVm::clock_register>},
    Kind{.name = "time of day",
         .newest = 1,
         .read = [](Decoder& record, std::uint32_t, SavedVm& saved) { record(saved.vm.realtime); },
         .write = [](Encoder& record, const SavedVm& saved) { record(saved.vm.realtime); },
         .says_something = [](const SavedVm& saved) { return saved.vm.realtime != 0; }},
    Kind{.name = "keyboard",
         .newest = 1,
         .read = read_field<&SavedVm::keyboard>,
         .write = write_field<&SavedVm::keyboard>,
         .says_something = [](const SavedVm& saved) { return saved.keyboard != KeyboardState{}; }},
    Kind{virtio_record, 2,
         [](Decoder& record, std::uint32_t version, SavedVm& saved) {
             version == 1 ? version_1::read_transports(record, saved) : record(saved.devices);
         },
         write_field<&SavedVm::devices>},
    Kind{"disks", 1, [](Decoder& record, std::uint32_t, SavedVm& saved) { version_1::read_disks(record, saved); },
         nullptr, before_virtio_2},
    Kind{"balloon", 1, [](Decoder& record, std::uint32_t, SavedVm& saved) { version_1::read_balloon(record, saved); },
         nullptr, before_virtio_2},
};

[[nodiscard]] bool is_printable(char c) {
    return c >= ' ' && c <= '~' && c != '"';
}

std::string printable(std::string_view text) {
    std::string shown(text.substr(0, 32));
    std::ranges::replace_if(shown, std::not_fn(is_printable), '?');
    return shown;
}

Result<std::vector<Record>> split(std::span<const std::byte> bytes) {
    Decoder file(bytes);
    std::uint32_t found_magic = 0;
    file(found_magic);
    if (found_magic != magic)
        return fail("the saved state of the machine does not begin as one");
    std::vector<Record> records;
    while (!file.at_end()) {
        Record record;
        std::uint32_t length = 0;
        file(record.name, record.version, length);
        record.bytes = file.bytes(length);
        if (file.broken())
            return fail("the saved state of the machine ends inside its record {}", records.size() + 1);
        if (std::ranges::find(records, record.name, &Record::name) != records.end())
            return fail("the saved state of the machine has two records \"{}\"", printable(record.name));
        if (records.size() == records_max)
            return fail("the saved state of the machine has more than {} records", records_max);
        records.push_back(std::move(record));
    }
    return records;
}

Result<> read(const Record& record, const Kind& kind, SavedVm& saved) {
    if (record.version == 0 || record.version > kind.newest)
        return fail("record \"{}\" of the saved state has version {}, this monitor reads up to {}: use the monitor "
                    "that saved it, or a later one",
                    kind.name, record.version, kind.newest);
    Decoder decoder(record.bytes);
    kind.read(decoder, record.version, saved);
    if (!decoder.complete())
        return fail("record \"{}\" of the saved state is malformed", kind.name);
    return {};
}

} // namespace

std::vector<std::byte> encode(const SavedVm& saved) {
    Encoder file;
    file(magic);
    for (const Kind& kind : kinds) {
        if (kind.write == nullptr || (kind.says_something != nullptr && !kind.says_something(saved)))
            continue;
        Encoder record;
        kind.write(record, saved);
        file(std::string(kind.name), kind.newest, record.take());
    }
    return file.take();
}

Result<SavedVm> decode(std::span<const std::byte> bytes) {
    const auto records = TRY(split(bytes));
    const auto find = [&records](std::string_view name) { return std::ranges::find(records, name, &Record::name); };
    const auto virtio = find(virtio_record);
    const std::uint32_t virtio_version = virtio == records.end() ? 0 : virtio->version;

    SavedVm saved;
    for (const Kind& kind : kinds) {
        const auto record = find(kind.name);
        if (!kind.required(virtio_version))
            continue;
        if (record == records.end() && kind.says_something != nullptr)
            continue;
        if (record == records.end())
            return fail("the saved state of the machine has no record \"{}\": it was cut", kind.name);
        TRY(read(*record, kind, saved));
    }
    // They are shown where they do not fit the configuration.
    for (const SavedDevice& device : saved.devices)
        if (device.name.size() > device_name_max || !std::ranges::all_of(device.name, is_printable))
            return fail("the saved state of the machine has a device without a proper name");
    for (const Record& record : records) {
        const auto kind = std::ranges::find(kinds, record.name, &Kind::name);
        if (kind == kinds.end() || !kind->required(virtio_version))
            saved.skipped.push_back(fmt::format("\"{}\" (version {}, {} bytes)", printable(record.name), record.version,
                                                record.bytes.size()));
    }
    return saved;
}

} // namespace aerate::state
