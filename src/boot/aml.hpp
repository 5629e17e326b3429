// Builds ACPI Machine Language (ACPI 6.4, chapter 20): as much of it as our DSDT needs.
//
//     aml::Block block;
//     block.scope("\\_SB_", [](aml::Block& scope) {
//         scope.device("COM1", [](aml::Block& device) {
//             device.name("_HID", aml::eisa_id("PNP0501"));
//         });
//     });
#pragma once

#include "memory/guest_address.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace aerate::aml {

/// A _HID such as "PNP0501", packed (6.1.5). REQUIRES: three letters A to Z and four hexadecimal digits.
struct EisaId {
    std::uint32_t value;
};
[[nodiscard]] EisaId eisa_id(std::string_view text);

/// The contents of a _CRS (6.4).
class Resources {
public:
    Resources& io(std::uint16_t port, std::uint8_t length);
    Resources& memory32(GuestAddress start, ByteCount length);
    /// Edge triggered, active high, exclusive.
    Resources& interrupt(std::uint32_t gsi);
    [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

private:
    std::vector<std::byte> bytes_;
};

/// A list of terms. Names are one segment of four characters, or a path of them after a root sign: "\\_SB_".
class Block {
public:
    using Body = std::function<void(Block&)>;

    void scope(std::string_view path, const Body&);
    void device(std::string_view name, const Body&);
    void method(std::string_view name, unsigned arguments, const Body&);
    /// If (Arg0 == value)
    void if_argument_equals(std::uint64_t value, const Body&);
    void notify(std::string_view device, std::uint64_t value);

    void name(std::string_view name, std::uint64_t value);
    void name(std::string_view name, EisaId value);
    void name(std::string_view name, std::string_view text);
    void name(std::string_view name, const Resources& value);
    void name(std::string_view name, std::span<const std::uint64_t> package);

    [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

private:
    void byte(unsigned value) { bytes_.push_back(static_cast<std::byte>(value)); }
    void append(std::span<const std::byte>);
    void path(std::string_view);
    void integer(std::uint64_t);
    void begin_name(std::string_view);
    /// Appends PkgLength, which counts itself (20.2.4), and the contents.
    void package(std::span<const std::byte> contents);

    std::vector<std::byte> bytes_;
};

} // namespace aerate::aml
