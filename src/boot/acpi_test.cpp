#include "base/endian.hpp"
#include "base/testing/temporary_directory.hpp"
#include "boot/acpi.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <string>

namespace aerate {
namespace {

using namespace literals;
using ::testing::HasSubstr;

unsigned sum(std::span<const std::byte> bytes) {
    unsigned total = 0;
    for (const auto byte : bytes)
        total += std::to_integer<unsigned>(byte);
    return total & 0xff;
}

AcpiConfig config(unsigned vcpus, unsigned devices) {
    AcpiConfig made{.vcpus = vcpus, .virtio = {}, .serial = true};
    for (unsigned index = 0; index < devices; ++index)
        made.virtio.push_back(virtio_mmio_device(index));
    return made;
}

/// The tables as an operating system finds them: from the RSDP on, each checked.
class Tables {
public:
    explicit Tables(std::vector<std::byte> bytes)
        : bytes_(std::move(bytes)) {
        const auto rsdp = at(layout::acpi_tables.value, 36);
        EXPECT_EQ(std::memcmp(rsdp.data(), "RSD PTR ", 8), 0);
        EXPECT_EQ(sum(rsdp.first(20)), 0U);
        EXPECT_EQ(sum(rsdp), 0U);
        const auto xsdt = table(load_little_endian<std::uint64_t>(rsdp.subspan(24)));
        for (std::size_t offset = 36; offset < xsdt.size(); offset += 8)
            table(load_little_endian<std::uint64_t>(xsdt.subspan(offset)));
        table(load_little_endian<std::uint64_t>(get("FACP").subspan(140)));
    }

    std::span<const std::byte> get(const std::string& signature) {
        EXPECT_TRUE(tables_.contains(signature)) << signature;
        return tables_[signature];
    }

private:
    std::span<const std::byte> at(std::uint64_t address, std::size_t length) {
        const auto offset = address - layout::acpi_tables.value;
        EXPECT_LE(offset + length, bytes_.size());
        return std::span(bytes_).subspan(offset, length);
    }

    std::span<const std::byte> table(std::uint64_t address) {
        EXPECT_EQ(address % 16, 0U);
        const auto length = load_little_endian<std::uint32_t>(at(address, 8).subspan(4));
        const auto found = at(address, length);
        const std::string signature(reinterpret_cast<const char*>(found.data()), 4);
        EXPECT_EQ(sum(found), 0U) << signature;
        return tables_[signature] = found;
    }

