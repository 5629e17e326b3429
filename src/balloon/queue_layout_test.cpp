#include "balloon/queue_layout.hpp"

#include <gtest/gtest.h>

#include <string>

namespace aerate::balloon {
namespace {

using virtio::FeatureSet;
using virtio::QueueIndex;

/// Bit 0 statistics, bit 1 hinting, bit 2 reporting.
FeatureSet subset(unsigned bits) {
    return FeatureSet{}
        .with(feature::statistics, (bits & 1U) != 0)
        .with(feature::free_page_hinting, (bits & 2U) != 0)
        .with(feature::free_page_reporting, (bits & 4U) != 0);
}

std::string show(const QueueLayout& layout) {
    std::string text;
    for (const auto& index : layout)
        text += index ? std::to_string(index->value) : std::string("-");
    return text;
}

std::string layout(unsigned offered, unsigned negotiated, QueueSet enabled) {
    return show(queue_layout(subset(offered), subset(negotiated), enabled));
}

struct Case {
    unsigned offered;
    unsigned negotiated;
    const char* compact;
    const char* by_offer;
    const char* fixed;
};

// What each kind of driver uses, written out by hand for every subset of every offer.
constexpr Case cases[]{
    {0, 0, "01---", "01---", "01---"}, {1, 0, "01---", "01---", "01---"}, {1, 1, "012--", "012--", "012--"},
    {2, 0, "01---", "01---", "01---"}, {2, 2, "01-2-", "01-2-", "01-3-"}, {3, 0, "01---", "01---", "01---"},
    {3, 1, "012--", "012--", "012--"}, {3, 2, "01-2-", "01-3-", "01-3-"}, {3, 3, "0123-", "0123-", "0123-"},
    {4, 0, "01---", "01---", "01---"}, {4, 4, "01--2", "01--2", "01--4"}, {5, 0, "01---", "01---", "01---"},
    {5, 1, "012--", "012--", "012--"}, {5, 4, "01--2", "01--3", "01--4"}, {5, 5, "012-3", "012-3", "012-4"},
    {6, 0, "01---", "01---", "01---"}, {6, 2, "01-2-", "01-2-", "01-3-"}, {6, 4, "01--2", "01--3", "01--4"},
    {6, 6, "01-23", "01-23", "01-34"}, {7, 0, "01---", "01---", "01---"}, {7, 1, "012--", "012--", "012--"},
    {7, 2, "01-2-", "01-3-", "01-3-"}, {7, 3, "0123-", "0123-", "0123-"}, {7, 4, "01--2", "01--4", "01--4"},
    {7, 5, "012-3", "012-4", "012-4"}, {7, 6, "01-23", "01-34", "01-34"}, {7, 7, "01234", "01234", "01234"},
};

QueueSet indices_in(std::string_view text) {
    QueueSet set = 0;
    for (const char c : text)
        if (c != '-')
            set |= 1U << static_cast<unsigned>(c - '0');
    return set;
}

TEST(QueueLayout, B19_EverySubsetInEveryConvention) {
    for (const Case& c : cases) {
        SCOPED_TRACE(std::to_string(c.offered) + " offered, negotiated " + std::to_string(c.negotiated));
        for (const char* expected : {c.compact, c.by_offer, c.fixed})
            EXPECT_EQ(layout(c.offered, c.negotiated, indices_in(expected)), expected);
    }
}

TEST(QueueLayout, B19_EveryQueueOfTheOfferEnabled) {
    // A driver that sets up every offered queue, but did not negotiate hinting, counts by offer.
    EXPECT_EQ(layout(7, 5, 0b11111), "012-4");
    EXPECT_EQ(layout(6, 4, 0b01111), "01--3");
}

TEST(QueueLayout, B19_QueueNotEnabled) {
    EXPECT_EQ(layout(7, 7, 0b10111), "012-4");
    EXPECT_EQ(layout(7, 7, 0b00010), "-1---");
    EXPECT_EQ(layout(7, 7, 0), "-----");
    EXPECT_EQ(layout(0, 0, 0b11111), "01---");
}

TEST(QueueLayout, B19_EverySetOfEnabledQueuesIsSafe) {
    for (unsigned offered = 0; offered < 8; ++offered)
        for (unsigned negotiated = 0; negotiated < 8; ++negotiated)
            for (QueueSet enabled = 0; enabled < 32; ++enabled) {
                if (!subset(negotiated).within(subset(offered)))
                    continue;
                const auto chosen = queue_layout(subset(offered), subset(negotiated), enabled);
                QueueSet seen = 0;
                for (const auto& index : chosen) {
                    if (!index)
                        continue;
                    EXPECT_NE((enabled >> index->value) & 1U, 0U);
                    EXPECT_EQ((seen >> index->value) & 1U, 0U) << "two queues at one index";
                    seen |= 1U << index->value;
                }
            }
}

TEST(QueueLayout, B19_NoPartOfADriversQueuesMakesReportsOfItsHints) {
    for (unsigned offered = 0; offered < 8; ++offered)
        for (unsigned negotiated = 0; negotiated < 8; ++negotiated) {
            if (!subset(negotiated).within(subset(offered)))
                continue;
            for (const QueueLayout& drivers : {detail::positions_among(subset(negotiated), subset(negotiated)),
                                               detail::positions_among(subset(offered), subset(negotiated)),
                                               detail::fixed_positions(subset(negotiated))})
                for (QueueSet enabled = 0; enabled < 32; ++enabled) {
                    if ((enabled & ~detail::indices_of(drivers)) != 0)
                        continue;
                    const auto chosen = queue_layout(subset(offered), subset(negotiated), enabled);
                    const auto& reporting = chosen[static_cast<std::size_t>(Queue::reporting)];
                    const auto& hinting = drivers[static_cast<std::size_t>(Queue::hinting)];
                    EXPECT_FALSE(reporting && reporting == hinting)
                        << offered << " offered, " << negotiated << " negotiated, enabled " << enabled;
                }
        }
}

TEST(QueueLayout, PossibleIndices) {
    const auto of = [](unsigned offered, Queue queue) {
        return possible_indices(subset(offered))[static_cast<std::size_t>(queue)];
    };
    EXPECT_EQ(of(7, Queue::inflate), 0b00001U);
    EXPECT_EQ(of(7, Queue::statistics), 0b00100U);
    EXPECT_EQ(of(7, Queue::hinting), 0b01100U);
    EXPECT_EQ(of(7, Queue::reporting), 0b11100U);
    EXPECT_EQ(of(4, Queue::reporting), 0b10100U);
    EXPECT_EQ(of(4, Queue::hinting), 0U);
}

} // namespace
} // namespace aerate::balloon
