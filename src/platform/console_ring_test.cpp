#include "platform/console_ring.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace aerate {
namespace {

std::string all_from(const ConsoleRing& ring, ConsolePlace place) {
    std::string text;
    while (place < ring.end()) {
        const auto bytes = ring.from(place);
        EXPECT_FALSE(bytes.empty());
        for (const std::byte byte : bytes)
            text.push_back(static_cast<char>(byte));
        place.value += bytes.size();
    }
    return text;
}

TEST(ConsoleRing, IsEmptyAtFirst) {
    const ConsoleRing ring;
    EXPECT_EQ(ring.begin(), ring.end());
    EXPECT_TRUE(ring.from(ring.begin()).empty());
}

TEST(ConsoleRing, KeepsTheLatestWhateverThePieces) {
    for (unsigned seed = 0; seed < 20; ++seed) {
        std::mt19937 random(seed);
        ConsoleRing ring;
        std::string said;
        for (int i = 0; i < 40; ++i) {
            const std::size_t longest =
                i % 7 == 0 ? 2 * ConsoleRing::capacity.value + 3 : ConsoleRing::capacity.value / 5;
            std::string piece(random() % longest, '\0');
            for (char& c : piece)
                c = static_cast<char>(random());
            ring.append(std::as_bytes(std::span(piece)));
            said += piece;
            ASSERT_EQ(ring.end().value, said.size()) << "seed " << seed;
            const std::size_t kept = std::min<std::size_t>(said.size(), ConsoleRing::capacity.value);
            ASSERT_EQ(ring.begin().value, said.size() - kept);
            ASSERT_TRUE(all_from(ring, ring.begin()) == said.substr(said.size() - kept)) << "seed " << seed;
            const ConsolePlace somewhere{ring.begin().value + random() % (kept + 1)};
            ASSERT_TRUE(all_from(ring, somewhere) == said.substr(somewhere.value)) << "seed " << seed;
        }
    }
}

} // namespace
} // namespace aerate
