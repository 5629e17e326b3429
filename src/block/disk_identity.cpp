#include "block/disk_identity.hpp"

#include <unistd.h>

#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <vector>

namespace aerate {

Result<DiskIdentity> DiskIdentity::of(int fd, std::uint64_t size) {
    constexpr std::uint64_t edge = 1U << 20;
    constexpr std::size_t aligned = 4096; // for O_DIRECT
    struct stat status{};
    if (::fstat(fd, &status) != 0)
        return fail_errno("it cannot be inspected");
    DiskIdentity identity{.device = status.st_dev, .inode = status.st_ino, .modified_ns = 0, .edges = {}};
    // The node of a block device tells nothing of when its blocks were written.
    if (S_ISREG(status.st_mode))
        identity.modified_ns = static_cast<std::uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000 +
                               static_cast<std::uint64_t>(status.st_mtim.tv_nsec);
    std::vector<std::byte> bytes(2 * edge + aligned);
    void* place = bytes.data();
    std::size_t room = bytes.size();
    if (std::align(aligned, 2 * edge, place, room) == nullptr)
        return fail("it cannot be read");
    auto* const at = static_cast<std::byte*>(place);
    std::memset(at, 0, 2 * edge);
    const std::uint64_t length = std::min(edge, size);
    if (::pread(fd, at, length, 0) < 0 || ::pread(fd, at + edge, length, static_cast<off_t>(size - length)) < 0)
        return fail_errno("it cannot be read");
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(at, 2 * edge));
    std::memcpy(identity.edges.data(), canonical.digest, identity.edges.size());
    return identity;
}

std::string DiskIdentity::text() const {
    std::string text = fmt::format("{:x}-{:x}-{:x}-", device, inode, modified_ns);
    for (const std::uint8_t byte : edges)
        text += fmt::format("{:02x}", byte);
    return text;
}

Result<DiskIdentity> DiskIdentity::parse(std::string_view text) {
    const auto number = [&text]<typename T>(std::size_t digits, T& into) {
        const std::string_view piece = text.substr(0, digits);
        const auto [stop, error] = std::from_chars(piece.begin(), piece.end(), into, 16);
        const bool read = error == std::errc();
        text.remove_prefix(static_cast<std::size_t>(stop - piece.begin()));
        return read;
    };
    const auto dash = [&text] {
        const bool there = text.starts_with('-');
        text.remove_prefix(there ? 1 : 0);
        return there;
    };
    DiskIdentity identity;
    constexpr std::size_t all_digits = 16;
    bool read = number(all_digits, identity.device) && dash() && number(all_digits, identity.inode) && dash() &&
                number(all_digits, identity.modified_ns) && dash();
    for (std::uint8_t& byte : identity.edges)
        read = read && text.size() >= 2 && number(2, byte);
    if (!read || !text.empty())
        return fail("the snapshot's record of the disk is malformed");
    return identity;
}

std::optional<std::string> difference(const DiskIdentity& saved, const DiskIdentity& now) {
    if (saved.edges != now.edges)
        return "its first or last MiB differs";
    if (saved.device == now.device && saved.inode == now.inode && saved.modified_ns != now.modified_ns)
        return "it was written since";
    return std::nullopt;
}

} // namespace aerate
