#include "snapshot/header.hpp"

#include "base/endian.hpp"
#include "memory/mapping.hpp"
#include "snapshot/manifest.hpp"

#include <algorithm>

namespace aerate::snapshot {
namespace {

constexpr std::uint64_t magic = 0x50414e5341524541; // "AERASNAP"
constexpr std::uint32_t x86_64 = 62;                // EM_X86_64, as in ELF

constexpr std::size_t seal_offset = Header::size.value - sizeof(Digest);
constexpr ByteCount memory_length_max{1ULL << 44}; // as check_layout() has it

} // namespace

std::array<std::byte, Header::size.value> encode(const Header& header, const std::optional<Key>& key) {
    std::array<std::byte, Header::size.value> page{};
    const std::span bytes(page);
    store_little_endian(bytes.subspan(0), magic);
    store_little_endian(bytes.subspan(8), Header::version);
    store_little_endian(bytes.subspan(12), x86_64);
    store_little_endian(bytes.subspan(16), static_cast<std::uint32_t>(header.kind));
    store_little_endian(bytes.subspan(20), static_cast<std::uint32_t>(header.memory_beside));
    store_little_endian(bytes.subspan(24), header.memory_length.value);
    store_little_endian(bytes.subspan(32), header.manifest_length.value);
    std::ranges::copy(header.manifest_digest, bytes.subspan(40).begin());
    std::ranges::copy(seal_of(bytes.first(seal_offset), key), bytes.subspan(seal_offset).begin());
    return page;
}

Result<Header> decode_header(std::span<const std::byte, Header::size.value> bytes, const std::optional<Key>& key) {
    if (load_little_endian<std::uint64_t>(bytes) != magic)
        return fail("it is not a snapshot");
    if (const auto version = load_little_endian<std::uint32_t>(bytes.subspan(8)); version != Header::version)
        return fail("it has version {} of the format, and this program reads version {}", version, Header::version);
    if (const auto architecture = load_little_endian<std::uint32_t>(bytes.subspan(12)); architecture != x86_64)
        return fail("it is of architecture {} (ELF numbers), and this is {}", architecture, x86_64);
    const auto kind = load_little_endian<std::uint32_t>(bytes.subspan(16));
    TRY(check_kind(kind, key));

    Digest seal;
    std::ranges::copy(bytes.subspan(seal_offset), seal.begin());
    if (!equal(seal, seal_of(bytes.first(seal_offset), key)))
        return fail("its header is damaged{}", key ? ", or was written with another key" : "");

    Header header;
    header.kind = kind_of(key);
    const auto beside = load_little_endian<std::uint32_t>(bytes.subspan(20));
    if (beside > 1)
        return fail("its header has its memory at a place that this program does not know");
    header.memory_beside = beside == 1;
    header.memory_length = {load_little_endian<std::uint64_t>(bytes.subspan(24))};
    header.manifest_length = {load_little_endian<std::uint64_t>(bytes.subspan(32))};
    std::ranges::copy(bytes.subspan(40, sizeof(Digest)), header.manifest_digest.begin());
    if (header.memory_length > memory_length_max || header.memory_length.value % huge_page_size.value != 0)
        return fail("its header says {} bytes of memory, which no guest can have", header.memory_length.value);
    if (header.manifest_length > manifest_length_max)
        return fail("its header says {} bytes of manifest, more than {}", header.manifest_length.value,
                    manifest_length_max.value);
    return header;
}

} // namespace aerate::snapshot
