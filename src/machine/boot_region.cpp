#include "machine/boot_region.hpp"

#include "base/endian.hpp"
#include "base/host.hpp"
#include "base/regular_file.hpp"
#include "memory/mapping.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <utility>

namespace aerate {
namespace {

using migration::Attachment;

constexpr std::uint64_t boot_magic = 0x31544f4f42524541; // "AERBOOT1"
/// Addresses end at 16 TiB, and RAM at little more than 4.
constexpr ByteCount longest_region{2ULL << 30};
constexpr GuestAddress region_start{(1ULL << 44) - longest_region.value};
constexpr ByteCount piece_length{1ULL << 20};

[[nodiscard]] bool is_boot(FrameNumber frame) {
    return address_of(frame) >= region_start;
}

[[nodiscard]] PageCount pages_of(ByteCount length) {
    return {(length.value + page_size.value - 1) / page_size.value};
}

[[nodiscard]] ByteCount length_of(std::span<const Attachment> attachments, Attachment::Kind kind) {
    const auto found = std::ranges::find(attachments, kind, &Attachment::kind);
    return found == attachments.end() ? ByteCount{} : found->length;
}

Result<> write_part(snapshot::Writer& writer, const Attachment& from, FrameNumber first) {
    std::vector<std::byte> bytes(piece_length.value);
    for (ByteCount done{}; done < from.length; done += piece_length) {
        const std::uint64_t length = std::min(piece_length.value, from.length.value - done.value);
        const PageCount pages = pages_of({length});
        const auto piece = std::span(bytes).first(bytes_of(pages).value);
        std::ranges::fill(piece.subspan(length), std::byte{0});
        if (auto read = read_at(from.fd, piece.first(length), from.offset + done); !read)
            return fail_because(std::move(read).error(),
                                "cannot save the guest's kernel and initrd (cut while they are read? try again)");
        TRY(writer.add({{first.value + whole_pages_of(done).value}, pages}, piece));
    }
    return {};
}

} // namespace

std::optional<MemoryRegion> boot_region(std::span<const Attachment> attachments) {
    if (attachments.empty())
        return std::nullopt;
    PageCount pages{1};
    for (const Attachment& attachment : attachments) {
        if (attachment.length > longest_region)
            return std::nullopt;
        pages.value += pages_of(attachment.length).value;
    }
    const std::uint64_t huge = huge_page_size.value;
    const ByteCount length{(bytes_of(pages).value + huge - 1) / huge * huge};
    return length > longest_region ? std::nullopt : std::optional(MemoryRegion{region_start, length});
}

Result<> write_boot_region(snapshot::Writer& writer, std::span<const Attachment> attachments) {
    const FrameNumber header_at = frame_of(region_start);
    std::array<std::byte, page_size.value> header{};
    const ByteCount kernel = length_of(attachments, Attachment::Kind::kernel);
    store_little_endian(std::span<std::byte>(header), boot_magic);
    store_little_endian(std::span<std::byte>(header).subspan(8), kernel.value);
    store_little_endian(std::span<std::byte>(header).subspan(16),
                        length_of(attachments, Attachment::Kind::initrd).value);
    TRY(writer.add({header_at, {1}}, header));
    for (const Attachment& attachment : attachments) {
        const std::uint64_t before = 1 + (attachment.kind == Attachment::Kind::kernel ? 0 : pages_of(kernel).value);
        TRY(write_part(writer, attachment, {header_at.value + before}));
    }
    return {};
}

std::vector<MemoryRegion> ram_of(const std::vector<MemoryRegion>& regions) {
    std::vector<MemoryRegion> ram = regions;
    std::erase_if(ram, [](const MemoryRegion& region) { return region.start >= region_start; });
    return ram;
}

namespace {

/// How long both are, as page 0 says.
struct Lengths {
    ByteCount kernel;
    ByteCount initrd;
};

Result<Lengths> parse_header(std::span<const std::byte> header, const MemoryRegion& region) {
    const auto word = [&header](std::size_t at) { return load_little_endian<std::uint64_t>(header.subspan(at)); };
    const Lengths lengths{{word(8)}, {word(16)}};
    if (word(0) != boot_magic || lengths.kernel.value == 0 || lengths.kernel > region.length ||
        lengths.initrd > region.length ||
        1 + pages_of(lengths.kernel).value + pages_of(lengths.initrd).value > whole_pages_of(region.length).value)
        return fail("the kernel in the snapshot is malformed");
    return lengths;
}

constexpr std::size_t header_length = 24;
constexpr auto came_from = "in the snapshot";

Result<BootFiles> copied(const snapshot::Snapshot& snapshot, const MemoryRegion& region) {
    const auto memory = TRY(snapshot.restore({.regions = {region}, .backing = Backing::anonymous}));
    std::array<std::byte, header_length> header{};
    if (!memory.read(region.start, header))
        return fail("the beginning of the kernel in the snapshot is missing");
    const Lengths lengths = TRY(parse_header(header, region));
    const auto part = [&](const char* what, ByteCount length, std::uint64_t page) -> Result<BootFile> {
        auto file = TRY(IncomingBootFile::create(what));
        std::vector<std::byte> bytes(std::min(piece_length, length).value);
        for (ByteCount done{}; done < length; done += ByteCount{bytes.size()}) {
            bytes.resize(std::min<std::uint64_t>(bytes.size(), (length - done).value));
            if (!memory.read({region.start.value + bytes_of({page}).value + done.value}, bytes))
                return fail("the {} in the snapshot is cut", what);
            TRY(file.append(bytes));
        }
        return std::move(file).finish(came_from);
    };
    BootFiles files;
    files.kernel = TRY(part("kernel image", lengths.kernel, 1));
    if (lengths.initrd.value > 0)
        files.initrd = TRY(part("initrd", lengths.initrd, 1 + pages_of(lengths.kernel).value));
    return files;
}

} // namespace

Result<BootFiles> boot_files_of(const snapshot::Snapshot& snapshot) {
    const auto region = std::ranges::find_if(snapshot.regions(), [](const auto& r) { return r.start == region_start; });
    if (region == snapshot.regions().end())
        return BootFiles{};
    if (snapshot.authenticates_memory())
        return copied(snapshot, *region);
    auto pieces = snapshot.pieces();
    std::erase_if(pieces, [](const FilePiece& piece) { return !is_boot(piece.pages.first); });
    if (pieces.empty() || pieces.front().pages.first != frame_of(region_start))
        return fail("the beginning of the kernel in the snapshot is missing");
    const int fd = pieces.front().fd;
    const ByteCount offset = pieces.front().offset;
    if (std::ranges::any_of(pieces, [fd](const FilePiece& piece) { return piece.fd != fd; }))
        return fail("the kernel in the snapshot is in several files");
    std::array<std::byte, header_length> header{};
    TRY(read_at(fd, header, offset));
    const auto [kernel, initrd] = TRY(parse_header(header, *region));
    // Holes between its pieces read as zero, as they should.
    const auto part = [&](const char* what, ByteCount length, std::uint64_t page) -> Result<BootFile> {
        FileDescriptor own = host::descriptor([&] { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0); });
        if (!own.valid())
            return fail_errno("cannot keep the {} of the snapshot", what);
        return BootFile{.path = came_from,
                        .what = what,
                        .fd = std::move(own),
                        .length = length,
                        .offset = offset + bytes_of({page})};
    };
    BootFiles files;
    files.kernel = TRY(part("kernel image", kernel, 1));
    if (initrd.value > 0)
        files.initrd = TRY(part("initrd", initrd, 1 + pages_of(kernel).value));
    return files;
}

} // namespace aerate
