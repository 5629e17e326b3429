// Files whose pages become guest memory, and what the kernel says of their mappings.
#pragma once

#include "memory/guest_memory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/stat.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace aerate::testing {

using namespace literals;
using Bytes = std::vector<std::byte>;

inline constexpr GuestAddress high_start{(4_GiB).value};
inline constexpr FrameNumber high_first = frame_of(high_start);
inline const std::vector<MemoryRegion> regions{{{0}, 4_MiB}, {{(4_MiB).value}, 2_MiB}, {high_start, 2_MiB}};

/// O_TMPFILE would do, but not every file system has it.
inline FileDescriptor open_without_name() {
    std::string path = std::filesystem::temp_directory_path() / "aerate-pages.XXXXXX";
    FileDescriptor file(::mkostemp(path.data(), O_CLOEXEC));
    EXPECT_TRUE(file.valid()) << path;
    ::unlink(path.c_str());
    return file;
}

/// A file of whole pages without a name, each with content of its own.
class PageFile {
public:
    explicit PageFile(std::size_t pages)
        : content(pages * page_size.value)
        , file_(open_without_name()) {
        for (std::size_t i = 0; i < content.size(); ++i)
            content[i] = static_cast<std::byte>(i * 7 + i / page_size.value * 13 + 1);
        EXPECT_EQ(::pwrite(fd(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    }
    [[nodiscard]] int fd() const { return file_.get(); }
    [[nodiscard]] bool is_unchanged() const {
        Bytes now(content.size());
        return ::pread(fd(), now.data(), now.size(), 0) == static_cast<ssize_t>(now.size()) && now == content;
    }
    /// `count` pages of memory from `first` on hold what the file has from page `from` on.
    [[nodiscard]] FilePiece piece(std::uint64_t first, std::uint64_t count, std::uint64_t from) const {
        return {.pages = {{first}, {count}}, .fd = fd(), .offset = bytes_of({from})};
    }
    [[nodiscard]] Bytes pages(std::uint64_t from, std::uint64_t count) const {
        return {content.begin() + static_cast<std::ptrdiff_t>(bytes_of({from}).value),
                content.begin() + static_cast<std::ptrdiff_t>(bytes_of({from + count}).value)};
    }

private:
    Bytes content;
    FileDescriptor file_;
};

inline Bytes read(const GuestMemory& memory, PageRange range) {
    Bytes bytes(bytes_of(range.count).value);
    EXPECT_TRUE(memory.read(address_of(range.first), bytes));
    return bytes;
}

inline Bytes zeros(std::uint64_t pages) {
    return Bytes(bytes_of({pages}).value);
}

/// Returns how often the file is in the process's list of mappings.
inline std::size_t mappings_of(const PageFile& file) {
    struct stat status{};
    EXPECT_EQ(::fstat(file.fd(), &status), 0);
    const std::string inode = " " + std::to_string(status.st_ino) + " ";
    std::ifstream maps("/proc/self/maps");
    std::size_t count = 0;
    for (std::string line; std::getline(maps, line);)
        count += line.find(inode) != std::string::npos ? 1U : 0U;
    return count;
}

/// Returns the flags of the mapping that holds the address.
inline std::string flags_of(const std::byte* address) {
    std::ifstream smaps("/proc/self/smaps");
    const auto wanted = reinterpret_cast<std::uintptr_t>(address);
    bool here = false;
    for (std::string line; std::getline(smaps, line);) {
        std::uintptr_t start = 0;
        std::uintptr_t end = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2)
            here = wanted >= start && wanted < end;
        else if (here && line.starts_with("VmFlags:"))
            return line + " ";
    }
    return "not mapped";
}
} // namespace aerate::testing
