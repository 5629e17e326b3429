// Packs a payload in each way that a kernel's build can, with its size behind it.
#pragma once

#include "boot/testing/sample_kernel.hpp"

#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

namespace aerate::testing {

inline void append_size(Bytes& packed, std::size_t size) {
    put(packed, packed.size(), static_cast<std::uint32_t>(size));
}

/// Blocks as lz4 -l makes them, but of 4 KiB.
inline Bytes pack_lz4(const Bytes& plain) {
    Bytes packed;
    put(packed, 0, std::uint32_t{0x184c2102});
    for (std::size_t offset = 0; offset < plain.size(); offset += 4096) {
        const auto size = static_cast<int>(std::min<std::size_t>(4096, plain.size() - offset));
        Bytes block(static_cast<std::size_t>(LZ4_compressBound(size)));
        const int done =
            LZ4_compress_default(reinterpret_cast<const char*>(plain.data() + offset),
                                 reinterpret_cast<char*>(block.data()), size, static_cast<int>(block.size()));
        put(packed, packed.size(), static_cast<std::uint32_t>(done));
        packed.insert(packed.end(), block.begin(), block.begin() + done);
    }
    append_size(packed, plain.size());
    return packed;
}

inline Bytes pack_zstd(const Bytes& plain) {
    Bytes packed(ZSTD_compressBound(plain.size()));
    packed.resize(ZSTD_compress(packed.data(), packed.size(), plain.data(), plain.size(), 3));
    append_size(packed, plain.size());
    return packed;
}

inline Bytes pack_xz(const Bytes& plain) {
    Bytes packed(lzma_stream_buffer_bound(plain.size()));
    std::size_t size = 0;
    if (lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, nullptr, reinterpret_cast<const std::uint8_t*>(plain.data()),
                                plain.size(), reinterpret_cast<std::uint8_t*>(packed.data()), &size,
                                packed.size()) != LZMA_OK)
        return {};
    packed.resize(size);
    append_size(packed, plain.size());
    return packed;
}

/// Packs by gzip, which ends in the size by itself.
inline Bytes pack_gzip(const Bytes& plain) {
    Bytes packed(plain.size() + 1024);
    z_stream stream{};
    constexpr int with_gzip_header = MAX_WBITS | 16;
    if (deflateInit2(&stream, 6, Z_DEFLATED, with_gzip_header, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return {};
    Bytes input = plain;
    stream.next_in = reinterpret_cast<unsigned char*>(input.data());
    stream.avail_in = static_cast<unsigned>(input.size());
    stream.next_out = reinterpret_cast<unsigned char*>(packed.data());
    stream.avail_out = static_cast<unsigned>(packed.size());
    deflate(&stream, Z_FINISH);
    packed.resize(stream.total_out);
    deflateEnd(&stream);
    return packed;
}

} // namespace aerate::testing
