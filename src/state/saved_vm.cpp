#include "state/saved_vm.hpp"

#include "state/codec.hpp"

#include <string_view>

namespace aerate::state {

template <typename Codec>
void describe(Codec& codec, Described<Codec, PageRange>& range) {
    codec(range.first.value, range.count.value);
}

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
void describe(Codec& codec, Described<Codec, UartState>& uart) {
    codec(uart.interrupt_enable, uart.line_control, uart.modem_control, uart.line_errors, uart.modem_changes,
          uart.scratch, uart.divisor, uart.fifo_enabled, uart.transmitter_emptied, uart.received_count, uart.received);
}

template <typename Codec>
void describe(Codec& codec, Described<Codec, virtio::TransportState::Queue>& queue) {
    auto& [registers, position] = queue;
    codec(registers.size, registers.descriptors.value, registers.driver.value, registers.device.value, registers.ready);
    codec(position.next_available, position.next_used, position.available_wrap, position.used_wrap);
}

template <typename Codec>
void describe(Codec& codec, Described<Codec, SavedTransport>& saved) {
    auto& transport = saved.transport;
    codec(saved.name, transport.status, transport.interrupt_status, transport.config_generation,
          transport.device_features_select, transport.driver_features_select, transport.queue_select,
          transport.accepted.bits, transport.queues);
}

template <typename Codec>
void describe(Codec& codec, Described<Codec, SavedDisk>& disk) {
    codec(disk.id, disk.size.value);
}

template <typename Codec>
void describe(Codec& codec, Described<Codec, balloon::BalloonState>& balloon) {
    codec(balloon.target, balloon.actual, balloon.poison_value, balloon.last_command.value, balloon.ballooned,
          balloon.reported);
}

namespace {

constexpr std::uint32_t magic = 0x54534541; // "AEST"

/// Calls visit(name, version, field) for each record, in their order in the file. A field that changes its description
/// gets a new version, and its description a look at which one it reads.
template <typename Saved, typename Visit>
void for_each_record(Saved& saved, Visit&& visit) {
    visit("vm", 1U, saved.vm);
    visit("vcpus", 1U, saved.vcpus);
    visit("serial", 1U, saved.serial);
    visit("cmos", 1U, saved.clock_register);
    visit("virtio", 1U, saved.transports);
    visit("disks", 1U, saved.disks);
    visit("balloon", 1U, saved.balloon);
}

} // namespace

std::vector<std::byte> encode(const SavedVm& saved) {
    Encoder file;
    file(magic);
    for_each_record(saved, [&](const char* name, std::uint32_t version, const auto& field) {
        Encoder record;
        record(field);
        file(std::string(name), version, record.take());
    });
    return file.take();
}

Result<SavedVm> decode(std::span<const std::byte> bytes) {
    SavedVm saved;
    Decoder file(bytes);
    std::uint32_t found_magic = 0;
    file(found_magic);
    if (found_magic != magic)
        return fail("the saved state of the machine does not begin as one");
    Result<> result;
    for_each_record(saved, [&](std::string_view name, std::uint32_t version, auto& field) {
        if (!result)
            return;
        std::string found_name;
        std::uint32_t found_version = 0;
        std::vector<std::byte> record_bytes;
        file(found_name, found_version, record_bytes);
        if (file.broken())
            result = fail("the saved state of the machine ends before its record \"{}\"", name);
        else if (found_name != name)
            result = fail("the saved state of the machine has a record \"{}\" where this monitor knows \"{}\": use the "
                          "monitor that saved it, or one not older",
                          found_name.substr(0, 32), name);
        else if (found_version != version)
            result = fail("record \"{}\" of the saved state has version {}, this monitor reads {}", name, found_version,
                          version);
        if (!result)
            return;
        Decoder record(record_bytes);
        record(field);
        if (!record.complete())
            result = fail("record \"{}\" of the saved state is malformed", name);
    });
    if (result && !file.complete())
        result = fail("the saved state of the machine goes on after its last record");
    if (!result)
        return std::unexpected(std::move(result).error());
    return saved;
}

} // namespace aerate::state
