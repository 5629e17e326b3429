#include "start_info.hpp"

#include "machine.hpp"
#include "words.hpp"

#include <algorithm>
#include <cstring>

extern "C" const std::byte bss_end[]; // bubble.ld

namespace bubble {
namespace {

// xen/include/public/arch-x86/hvm/start_info.h
struct PvhStartInfo {
    std::uint32_t magic;
    std::uint32_t version;
    std::uint32_t flags;
    std::uint32_t module_count;
    std::uint64_t modules;
    std::uint64_t command_line;
    std::uint64_t rsdp;
    std::uint64_t memory_map;
    std::uint32_t memory_map_entries;
    std::uint32_t reserved;
};
struct PvhMapEntry {
    std::uint64_t address;
    std::uint64_t size;
    std::uint32_t type;
    std::uint32_t reserved;
};
constexpr std::uint32_t type_ram = 1;
constexpr std::uint64_t mapped_frames = 64ULL << 18; // boot.S

} // namespace

StartInfo read_start_info(GuestAddress address) {
    PvhStartInfo pvh;
    std::memcpy(&pvh, memory(address), sizeof pvh);
    StartInfo info;
    const char* const line = reinterpret_cast<const char*>(memory({pvh.command_line}));
    std::size_t length = 0;
    while (line[length] != '\0')
        ++length;
    info.command_line = {line, length};

    const std::uint64_t own_end = pages_covering({reinterpret_cast<std::uint64_t>(bss_end)}).value;
    for (std::uint32_t i = 0; i < pvh.memory_map_entries && info.ram_count < info.ram_ranges.size(); ++i) {
        PvhMapEntry entry;
        std::memcpy(&entry, memory({pvh.memory_map + i * sizeof entry}), sizeof entry);
        const PageRange range = whole_pages_inside({entry.address}, {entry.size});
        const std::uint64_t first = std::max(range.first.value, own_end);
        const std::uint64_t end = std::min(range.end().value, mapped_frames);
        if (entry.type == type_ram && first < end)
            info.ram_ranges[info.ram_count++] = {{first}, {end - first}};
    }
    return info;
}

std::string_view StartInfo::text(std::string_view key, std::string_view otherwise) const {
    std::string_view rest = command_line;
    for (std::string_view word = take_word(rest); !word.empty(); word = take_word(rest)) {
        if (word.starts_with(key) && word.size() > key.size() && word[key.size()] == '=') {
            word.remove_prefix(key.size() + 1);
            return word;
        }
    }
    return otherwise;
}

std::uint64_t StartInfo::number(std::string_view key, std::uint64_t otherwise) const {
    return number_in(text(key, "")).value_or(otherwise);
}

} // namespace bubble
