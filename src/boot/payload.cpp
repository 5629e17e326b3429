#include "boot/payload.hpp"

#include "base/endian.hpp"
#include "base/units.hpp"

#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>

namespace aerate {
namespace {

using Input = std::span<const std::byte>;
using Output = std::span<std::byte>;

constexpr std::size_t largest_kernel = 1U << 29;

const unsigned char* raw(Input bytes) {
    return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* raw(Output bytes) {
    return reinterpret_cast<unsigned char*>(bytes.data());
}

std::unexpected<Error> corrupt(const char* format) {
    return fail("its {} payload is corrupt or cut off: fetch the kernel image again", format);
}

constexpr std::uint32_t lz4_legacy_magic = 0x184c2102;

/// A magic number, then blocks, each with its packed size before it.
Result<std::size_t> unpack_lz4(Input in, Output out) {
    std::size_t done = 0;
    while (in.size() >= sizeof(std::uint32_t)) {
        const auto size = load_little_endian<std::uint32_t>(in);
        in = in.subspan(sizeof size);
        if (size == lz4_legacy_magic)
            continue;
        const std::size_t room = std::min<std::size_t>(out.size() - done, LZ4_MAX_INPUT_SIZE);
        if (size > in.size() || size > LZ4_MAX_INPUT_SIZE)
            return corrupt("lz4");
        const int unpacked =
            LZ4_decompress_safe(reinterpret_cast<const char*>(in.data()), reinterpret_cast<char*>(out.data() + done),
                                static_cast<int>(size), static_cast<int>(room));
        if (unpacked < 0)
            return corrupt("lz4");
        done += static_cast<std::size_t>(unpacked);
        in = in.subspan(size);
    }
    return done;
}

Result<std::size_t> unpack_zstd(Input in, Output out) {
    const std::size_t frame = ZSTD_findFrameCompressedSize(in.data(), in.size());
    if (ZSTD_isError(frame) != 0)
        return corrupt("zstd");
    const std::size_t done = ZSTD_decompress(out.data(), out.size(), in.data(), frame);
    if (ZSTD_isError(done) != 0)
        return corrupt("zstd");
    return done;
}

Result<std::size_t> unpack_xz(Input in, Output out) {
    std::uint64_t memory_limit = 1U << 28; // the kernel's dictionary has up to 128 MiB
    std::size_t consumed = 0;
    std::size_t done = 0;
    if (::lzma_stream_buffer_decode(&memory_limit, 0, nullptr, raw(in), &consumed, in.size(), raw(out), &done,
                                    out.size()) != LZMA_OK)
        return corrupt("xz");
    return done;
}

Result<std::size_t> unpack_gzip(Input in, Output out) {
    constexpr int gzip_header = 16;
    z_stream stream{};
    if (::inflateInit2(&stream, MAX_WBITS | gzip_header) != Z_OK)
        return fail("zlib cannot start");
    stream.next_in = const_cast<unsigned char*>(raw(in)); // zlib's interface; it only reads
    stream.avail_in = static_cast<unsigned>(in.size());
    stream.next_out = raw(out);
    stream.avail_out = static_cast<unsigned>(out.size());
    const int result = ::inflate(&stream, Z_FINISH);
    const std::size_t done = stream.total_out;
    ::inflateEnd(&stream);
    if (result != Z_STREAM_END)
        return corrupt("gzip");
    return done;
}

Result<std::size_t> copy_plain(Input in, Output out) {
    std::ranges::copy(in.first(std::min(in.size(), out.size())), out.begin());
    return std::min(in.size(), out.size());
}

struct Format {
    std::array<std::uint8_t, 4> magic;
    Result<std::size_t> (*unpack)(Input, Output); ///< null when we cannot
    const char* name;
    bool size_is_outside = true; ///< the size was appended by the kernel's build; gzip has its own
};

constexpr std::array formats{
    Format{{0x02, 0x21, 0x4c, 0x18}, unpack_lz4, "lz4"}, Format{{0x28, 0xb5, 0x2f, 0xfd}, unpack_zstd, "zstd"},
    Format{{0xfd, '7', 'z', 'X'}, unpack_xz, "xz"},      Format{{0x1f, 0x8b, 0x08, 0x00}, unpack_gzip, "gzip", false},
    Format{{0x7f, 'E', 'L', 'F'}, copy_plain, "plain"},  Format{{'B', 'Z', 'h', '9'}, nullptr, "bzip2"},
    Format{{0x5d, 0x00, 0x00, 0x00}, nullptr, "lzma"},   Format{{0x89, 'L', 'Z', 'O'}, nullptr, "lzo"},
};

} // namespace

Result<UnpackedPayload> unpack_payload(Input payload) {
    constexpr std::size_t trailer = sizeof(std::uint32_t);
    if (payload.size() < 2 * trailer || payload.size() > std::numeric_limits<std::uint32_t>::max())
        return fail("its payload of {} bytes cannot be a kernel", payload.size());
    const auto format = std::ranges::find_if(formats, [payload](const Format& candidate) {
        return std::ranges::equal(std::as_bytes(std::span(candidate.magic)), payload.first(candidate.magic.size()));
    });
    if (format == formats.end())
        return fail("its payload is compressed in an unknown format (it starts with {:#010x})",
                    std::byteswap(load_little_endian<std::uint32_t>(payload)));
    if (format->unpack == nullptr)
        return fail("its payload is compressed with {}, which this monitor cannot decompress: let the guest do it "
                    "(kernel entry "
                    "'bzimage'), or use a kernel compressed with gzip, xz, lz4 or zstd",
                    format->name);

    const std::size_t size = load_little_endian<std::uint32_t>(payload.last(trailer));
    if (size > largest_kernel)
        return fail("its payload claims to decompress to {} MiB, more than any kernel: fetch the kernel image again",
                    size >> 20);
    UnpackedPayload unpacked{std::make_unique_for_overwrite<std::byte[]>(size), size};
    const auto packed = format->size_is_outside ? payload.first(payload.size() - trailer) : payload;
    if (TRY(format->unpack(packed, {unpacked.bytes.get(), size})) != size)
        return corrupt(format->name);
    return unpacked;
}

} // namespace aerate
