#include "snapshot/manifest.hpp"

#include "base/endian.hpp"
#include "memory/mapping.hpp"

#include <algorithm>
#include <limits>

namespace aerate::snapshot {
namespace {

constexpr std::size_t name_length_max = 255; // NAME_MAX
constexpr std::size_t chunk_record = 8 + 2 * sizeof(PageSet) + sizeof(Digest);
static_assert(chunk_record == 104);

class Output {
public:
    template <std::unsigned_integral T>
    void put(T value) {
        bytes_.resize(bytes_.size() + sizeof(T));
        store_little_endian(std::span(bytes_).last(sizeof(T)), value);
    }
    void put(std::span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
    void put(const PageSet& pages) { put(std::as_bytes(std::span(pages.words))); }
    void put_with_length(std::span<const std::byte> bytes) {
        put(static_cast<std::uint32_t>(bytes.size()));
        put(bytes);
    }
    void reserve(std::size_t size) { bytes_.reserve(size); }
    [[nodiscard]] std::vector<std::byte> take() { return std::move(bytes_); }

private:
    std::vector<std::byte> bytes_;
};

class Input {
public:
    explicit Input(std::span<const std::byte> bytes)
        : rest_(bytes) {}

    [[nodiscard]] Result<std::span<const std::byte>> bytes(std::size_t count) {
        if (count > rest_.size())
            return fail("its manifest ends early");
        const auto taken = rest_.first(count);
        rest_ = rest_.subspan(count);
        return taken;
    }
    template <std::unsigned_integral T>
    [[nodiscard]] Result<T> number() {
        return load_little_endian<T>(TRY(bytes(sizeof(T))));
    }
    [[nodiscard]] Result<std::span<const std::byte>> with_length(std::size_t longest, const char* what) {
        const auto length = TRY(number<std::uint32_t>());
        if (length > longest)
            return fail("its manifest has a {} of {} bytes, more than {}", what, length, longest);
        return bytes(length);
    }
    /// Reads a number of records of `size` bytes, all of which are there.
    [[nodiscard]] Result<std::uint32_t> count(std::size_t size) {
        const auto records = TRY(number<std::uint32_t>());
        if (records > rest_.size() / size)
            return fail("its manifest ends early");
        return records;
    }
    [[nodiscard]] bool empty() const { return rest_.empty(); }

private:
    std::span<const std::byte> rest_;
};

Result<PageSet> read_page_set(Input& input) {
    PageSet pages;
    for (std::uint64_t& word : pages.words)
        word = TRY(input.number<std::uint64_t>());
    return pages;
}

Result<Digest> read_digest(Input& input) {
    Digest digest;
    std::ranges::copy(TRY(input.bytes(digest.size())), digest.begin());
    return digest;
}

Result<std::vector<MemoryRegion>> read_regions(Input& input) {
    MemoryLayout layout;
    const auto count = TRY(input.count(16));
    if (count > regions_max)
        return fail("its manifest has {} regions of memory, more than {}", count, regions_max);
    for (std::uint32_t i = 0; i < count; ++i) {
        const GuestAddress start{TRY(input.number<std::uint64_t>())};
        const ByteCount length{TRY(input.number<std::uint64_t>())};
        layout.regions.push_back({start, length});
    }
    TRY(check_layout(layout));
    return layout.regions;
}

Result<std::optional<Parent>> read_parent(Input& input) {
    const auto name = TRY(input.with_length(name_length_max, "parent's name"));
    if (name.empty())
        return std::nullopt;
    Parent parent{.name = std::string(reinterpret_cast<const char*>(name.data()), name.size())};
    if (!is_file_name(parent.name))
        return fail("its manifest has a parent that is not a file name");
    parent.identity = TRY(read_digest(input));
    return parent;
}

Result<Chunk> read_chunk(Input& input) {
    Chunk chunk;
    chunk.index = TRY(input.number<std::uint32_t>());
    if (TRY(input.number<std::uint32_t>()) != 0)
        return fail("its manifest has something where zero belongs");
    chunk.data = TRY(read_page_set(input));
    chunk.zero = TRY(read_page_set(input));
    chunk.digest = TRY(read_digest(input));
    return chunk;
}

Result<std::vector<Chunk>> read_chunks(Input& input, std::uint64_t chunks_of_area, bool has_parent) {
    const auto count = TRY(input.count(chunk_record));
    std::vector<Chunk> chunks;
    chunks.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        const Chunk chunk = TRY(read_chunk(input));
        if (chunk.index >= chunks_of_area)
            return fail("its manifest has chunk {} of a memory of {} chunks", chunk.index, chunks_of_area);
        if (!chunks.empty() && chunk.index <= chunks.back().index)
            return fail("its manifest has chunk {} out of order", chunk.index);
        if (!has_parent && chunk.zero.any())
            return fail("its manifest marks zero pages in chunk {}, which only a diff does", chunk.index);
        if (chunk.data.intersects(chunk.zero))
            return fail("its manifest has pages of chunk {} as data and as zero", chunk.index);
        if (!chunk.data.any() && !chunk.zero.any())
            return fail("its manifest has nothing in chunk {}", chunk.index);
        chunks.push_back(chunk);
    }
    return chunks;
}

} // namespace

bool is_file_name(std::string_view name) {
    return !name.empty() && name.size() <= name_length_max && name != "." && name != ".." &&
           name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

const Chunk* find_chunk(std::span<const Chunk> chunks, std::uint32_t index) {
    const auto chunk = std::ranges::lower_bound(chunks, index, {}, &Chunk::index);
    return chunk != chunks.end() && chunk->index == index ? &*chunk : nullptr;
}

Result<std::vector<std::byte>> encode(const Manifest& manifest) {
    if (manifest.config.size() > config_length_max.value)
        return fail("a configuration of {} bytes does not fit a snapshot, which takes {}", manifest.config.size(),
                    config_length_max.value);
    if (manifest.state.size() > state_length_max.value)
        return fail("a state of {} bytes does not fit a snapshot, which takes {}", manifest.state.size(),
                    state_length_max.value);

    Output output;
    output.reserve(manifest.chunks.size() * chunk_record + manifest.config.size() + manifest.state.size() + 4096);
    output.put(static_cast<std::uint32_t>(manifest.regions.size()));
    for (const auto& [start, length] : manifest.regions) {
        output.put(start.value);
        output.put(length.value);
    }
    output.put_with_length(std::as_bytes(std::span(manifest.config)));
    if (manifest.parent) {
        output.put_with_length(std::as_bytes(std::span(manifest.parent->name)));
        output.put(manifest.parent->identity);
    } else {
        output.put(std::uint32_t{0});
    }
    output.put_with_length(manifest.state);
    output.put(static_cast<std::uint32_t>(manifest.chunks.size()));
    for (const Chunk& chunk : manifest.chunks) {
        output.put(chunk.index);
        output.put(std::uint32_t{0});
        output.put(chunk.data);
        output.put(chunk.zero);
        output.put(chunk.digest);
    }
    auto bytes = output.take();
    if (bytes.size() > manifest_length_max.value)
        return fail("a manifest of {} bytes does not fit a snapshot, which takes {}: the guest has too much memory in "
                    "use",
                    bytes.size(), manifest_length_max.value);
    return bytes;
}

ByteCount longest_manifest(const MemoryArea& area) {
    constexpr ByteCount usual_state{1U << 20};
    return config_length_max + usual_state + ByteCount{area.chunks() * chunk_record};
}

Result<Manifest> decode_manifest(std::span<const std::byte> bytes) {
    Input input(bytes);
    Manifest manifest;
    manifest.regions = TRY(read_regions(input));
    const auto config = TRY(input.with_length(config_length_max.value, "configuration"));
    manifest.config.assign(reinterpret_cast<const char*>(config.data()), config.size());
    manifest.parent = TRY(read_parent(input));
    const auto state = TRY(input.with_length(state_length_max.value, "state"));
    manifest.state.assign(state.begin(), state.end());
    manifest.chunks = TRY(read_chunks(input, MemoryArea(manifest.regions).chunks(), manifest.parent.has_value()));
    if (!input.empty())
        return fail("its manifest has data after its end");
    return manifest;
}

} // namespace aerate::snapshot
