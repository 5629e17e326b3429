// Content of pages, made smaller where that pays. LZ4 and Zstandard, a frame at a time, each on its own.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::migration {

/// As the wire has them.
enum class Compression : std::uint32_t { none = 0, lz4 = 1, zstd = 2 };

/// That a migration may use.
struct CompressionKinds {
    bool lz4 = false;
    bool zstd = false;
    [[nodiscard]] bool include(Compression kind) const {
        return kind == Compression::none || (kind == Compression::lz4 && lz4) || (kind == Compression::zstd && zstd);
    }
};

/// A form that content can be sent in; the receiver need only know the kind.
struct CompressionSetting {
    Compression kind = Compression::none;
    int level = 1; ///< of Zstandard, 1 to 19
    bool operator==(const CompressionSetting&) const = default;
};

/// Returns the forms that a sender may use beside plain, lightest first: of "none", "lz4", "zstd" or "zstd:LEVEL" that
/// one, of "auto" all that may pay.
[[nodiscard]] Result<std::vector<CompressionSetting>> parse_compression(std::string_view text);
/// Returns the name that parse_compression() takes.
[[nodiscard]] std::string name_of(const CompressionSetting&);

class Compressor {
public:
    explicit Compressor(CompressionSetting = {});
    ~Compressor();
    Compressor(Compressor&&) noexcept;

    /// Uses this setting from here on.
    void use(CompressionSetting setting) { setting_ = setting; }
    [[nodiscard]] Compression kind() const { return setting_.kind; }
    /// Returns how much of `into` it takes; nothing when it does not fit or the library refuses.
    [[nodiscard]] std::optional<std::size_t> compress(std::span<const std::byte> from, std::span<std::byte> into);

private:
    struct Zstd;
    CompressionSetting setting_;
    std::unique_ptr<Zstd> zstd_;
};

/// Fails unless `from` is exactly what `into` was made of. Never writes beyond it.
[[nodiscard]] Result<> decompress(Compression, std::span<const std::byte> from, std::span<std::byte> into);

} // namespace aerate::migration
