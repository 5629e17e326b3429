#include "boot/acpi.hpp"

#include "base/check.hpp"
#include "boot/aml.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>

namespace aerate {
namespace {

using Buffer = std::vector<std::byte>;

void append(Buffer& bytes, std::uint64_t value, unsigned width) {
    for (unsigned i = 0; i < width; ++i)
        bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
}

void append(Buffer& bytes, std::span<const std::byte> more) {
    for (const auto byte : more)
        bytes.push_back(byte);
}

void append(Buffer& bytes, std::string_view text) {
    append(bytes, std::as_bytes(std::span(text)));
}

/// Returns the byte that makes the sum zero.
std::byte checksum(std::span<const std::byte> bytes) {
    unsigned sum = 0;
    for (const auto byte : bytes)
        sum += std::to_integer<unsigned>(byte);
    return static_cast<std::byte>(0U - sum);
}

constexpr std::string_view oem_id = "AERATE";         // six characters
constexpr std::string_view oem_table_id = "AERATEVM"; // eight
constexpr std::size_t header_size = 36;
constexpr std::size_t checksum_offset = 9;

/// Returns a table with the common header (5.2.6).
Buffer table(std::string_view signature, unsigned revision, std::span<const std::byte> body) {
    Buffer bytes;
    append(bytes, signature);
    append(bytes, header_size + body.size(), 4);
    append(bytes, revision, 1);
    append(bytes, 0, 1); // checksum
    append(bytes, oem_id);
    append(bytes, oem_table_id);
    append(bytes, 1, 4); // OEM revision
    append(bytes, "AERT");
    append(bytes, 1, 4); // creator revision
    append(bytes, body);
    bytes[checksum_offset] = checksum(bytes);
    return bytes;
}

void describe_serial(aml::Block& scope) {
    scope.device("COM1", [](aml::Block& device) {
        device.name("_HID", aml::eisa_id("PNP0501"));
        device.name("_UID", 1);
        device.name("_CRS", aml::Resources().io(layout::serial_port, 8).interrupt(layout::serial_gsi));
    });
}

void describe_virtio(aml::Block& scope, unsigned index, const VirtioMmioDevice& virtio) {
    scope.device(fmt::format("VR{:02X}", index), [&](aml::Block& device) {
        device.name("_HID", "LNRO0005"); // the Linux driver's match, drivers/virtio/virtio_mmio.c
        device.name("_UID", index);
        device.name("_CRS", aml::Resources().memory32(virtio.base, layout::virtio_mmio_stride).interrupt(virtio.gsi));
    });
}

/// Linux's pvpanic_mmio binds to it, whose module distributions load by this name.
void describe_panic(aml::Block& scope) {
    scope.device("PEVT", [](aml::Block& device) {
        device.name("_HID", "QEMU0001");
        device.name("_UID", std::uint64_t{0});
        device.name("_STA", 0x0f); // present, working, shown
        device.name("_CRS", aml::Resources().io(layout::panic_port, 1));
    });
}

void describe_power_button(aml::Block& scope) {
    scope.device("PWRB", [](aml::Block& device) {
        device.name("_HID", aml::eisa_id("PNP0C0C"));
        device.name("_UID", std::uint64_t{0});
    });
}

/// Linux binds to it by its _HID (drivers/virt/vmgenid.c), Windows by the other names ("Virtual Machine Generation ID",
/// Microsoft 2012).
void describe_generation_id(aml::Block& scope) {
    constexpr std::uint64_t address = layout::generation_id.value;
    scope.device("VGEN", [](aml::Block& device) {
        device.name("_HID", "VMGENCTR");
        device.name("_CID", "VM_Gen_Counter");
        device.name("_DDN", "VM_Gen_Counter");
        device.name("ADDR", std::array<std::uint64_t, 2>{address & 0xffff'ffff, address >> 32});
    });
}

/// Linux: drivers/ptp/ptp_vmclock.c.
void describe_vm_clock(aml::Block& scope) {
    constexpr std::uint64_t present = 0x0f; // working, shown
    scope.device("VCLK", [](aml::Block& device) {
        device.name("_HID", "AMZNC10C");
        device.name("_CID", "VMCLOCK");
        device.name("_STA", present);
        device.name("_CRS", aml::Resources().memory32(layout::vm_clock, page_size));
    });
}

/// Describes a Generic Event Device (5.6.9): the power button, and another generation.
void describe_events(aml::Block& scope) {
    constexpr std::uint64_t button_pressed = 0x80;
    constexpr std::uint64_t generation_changed = 0x80;
    scope.device("GED0", [](aml::Block& device) {
        device.name("_HID", "ACPI0013");
        device.name("_UID", std::uint64_t{0});
        device.name("_CRS", aml::Resources().interrupt(layout::power_button_gsi).interrupt(layout::generation_gsi));
        device.method("_EVT", 1, [](aml::Block& method) {
            method.if_argument_equals(layout::generation_gsi,
                                      [](aml::Block& then) { then.notify("\\_SB_.VGEN", generation_changed); });
            method.if_argument_equals(layout::power_button_gsi,
                                      [](aml::Block& then) { then.notify("\\_SB_.PWRB", button_pressed); });
        });
    });
}

Buffer dsdt(const AcpiConfig& config) {
    aml::Block root;
    root.scope("\\_SB_", [&](aml::Block& scope) {
        if (config.serial)
            describe_serial(scope);
        unsigned index = 0;
        for (const auto& virtio : config.virtio)
            describe_virtio(scope, index++, virtio);
        describe_power_button(scope);
        describe_generation_id(scope);
        describe_vm_clock(scope);
        describe_events(scope);
        describe_panic(scope);
    });
    root.name("\\_S5_", std::array<std::uint64_t, 2>{layout::soft_off_type, 0});
    return table("DSDT", 2, root.bytes());
}

/// Appends a Generic Address Structure (5.2.3.2) of one byte in I/O space.
void append_io_register(Buffer& bytes, std::uint16_t port) {
    append(bytes, 1, 1); // system I/O
    append(bytes, 8, 1);
    append(bytes, 0, 1);
    append(bytes, 1, 1); // byte access
    append(bytes, port, 8);
}

/// 5.2.9. In a hardware-reduced machine all that describes fixed hardware is zero.
Buffer fadt(GuestAddress dsdt_address) {
    constexpr std::size_t boot_flags_offset = 109 - header_size;
    constexpr std::size_t flags_offset = 112 - header_size;
    constexpr std::size_t minor_version_offset = 131 - header_size;
    constexpr std::size_t x_dsdt_offset = 140 - header_size;
    constexpr std::size_t sleep_control_offset = 244 - header_size;
    constexpr std::size_t hypervisor_offset = 268 - header_size;
    constexpr std::uint32_t no_vga = 1U << 2;
    constexpr std::uint32_t no_cmos_rtc = 1U << 5;
    constexpr std::uint32_t wbinvd_works = 1U << 0;
    constexpr std::uint32_t power_button_is_device = 1U << 4;
    constexpr std::uint32_t sleep_button_is_device = 1U << 5;
    constexpr std::uint32_t reset_register = 1U << 10;
    constexpr std::uint32_t hardware_reduced = 1U << 20;

    Buffer body;
    const auto pad_to = [&body](std::size_t offset) { body.resize(offset); };
    pad_to(boot_flags_offset);
    append(body, no_vga | no_cmos_rtc, 2); // nor an 8042: its bit is clear
    pad_to(flags_offset);
    append(body, wbinvd_works | power_button_is_device | sleep_button_is_device | reset_register | hardware_reduced, 4);
    append_io_register(body, layout::reset_port);
    append(body, layout::reset_value, 1);
    pad_to(minor_version_offset);
    append(body, 4, 1);
    pad_to(x_dsdt_offset);
    append(body, dsdt_address.value, 8);
    pad_to(sleep_control_offset);
    append_io_register(body, layout::sleep_control_port);
    append_io_register(body, layout::sleep_status_port);
    pad_to(hypervisor_offset);
    append(body, oem_table_id); // hypervisor vendor
    return table("FACP", 6, body);
}

/// 5.2.12.
Buffer madt(unsigned vcpus) {
    constexpr unsigned enabled = 1;
    Buffer body;
    append(body, layout::local_apic.value, 4);
    append(body, 0, 4); // no PIC pair
    for (unsigned index = 0; index < vcpus; ++index) {
        append(body, 0, 1); // local APIC
        append(body, 8, 1);
        append(body, index, 1); // processor UID
        append(body, index, 1); // APIC ID
        append(body, enabled, 4);
    }
    append(body, 1, 1); // IOAPIC
    append(body, 12, 1);
    append(body, 0, 2);
    append(body, layout::io_apic.value, 4);
    append(body, 0, 4); // its first GSI
    append(body, 4, 1); // local APIC NMI
    append(body, 6, 1);
    append(body, 0xff, 1); // of all processors
    append(body, 0, 2);
    append(body, 1, 1); // LINT1
    return table("APIC", 5, body);
}

Buffer xsdt(std::span<const GuestAddress> tables) {
    Buffer body;
    for (const auto& address : tables)
        append(body, address.value, 8);
    return table("XSDT", 1, body);
}

/// 5.2.5.3.
Buffer rsdp(GuestAddress xsdt_address) {
    constexpr std::size_t first_part = 20;
    constexpr std::size_t checksum_of_first_part = 8;
    constexpr std::size_t checksum_of_all = 32;
    Buffer bytes;
    append(bytes, "RSD PTR ");
    append(bytes, 0, 1);
    append(bytes, oem_id);
    append(bytes, 2, 1); // revision
    append(bytes, 0, 4); // no RSDT
    append(bytes, header_size, 4);
    append(bytes, xsdt_address.value, 8);
    append(bytes, 0, 4);
    bytes[checksum_of_first_part] = checksum(std::span(bytes).first(first_part));
    bytes[checksum_of_all] = checksum(bytes);
    return bytes;
}

/// Real-mode code for layout::reset_vector: what to do with a kernel that reboots by jumping to the BIOS. Linux does
/// that where ACPI is hardware-reduced: it prefers EFI to the reset register there, and without EFI falls back to the
/// BIOS (arch/x86/kernel/reboot.c, reboot_init()).
constexpr auto reset = std::to_array<std::uint8_t>({
    0xba, layout::reset_port & 0xff, layout::reset_port >> 8, // mov dx, reset_port
    0xb0, layout::reset_value,                                // mov al, reset_value
    0xee,                                                     // out dx, al
    0xf4,                                                     // hlt
    0xeb, 0xfd,                                               // jmp to the hlt
});

} // namespace

Buffer build_acpi_tables(const AcpiConfig& config) {
    constexpr std::size_t alignment = 16;
    constexpr std::size_t rsdp_size = 36;
    Buffer area(rsdp_size);
    const auto place = [&area](const Buffer& bytes) {
        area.resize((area.size() + alignment - 1) / alignment * alignment);
        const GuestAddress address{layout::acpi_tables.value + area.size()};
        append(area, bytes);
        return address;
    };
    const auto dsdt_address = place(dsdt(config));
    const std::array tables{place(fadt(dsdt_address)), place(madt(config.vcpus))};
    const Buffer root = rsdp(place(xsdt(tables)));
    std::ranges::copy(root, area.begin());
    return area;
}

Result<void> write_acpi_tables(GuestMemory& memory, const AcpiConfig& config) {
    if (config.virtio.size() > layout::max_virtio_devices)
        return fail("{} virtio devices requested, there are interrupt lines for {}", config.virtio.size(),
                    layout::max_virtio_devices);
    const auto bytes = build_acpi_tables(config);
    CHECK(bytes.size() <= layout::vm_clock.value - layout::acpi_tables.value);
    if (!memory.write(layout::acpi_tables, bytes) ||
        !memory.write(layout::reset_vector, std::as_bytes(std::span(reset))))
        return fail("there is no guest memory for the ACPI tables at {:#x}", layout::acpi_tables.value);
    return {};
}

} // namespace aerate
