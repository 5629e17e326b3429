#include "boot/aml.hpp"

#include "base/check.hpp"

namespace aerate::aml {
namespace {

// 20.3, table 20.1.
constexpr unsigned op_zero = 0x00;
constexpr unsigned op_name = 0x08;
constexpr unsigned prefix_byte = 0x0a;
constexpr unsigned prefix_word = 0x0b;
constexpr unsigned prefix_dword = 0x0c;
constexpr unsigned prefix_string = 0x0d;
constexpr unsigned prefix_qword = 0x0e;
constexpr unsigned op_scope = 0x10;
constexpr unsigned op_buffer = 0x11;
constexpr unsigned op_package = 0x12;
constexpr unsigned op_method = 0x14;
constexpr unsigned prefix_extended = 0x5b;
constexpr unsigned op_device = 0x82; // after prefix_extended
constexpr unsigned op_arg0 = 0x68;
constexpr unsigned op_notify = 0x86;
constexpr unsigned op_lequal = 0x93;
constexpr unsigned op_if = 0xa0;

void append_integer(std::vector<std::byte>& bytes, std::uint64_t value, unsigned width) {
    for (unsigned i = 0; i < width; ++i)
        bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
}

std::uint32_t hexadecimal_digit(char c) {
    CHECK((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'));
    return static_cast<std::uint32_t>(c <= '9' ? c - '0' : c - 'A' + 10);
}

} // namespace

EisaId eisa_id(std::string_view text) {
    CHECK(text.size() == 7);
    std::uint32_t value = 0;
    for (const char c : text.substr(0, 3)) {
        CHECK(c >= 'A' && c <= 'Z');
        value = value << 5 | static_cast<std::uint32_t>(c - 'A' + 1);
    }
    for (const char c : text.substr(3))
        value = value << 4 | hexadecimal_digit(c);
    return {__builtin_bswap32(value)};
}

Resources& Resources::io(std::uint16_t port, std::uint8_t length) {
    append_integer(bytes_, 0x47, 1); // small item 8, 7 bytes (6.4.2.5)
    append_integer(bytes_, 1, 1);    // decodes 16 bits
    append_integer(bytes_, port, 2);
    append_integer(bytes_, port, 2);
    append_integer(bytes_, 1, 1); // alignment
    append_integer(bytes_, length, 1);
    return *this;
}

Resources& Resources::memory32(GuestAddress start, ByteCount length) {
    CHECK(start.value + length.value <= 1ULL << 32);
    append_integer(bytes_, 0x86, 1); // large item 6 (6.4.3.4)
    append_integer(bytes_, 9, 2);
    append_integer(bytes_, 1, 1); // read and write
    append_integer(bytes_, start.value, 4);
    append_integer(bytes_, length.value, 4);
    return *this;
}

Resources& Resources::interrupt(std::uint32_t gsi) {
    constexpr unsigned consumer = 1;
    constexpr unsigned edge = 2;
    append_integer(bytes_, 0x89, 1); // large item 9 (6.4.3.6)
    append_integer(bytes_, 6, 2);
    append_integer(bytes_, consumer | edge, 1);
    append_integer(bytes_, 1, 1); // one number
    append_integer(bytes_, gsi, 4);
    return *this;
}

void Block::append(std::span<const std::byte> more) {
    for (const auto byte : more)
        bytes_.push_back(byte);
}

void Block::path(std::string_view text) {
    if (text.starts_with('\\')) {
        byte('\\');
        text.remove_prefix(1);
    }
    const bool dual = text.size() == 9 && text[4] == '.';
    CHECK(dual || text.size() == 4);
    if (dual)
        byte(0x2e);
    for (const char c : text)
        if (c != '.')
            byte(static_cast<unsigned char>(c));
}

void Block::integer(std::uint64_t value) {
    if (value <= 1) {
        byte(op_zero + static_cast<unsigned>(value));
    } else if (value <= 0xff) {
        byte(prefix_byte);
        append_integer(bytes_, value, 1);
    } else if (value <= 0xffff) {
        byte(prefix_word);
        append_integer(bytes_, value, 2);
    } else if (value <= 0xffffffff) {
        byte(prefix_dword);
        append_integer(bytes_, value, 4);
    } else {
        byte(prefix_qword);
        append_integer(bytes_, value, 8);
    }
}

void Block::package(std::span<const std::byte> contents) {
    const std::size_t size = contents.size();
    if (size + 1 < 1U << 6) {
        byte(static_cast<unsigned>(size + 1));
    } else {
        // The top two bits count the bytes that follow; the first four of the length are below them.
        const unsigned more = size + 2 < 1U << 12 ? 1 : size + 3 < 1U << 20 ? 2 : 3;
        const std::size_t length = size + 1 + more;
        CHECK(length < 1U << 28);
        byte(more << 6 | (length & 0xf));
        append_integer(bytes_, length >> 4, more);
    }
    append(contents);
}

void Block::scope(std::string_view target, const Body& body) {
    Block inner;
    inner.path(target);
    body(inner);
    byte(op_scope);
    package(inner.bytes_);
}

void Block::device(std::string_view name, const Body& body) {
    Block inner;
    inner.path(name);
    body(inner);
    byte(prefix_extended);
    byte(op_device);
    package(inner.bytes_);
}

void Block::method(std::string_view name, unsigned arguments, const Body& body) {
    CHECK(arguments <= 7);
    constexpr unsigned serialized = 1U << 3;
    Block inner;
    inner.path(name);
    inner.byte(arguments | serialized);
    body(inner);
    byte(op_method);
    package(inner.bytes_);
}

void Block::if_argument_equals(std::uint64_t value, const Body& body) {
    Block inner;
    inner.byte(op_lequal);
    inner.byte(op_arg0);
    inner.integer(value);
    body(inner);
    byte(op_if);
    package(inner.bytes_);
}

void Block::notify(std::string_view device, std::uint64_t value) {
    byte(op_notify);
    path(device);
    integer(value);
}

void Block::begin_name(std::string_view name) {
    byte(op_name);
    path(name);
}

void Block::name(std::string_view name, std::uint64_t value) {
    begin_name(name);
    integer(value);
}

void Block::name(std::string_view name, EisaId value) {
    begin_name(name);
    byte(prefix_dword);
    append_integer(bytes_, value.value, 4);
}

void Block::name(std::string_view name, std::string_view text) {
    begin_name(name);
    byte(prefix_string);
    append(std::as_bytes(std::span(text)));
    byte(0);
}

void Block::name(std::string_view name, const Resources& value) {
    constexpr unsigned end_tag = 0x79;
    Block inner;
    inner.integer(value.bytes().size() + 2);
    inner.append(value.bytes());
    inner.byte(end_tag);
    inner.byte(0); // no checksum
    begin_name(name);
    byte(op_buffer);
    package(inner.bytes_);
}

void Block::name(std::string_view name, std::span<const std::uint64_t> package_of) {
    Block inner;
    inner.byte(static_cast<unsigned>(package_of.size()));
    for (const auto element : package_of)
        inner.integer(element);
    begin_name(name);
    byte(op_package);
    package(inner.bytes_);
}

} // namespace aerate::aml
