// Content of pages, made smaller where that pays. LZ4 and Zstandard, a frame at a time, each on its own.
#pragma once

#include "base/error.hpp"
#include "base/units.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace aerate::migration {

/// As the wire has them.
enum class Compression : std::uint32_t { none = 0, lz4 = 1, zstd = 2 };

/// What the sender does; the receiver need only know the kind.
struct CompressionSetting {
    Compression kind = Compression::none;
    int level = 1; ///< of Zstandard, 1 to 19
    bool operator==(const CompressionSetting&) const = default;
};

/// "none", "lz4", "zstd" or "zstd:LEVEL".
[[nodiscard]] Result<CompressionSetting> parse_compression(std::string_view text);

/// Compressing a frame pays when that and sending the rest takes less time than sending all. What the compressor and
/// the link do is measured; while it does not pay, a frame is compressed now and then, in the end one in 64, to see
/// whether that has changed.
class CompressionChoice {
public:
    using Duration = std::chrono::duration<double>;

    [[nodiscard]] bool next_pays();
    void compressed(ByteCount from, ByteCount to, Duration took);
    void sent(ByteCount wire, Duration took);

private:
    struct Mean {
        void add(double amount, double seconds);
        [[nodiscard]] double of_one() const { return amount > 0 ? seconds / amount : 0; }
        double amount = 0;
        double seconds = 0;
    };

    Mean compressor_; ///< bytes that went in
    Mean link_;
    double ratio_ = 0.5;
    unsigned since_tried_ = 0;
    unsigned try_after_ = 1;
};

class Compressor {
public:
    explicit Compressor(CompressionSetting);
    ~Compressor();
    Compressor(Compressor&&) noexcept;

    [[nodiscard]] Compression kind() const { return setting_.kind; }
    /// How much of `into` it takes; nothing when it does not fit or the library refuses.
    [[nodiscard]] std::optional<std::size_t> compress(std::span<const std::byte> from, std::span<std::byte> into);

private:
    struct Zstd;
    CompressionSetting setting_;
    std::unique_ptr<Zstd> zstd_;
};

/// Fails unless `from` is exactly what `into` was made of. Never writes beyond it.
[[nodiscard]] Result<> decompress(Compression, std::span<const std::byte> from, std::span<std::byte> into);

} // namespace aerate::migration
