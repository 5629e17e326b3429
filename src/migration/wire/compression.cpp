#include "migration/wire/compression.hpp"

#include <lz4.h>
#include <zstd.h>

#include <charconv>
#include <limits>

namespace aerate::migration {

Result<std::vector<CompressionSetting>> parse_compression(std::string_view text) {
    using enum Compression;
    using Forms = std::vector<CompressionSetting>;
    if (text == "none")
        return Forms{};
    if (text == "lz4")
        return Forms{{lz4}};
    if (text == "zstd")
        return Forms{{zstd}};
    // Higher levels win next to nothing on frames of 256 KiB that each stand for themselves.
    if (text == "auto")
        return Forms{{lz4}, {zstd, 1}, {zstd, 3}, {zstd, 6}, {zstd, 9}};
    constexpr std::string_view with_level = "zstd:";
    constexpr int highest = 19; // those above take gigabytes of memory
    if (text.starts_with(with_level)) {
        const std::string_view digits = text.substr(with_level.size());
        int level = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), level);
        if (error == std::errc() && end == digits.data() + digits.size() && level >= 1 && level <= highest)
            return Forms{{zstd, level}};
    }
    return fail("compression {}: must be none, lz4, zstd, zstd:LEVEL, with a level of 1 to {}, or auto", text, highest);
}

std::string name_of(const CompressionSetting& setting) {
    switch (setting.kind) {
    case Compression::none:
        return "none";
    case Compression::lz4:
        return "lz4";
    case Compression::zstd:
        return fmt::format("zstd:{}", setting.level);
    }
    return "unknown";
}

struct Compressor::Zstd {
    ZSTD_CCtx* context = ZSTD_createCCtx();
    Zstd() = default;
    Zstd(const Zstd&) = delete;
    Zstd& operator=(const Zstd&) = delete;
    ~Zstd() { ZSTD_freeCCtx(context); }
};

Compressor::Compressor(CompressionSetting setting)
    : setting_(setting) {}
Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;

std::optional<std::size_t> Compressor::compress(std::span<const std::byte> from, std::span<std::byte> into) {
    if (setting_.kind == Compression::lz4) {
        const int length =
            LZ4_compress_default(reinterpret_cast<const char*>(from.data()), reinterpret_cast<char*>(into.data()),
                                 static_cast<int>(from.size()), static_cast<int>(into.size()));
        return length > 0 ? std::optional(static_cast<std::size_t>(length)) : std::nullopt;
    }
    if (setting_.kind == Compression::zstd) {
        if (!zstd_)
            zstd_ = std::make_unique<Zstd>();
        if (zstd_->context == nullptr)
            return std::nullopt;
        const std::size_t length =
            ZSTD_compressCCtx(zstd_->context, into.data(), into.size(), from.data(), from.size(), setting_.level);
        return ZSTD_isError(length) == 0 ? std::optional(length) : std::nullopt;
    }
    return std::nullopt;
}

Result<> decompress(Compression kind, std::span<const std::byte> from, std::span<std::byte> into) {
    std::optional<std::size_t> length;
    if (from.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
        return fail("too much to decompress at once");
    if (kind == Compression::lz4) {
        const int decoded =
            LZ4_decompress_safe(reinterpret_cast<const char*>(from.data()), reinterpret_cast<char*>(into.data()),
                                static_cast<int>(from.size()), static_cast<int>(into.size()));
        if (decoded >= 0)
            length = static_cast<std::size_t>(decoded);
    } else if (kind == Compression::zstd) {
        const std::size_t decoded = ZSTD_decompress(into.data(), into.size(), from.data(), from.size());
        if (ZSTD_isError(decoded) == 0)
            length = decoded;
    }
    if (length != into.size())
        return fail("a frame of pages does not decompress to the length that it states");
    return {};
}

} // namespace aerate::migration
