#include "migration/compression.hpp"

#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <charconv>
#include <limits>

namespace aerate::migration {

Result<CompressionSetting> parse_compression(std::string_view text) {
    if (text == "none")
        return CompressionSetting{};
    if (text == "lz4")
        return CompressionSetting{Compression::lz4};
    constexpr std::string_view zstd = "zstd";
    constexpr std::string_view with_level = "zstd:";
    constexpr int highest = 19; // those above take gigabytes of memory
    if (text == zstd)
        return CompressionSetting{Compression::zstd};
    if (text.starts_with(with_level)) {
        const std::string_view digits = text.substr(with_level.size());
        int level = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), level);
        if (error == std::errc() && end == digits.data() + digits.size() && level >= 1 && level <= highest)
            return CompressionSetting{Compression::zstd, level};
    }
    return fail("compression {}: must be none, lz4, zstd or zstd:LEVEL, with a level of 1 to {}", text, highest);
}

void CompressionChoice::Mean::add(double what, double how_long) {
    constexpr double keep = 0.7;
    amount = amount * keep + what;
    seconds = seconds * keep + how_long;
}

bool CompressionChoice::next_pays() {
    constexpr unsigned rarest = 64;
    const double all = link_.of_one();
    const double less = compressor_.of_one() + ratio_ * link_.of_one();
    if (less < all || compressor_.amount == 0) {
        since_tried_ = 0;
        try_after_ = 1;
        return true;
    }
    // The first tries are slow, for caches and memory that nobody has touched: the next ones come soon.
    if (++since_tried_ < try_after_)
        return false;
    since_tried_ = 0;
    try_after_ = std::min(try_after_ * 2, rarest);
    return true;
}

void CompressionChoice::compressed(ByteCount from, ByteCount to, Duration took) {
    compressor_.add(static_cast<double>(from.value), took.count());
    constexpr double keep = 0.9;
    ratio_ = keep * ratio_ +
             (1 - keep) * static_cast<double>(to.value) / static_cast<double>(std::max<std::uint64_t>(from.value, 1));
}

void CompressionChoice::sent(ByteCount wire, Duration took) {
    link_.add(static_cast<double>(wire.value), took.count());
}

struct Compressor::Zstd {
    ZSTD_CCtx* context = ZSTD_createCCtx();
    Zstd() = default;
    Zstd(const Zstd&) = delete;
    Zstd& operator=(const Zstd&) = delete;
    ~Zstd() { ZSTD_freeCCtx(context); }
};

Compressor::Compressor(CompressionSetting setting)
    : setting_(setting) {
    if (setting.kind == Compression::zstd)
        zstd_ = std::make_unique<Zstd>();
}
Compressor::~Compressor() = default;
Compressor::Compressor(Compressor&&) noexcept = default;

std::optional<std::size_t> Compressor::compress(std::span<const std::byte> from, std::span<std::byte> into) {
    if (setting_.kind == Compression::lz4) {
        const int length =
            LZ4_compress_default(reinterpret_cast<const char*>(from.data()), reinterpret_cast<char*>(into.data()),
                                 static_cast<int>(from.size()), static_cast<int>(into.size()));
        return length > 0 ? std::optional(static_cast<std::size_t>(length)) : std::nullopt;
    }
    if (setting_.kind == Compression::zstd && zstd_->context != nullptr) {
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
        return fail("a frame of pages does not decompress to what it says");
    return {};
}

} // namespace aerate::migration
