#include "memory/process_memory.hpp"

#include "base/host.hpp"
#include "memory/own_maps.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>

namespace aerate {

std::optional<ByteCount> resident_outside(std::span<const MappedRegion> regions) {
    static std::mutex reading; // duplicates have one position
    const std::lock_guard lock(reading);
    FileDescriptor smaps = own_smaps();
    if (!smaps.valid() || ::lseek(smaps.get(), 0, SEEK_SET) != 0)
        return std::nullopt;
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(::fdopen(smaps.get(), "r"), std::fclose);
    if (!file)
        return std::nullopt;
    (void)smaps.release();
    const auto is_outside = [&](std::uint64_t begin, std::uint64_t end) {
        return std::ranges::none_of(regions, [&](const MappedRegion& region) {
            const auto host = reinterpret_cast<std::uintptr_t>(region.host);
            return begin < host + region.guest.length.value && host < end;
        });
    };
    ByteCount total{};
    bool outside = false;
    char line[512]; // a path that is longer is read in pieces, none of which looks like what is wanted here
    while (std::fgets(line, sizeof line, file.get()) != nullptr) {
        std::uint64_t begin = 0;
        std::uint64_t end = 0;
        char permission = 0;
        // The kernel wrote these numbers, and they fit. NOLINTNEXTLINE(cert-err34-c)
        if (std::sscanf(line, "%" SCNx64 "-%" SCNx64 " %c", &begin, &end, &permission) == 3)
            outside = is_outside(begin, end);
        // NOLINTNEXTLINE(cert-err34-c)
        else if (std::uint64_t kib = 0; outside && std::sscanf(line, "Rss: %" SCNu64 " kB", &kib) == 1)
            total += ByteCount{kib << 10};
    }
    return total;
}

std::optional<ByteCount> resident_anonymous() {
    const FileDescriptor statm = own_statm();
    std::array<char, 256> text{};
    if (!statm.valid() || ::pread(statm.get(), text.data(), text.size() - 1, 0) <= 0)
        return std::nullopt;
    // In pages: size, resident, and what of that is not anonymous (Documentation/filesystems/proc.rst).
    std::uint64_t resident = 0;
    std::uint64_t shared = 0;
    // The kernel wrote these numbers, and they fit. NOLINTNEXTLINE(cert-err34-c)
    if (std::sscanf(text.data(), "%*u %" SCNu64 " %" SCNu64, &resident, &shared) != 2)
        return std::nullopt;
    return bytes_of(PageCount{resident - std::min(resident, shared)});
}

} // namespace aerate
