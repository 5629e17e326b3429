// bubble: a guest that is a workload and nothing else. See README.md.
#include "scripts.hpp"

#include <array>

namespace bubble {
namespace {

struct Script {
    std::string_view name;
    void (*run)(const Guest&);
};
constexpr std::array<Script, 4> scripts{{
    {"churn", churn},
    {"fill-free", fill_free},
    {"hostile", hostile},
    {"serial", serial_script},
}};

/// A zone of one range of RAM, with its records at its beginning.
guestkit::Zone make_zone(PageRange ram) {
    const std::size_t count = ram.count.value;
    const PageCount overhead = pages_covering({count * sizeof(guestkit::FrameRecord)});
    guestkit::Zone zone(ram, {reinterpret_cast<guestkit::FrameRecord*>(memory(address_of(ram.first))), count},
                        {.min = {count / 64}, .low = {count / 32}});
    zone.add({{ram.first.value + overhead.value}, ram.count - overhead});
    return zone;
}

} // namespace

extern "C" void bubble_main(std::uint64_t start_info) {
    Console console;
    const StartInfo info = read_start_info({start_info});
    std::array<guestkit::Zone, std::tuple_size_v<decltype(StartInfo::ram_ranges)>> zones;
    for (std::size_t i = 0; i < info.ram_count; ++i)
        zones[i] = make_zone(info.ram()[i]);
    guestkit::BuddyAllocator allocator({zones.data(), info.ram_count});
    const Guest guest{console, info, allocator};

    const std::string_view wanted = info.text("bubble.script", "serial");
    for (const Script& script : scripts) {
        if (script.name != wanted)
            continue;
        console.line("BUBBLE-START script=", script.name, " free=", allocator.free_pages().value);
        script.run(guest);
        power_off();
    }
    guest.fail("unknown bubble.script");
}

} // namespace bubble
