// The control queue, with what a hostile driver may put there: docs/hostile-inputs.md, N16 to N18.
#include "net/control_command.hpp"
#include "net/testing/card.hpp"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace aerate {
namespace {

using namespace net;
using namespace net::testing;

constexpr std::byte ok{0};
constexpr std::byte error{1};

Bytes command(unsigned kind, unsigned number, std::size_t length, std::uint64_t value) {
    Bytes bytes{std::byte(kind), std::byte(number)};
    for (std::size_t i = 0; i < length; ++i)
        bytes.push_back(static_cast<std::byte>(i < 8 ? value >> (8 * i) : 0));
    return bytes;
}

/// Every class and command, with every length to 64 bytes, split at every byte: one answer, and the right one.
TEST(ControlQueue, N16_EachCommandOfEachLengthAndSplitIsAnswered) {
    const std::uint64_t offloads = 1U << feature::guest_csum;
    Card card;
    for (unsigned kind = 0; kind < 8; ++kind)
        for (unsigned number = 0; number < 4; ++number)
            for (std::size_t length = 0; length <= 64; ++length) {
                const Bytes bytes = command(kind, number, length, offloads);
                const bool good = number == 0 && ((kind == 3 && length == 0) || (kind == 5 && length == 8));
                for (std::size_t split = 0; split <= bytes.size(); split += length < 12 ? 1 : 13) {
                    const auto at = card.fake.memory().span({2U << 20}, {256})->data();
                    std::ranges::copy(bytes, at);
                    at[128] = std::byte{0xaa};
                    card.control->add(
                        {readable_at({2U << 20}, static_cast<std::uint32_t>(split)),
                         readable_at({(2U << 20) + split}, static_cast<std::uint32_t>(bytes.size() - split)),
                         writable_at({(2U << 20) + 128}, 1)});
                    card.kick_control();
                    const auto used = card.control->take_used();
                    ASSERT_TRUE(used);
                    ASSERT_EQ(used->written, 1U);
                    ASSERT_EQ(used->bytes[0], good ? ok : error) << kind << " " << number << " " << length;
                }
            }
    EXPECT_TRUE(card.host.faults.empty());
}

TEST(ControlQueue, N17_AnAnswerThatHasNoPlaceIsNone) {
    Card card;
    const Bytes acknowledge = command(3, 0, 0, 0);
    const std::vector<std::vector<FakeBuffer>> chains{{readable(acknowledge)},
                                                      {readable(acknowledge), writable(0)},
                                                      {readable(acknowledge), writable_at({1ULL << 40}, 1)},
                                                      {readable_at({1ULL << 40}, 2), writable(1)},
                                                      {writable(1)}};
    card.net->announce();
    const auto before = card.status();
    for (const auto& chain : chains) {
        card.control->add(chain);
        card.kick_control();
        EXPECT_TRUE(card.control->take_used());
    }
    EXPECT_EQ(card.status(), before) << "a command without a place for its answer is not carried out";
    EXPECT_EQ(card.net->counters().control_refused, chains.size());
    // The first byte that is there is the answer's, however the driver splits.
    card.control->add({readable(acknowledge), writable(0), writable(1), writable(7)});
    card.kick_control();
    EXPECT_EQ(card.control->take_used()->bytes[0], ok);
}

TEST(ControlQueue, N18_OffloadsThatWereNotAcceptedAndEndlessCommandsAreRefused) {
    const auto accepted = everything.with(feature::guest_tso6, false);
    Card card(split_ring, accepted);
    const auto set = [&](std::uint64_t bits) {
        card.control->add({readable(command(5, 0, 8, bits)), writable(1)});
        card.kick_control();
        return card.control->take_used()->bytes[0];
    };
    EXPECT_EQ(set(1U << feature::guest_csum | 1U << feature::guest_tso4), ok);
    EXPECT_EQ(card.back_end->offloads_now, (GuestOffloads{.checksum = true, .tso4 = true}));
    for (const std::uint64_t bits : {1ULL << feature::guest_tso6, 1ULL << feature::mac, 1ULL << 63, ~0ULL})
        EXPECT_EQ(set(bits), error) << bits;
    EXPECT_EQ(card.back_end->offloads_now, (GuestOffloads{.checksum = true, .tso4 = true}));
    EXPECT_EQ(set(1U << feature::guest_tso4), ok) << "without a checksum it is nothing";
    EXPECT_EQ(card.back_end->offloads_now, GuestOffloads{});
    EXPECT_EQ(set(0), ok);

    std::vector<FakeBuffer> endless(100, readable_at({1U << 20}, 15U << 20));
    endless.push_back(writable(1));
    card.control->add(endless);
    card.kick_control();
    EXPECT_EQ(card.control->take_used()->bytes[0], error);
}

TEST(ControlQueue, N18_WithoutTheFeatureThereIsNoSuchCommand) {
    EXPECT_FALSE(parse_control_command(command(3, 0, 0, 0), {}, 1));
    EXPECT_FALSE(parse_control_command(command(5, 0, 8, 0), {}, 1));
    EXPECT_TRUE(parse_control_command(command(3, 0, 0, 0), everything, 1));
    EXPECT_EQ(parse_control_command(command(5, 0, 8, 0), everything, 1), ControlCommand(SetGuestOffloads{}));
}

} // namespace
} // namespace aerate