    std::vector<std::byte> bytes_;
    std::map<std::string, std::span<const std::byte>> tables_;
};

TEST(Acpi, EveryTableIsFoundAndSumsToZero) {
    for (const unsigned vcpus : {1U, 2U, 31U, 32U})
        for (const unsigned devices : {0U, 1U, 7U, layout::max_virtio_devices}) {
            Tables tables(build_acpi_tables(config(vcpus, devices)));
            for (const auto* signature : {"FACP", "APIC", "DSDT", "XSDT"})
                EXPECT_FALSE(tables.get(signature).empty());
        }
}

TEST(Acpi, HardwareReducedWithPowerOffAndReset) {
    Tables tables(build_acpi_tables(config(1, 1)));
    const auto fadt = tables.get("FACP");
    ASSERT_EQ(fadt.size(), 276U);
    const auto flags = load_little_endian<std::uint32_t>(fadt.subspan(112));
    EXPECT_TRUE(flags & 1U << 20) << "hardware-reduced";
    EXPECT_TRUE(flags & 1U << 10) << "has a reset register";
    const auto expect_port = [&](std::size_t offset, std::uint16_t port) {
        EXPECT_EQ(std::to_integer<int>(fadt[offset]), 1) << "I/O space";
        EXPECT_EQ(load_little_endian<std::uint64_t>(fadt.subspan(offset + 4)), port);
    };
    expect_port(116, layout::reset_port);
    EXPECT_EQ(std::to_integer<int>(fadt[128]), layout::reset_value);
    expect_port(244, layout::sleep_control_port);
    expect_port(256, layout::sleep_status_port);
    EXPECT_EQ(layout::sleep_control_power_off, 0x34);
}

TEST(Acpi, MadtHasEveryProcessorAndTheIoApic) {
    for (const unsigned vcpus : {1U, 5U, 32U}) {
        Tables tables(build_acpi_tables(config(vcpus, 0)));
        auto entries = tables.get("APIC").subspan(44);
        unsigned processors = 0;
        unsigned io_apics = 0;
        while (!entries.empty()) {
            const auto length = std::to_integer<std::size_t>(entries[1]);
            ASSERT_GT(length, 1U);
            ASSERT_LE(length, entries.size());
            if (entries[0] == std::byte{0}) {
                EXPECT_EQ(std::to_integer<unsigned>(entries[3]), processors++) << "APIC ID";
                EXPECT_EQ(load_little_endian<std::uint32_t>(entries.subspan(4)), 1U) << "enabled";
            }
            io_apics += entries[0] == std::byte{1} ? 1U : 0U;
            entries = entries.subspan(length);
        }
        EXPECT_EQ(processors, vcpus);
        EXPECT_EQ(io_apics, 1U);
    }
}

TEST(Acpi, TablesAreWrittenWhereKernelsLook) {
    const auto regions = ram_regions(16_MiB);
    auto memory = GuestMemory::create({.regions = *regions});
    ASSERT_TRUE(memory);
    ASSERT_TRUE(write_acpi_tables(*memory, config(32, layout::max_virtio_devices)));
    std::array<std::byte, 8> signature;
    ASSERT_TRUE(memory->read(GuestAddress{0xe0000}, signature));
    EXPECT_EQ(std::memcmp(signature.data(), "RSD PTR ", 8), 0);
}

// mov dx, port; mov al, value; out dx, al
TEST(Acpi, ResetVectorWritesTheResetRegister) {
    auto memory = GuestMemory::create({.regions = *ram_regions(16_MiB)});
    ASSERT_TRUE(memory);
    ASSERT_TRUE(write_acpi_tables(*memory, config(1, 0)));
    std::array<std::byte, 6> code;
    ASSERT_TRUE(memory->read(GuestAddress{0xffff0}, code));
    EXPECT_EQ(load_little_endian<std::uint16_t>(std::span(code).subspan(1)), layout::reset_port);
    EXPECT_EQ(std::to_integer<int>(code[4]), layout::reset_value);
}

TEST(Acpi, TooManyDevicesAreAnError) {
    auto memory = GuestMemory::create({.regions = *ram_regions(16_MiB)});
    ASSERT_TRUE(memory);
    AcpiConfig crowded;
    crowded.virtio.assign(layout::max_virtio_devices + 1, virtio_mmio_device(0));
    const auto result = write_acpi_tables(*memory, crowded);
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error().message, HasSubstr("there are interrupt lines for 18"));
}

std::string contents(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Intel's own reader, of the package acpica-tools, is the judge of our AML.
TEST(Acpi, DsdtDisassembles) {
    if (std::system("iasl -v > /dev/null 2>&1") != 0)
        GTEST_SKIP() << "NOT TESTED: iasl is missing, install acpica-tools";
    Tables tables(build_acpi_tables(config(2, 18)));
    const TemporaryDirectory directory;
    const auto dsdt = tables.get("DSDT");
    std::ofstream(directory / "dsdt.dat")
        .write(reinterpret_cast<const char*>(dsdt.data()), static_cast<std::streamsize>(dsdt.size()));
    const std::string command = "iasl -d " + (directory / "dsdt.dat") + " > " + (directory / "log") + " 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0) << contents(directory / "log");
    const auto source = contents(directory / "dsdt.dsl");
    for (const auto* expected : {"Device (COM1)",
                                 "EisaId (\"PNP0501\")",
                                 "Device (VR00)",
                                 "Device (VR11)",
                                 "\"LNRO0005\"",
                                 "Memory32Fixed (ReadWrite",
                                 "0xD0000000",
                                 "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive",
                                 "Device (PWRB)",
                                 "\"ACPI0013\"",
                                 "Device (VCLK)",
                                 "\"AMZNC10C\"",
                                 "Device (VGEN)",
                                 "\"VMGENCTR\"",
                                 "Notify (\\_SB.VGEN, 0x80)",
                                 "Name (ADDR, Package (0x02)",
                                 "0x000FF000",
                                 "Method (_EVT, 1, Serialized)",
                                 "Notify (\\_SB.PWRB, 0x80)",
                                 "Name (\\_S5"})
        EXPECT_THAT(source, HasSubstr(expected));
}

} // namespace
} // namespace aerate
