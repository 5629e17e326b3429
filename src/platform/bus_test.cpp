#include "platform/bus.hpp"
#include "platform/mmio_bus.hpp"
#include "platform/pio_bus.hpp"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>

namespace aerate {
namespace {

struct Recorder {
    std::uint64_t offset = ~0ULL;
    std::size_t length = 0;
    std::byte answer{0x5a};
    void read(std::uint64_t at, std::span<std::byte> into) {
        offset = at;
        length = into.size();
        std::ranges::fill(into, answer);
    }
    void write(std::uint64_t at, std::span<const std::byte> from) {
        offset = at;
        length = from.size();
    }
};

TEST(Bus, GivesADeviceOffsetsFromItsBase) {
    PioBus bus;
    Recorder device;
    ASSERT_TRUE(bus.add(Port{0x3f8}, 8, device));
    std::array<std::byte, 2> bytes{};
    EXPECT_TRUE(bus.read(Port{0x3fa}, bytes));
    EXPECT_EQ(device.offset, 2U);
    EXPECT_EQ(device.length, 2U);
    EXPECT_EQ(bytes[1], std::byte{0x5a});
    EXPECT_TRUE(bus.write(Port{0x3ff}, std::span(bytes).first(1)));
    EXPECT_EQ(device.offset, 7U);
}

TEST(Bus, T11_UnknownAddressesReadAllOnesAndLoseWrites) {
    MmioBus bus;
    Recorder device;
    ASSERT_TRUE(bus.add(GuestAddress{0x1000}, 0x100, device));
    for (const std::uint64_t address : {0xfffULL, 0x10fdULL, 0x1100ULL, 0ULL, ~0ULL}) {
        std::array<std::byte, 4> bytes{};
        EXPECT_FALSE(bus.read(GuestAddress{address}, bytes)) << address;
        EXPECT_EQ(bytes, (std::array{std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0xff}}));
        EXPECT_FALSE(bus.write(GuestAddress{address}, bytes));
    }
    EXPECT_EQ(device.length, 0U);
}

TEST(Bus, RefusesRangesThatOverlapWrapOrAreEmpty) {
    PioBus bus;
    Recorder device;
    ASSERT_TRUE(bus.add(Port{0x60}, 4, device));
    EXPECT_FALSE(bus.add(Port{0x60}, 1, device));
    EXPECT_FALSE(bus.add(Port{0x5f}, 2, device));
    EXPECT_FALSE(bus.add(Port{0x63}, 9, device));
    EXPECT_FALSE(bus.add(Port{0x50}, 0x100, device));
    EXPECT_FALSE(bus.add(Port{0x70}, 0, device));
    EXPECT_TRUE(bus.add(Port{0x64}, 1, device));
    EXPECT_TRUE(bus.add(Port{0x5f}, 1, device));

    MmioBus memory;
    EXPECT_TRUE(memory.add(GuestAddress{~0ULL}, 1, device));
    EXPECT_FALSE(memory.add(GuestAddress{~0ULL - 9}, 11, device));
}

TEST(Bus, AgreesWithAModelOnRandomRanges) {
    std::mt19937 generator(7);
    const auto random = [&] { return static_cast<unsigned>(generator()); };
    PioBus bus;
    std::array<Recorder, 64> devices;
    std::map<unsigned, std::pair<std::size_t, unsigned>> model; // port -> device and base
    for (std::size_t i = 0; i < devices.size(); ++i) {
        const unsigned first = random() % 1000;
        const unsigned length = 1 + random() % 20;
        bool is_free = true;
        for (unsigned port = first; port < first + length; ++port)
            is_free = is_free && !model.contains(port);
        ASSERT_EQ(bus.add(Port{static_cast<std::uint16_t>(first)}, static_cast<std::uint16_t>(length), devices[i]),
                  is_free);
        for (unsigned port = first; is_free && port < first + length; ++port)
            model[port] = {i, first};
    }
    for (unsigned port = 0; port < 1100; ++port) {
        std::array<std::byte, 1> byte{};
        const auto expected = model.find(port);
        ASSERT_EQ(bus.read(Port{static_cast<std::uint16_t>(port)}, byte), expected != model.end());
        if (expected != model.end()) {
            ASSERT_EQ(devices[expected->second.first].offset, port - expected->second.second);
        }
    }
}

} // namespace
} // namespace aerate
