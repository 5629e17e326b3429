#include "base/testing/temporary_directory.hpp"
#include "migration/given.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

namespace aerate::migration {
namespace {

struct GivenAway : ::testing::Test {
    std::string record(const Given& given) { return *record_given(directory.path(), session, given); }
    [[nodiscard]] std::string refusal(std::string_view guest, Lease* asked) const {
        const auto checked = check_not_given(directory.path(), guest, asked);
        return checked ? "" : checked.error().message;
    }
    TemporaryDirectory directory;
    TemporaryDirectory shared;
    Session session = Session::random();
    FileLease lease = *FileLease::open(shared / "lease");
};

TEST_F(GivenAway, TheNoteIsWrittenOnce) {
    const auto note = record_given(directory.path(), session, {});
    ASSERT_TRUE(note);
    EXPECT_TRUE(std::filesystem::exists(*note));
    EXPECT_FALSE(record_given(directory.path(), session, {}));
    forget_given(*note);
    EXPECT_FALSE(std::filesystem::exists(*note));
    EXPECT_FALSE(record_given(directory / "none", session, {}));
}

TEST_F(GivenAway, ANoteReadsAsWhatWasWritten) {
    const Lease::Terms terms{Session::random().value, 17};
    for (const Given& given : {Given{}, Given{.guest = "web"}, Given{.guest = "web", .terms = terms}})
        EXPECT_EQ(Given::parse(given.text()), given) << given.text();
    std::mt19937 random(1);
    const std::string whole = Given{.guest = "web", .terms = terms}.text();
    for (int i = 0; i < 20'000; ++i) { // whatever is in it, it is refused or read
        std::string text = whole.substr(0, random() % (whole.size() + 1));
        for (auto changes = random() % 3; !text.empty() && changes > 0; --changes)
            text[random() % text.size()] = static_cast<char>(random());
        const auto given = Given::parse(text);
        EXPECT_TRUE(!given || Given::parse(given->text()) == *given);
    }
}

TEST_F(GivenAway, WithoutANoteNothingIsRefused) {
    EXPECT_EQ(refusal("web", nullptr), "");
    EXPECT_EQ(refusal("web", &lease), "");
    EXPECT_TRUE(check_not_given(directory / "none", "web", nullptr).error().message.contains("cannot look"));
}

TEST_F(GivenAway, WithoutALeaseNobodyKnows) {
    const auto note = record({.guest = "web"});
    EXPECT_TRUE(refusal("web", nullptr).contains(note));
    EXPECT_TRUE(refusal("web", &lease).contains("had no lease"));
    EXPECT_EQ(refusal("mail", nullptr), "") << "that is another guest";
    EXPECT_TRUE(std::filesystem::exists(note));
}

TEST_F(GivenAway, TheLeaseSaysWhoHasIt) {
    const auto terms = *lease.terms();
    const auto note = record({.guest = "web", .terms = terms});
    EXPECT_TRUE(refusal("web", nullptr).contains("give it here too"));
    EXPECT_EQ(refusal("web", &lease), "") << "nobody had claimed it: now it is ours";
    EXPECT_FALSE(std::filesystem::exists(note));
    EXPECT_FALSE(*lease.claim(terms, session, Side::destination)) << "the destination comes too late";
}

TEST_F(GivenAway, WhatTheDestinationHasIsNotStarted) {
    const auto terms = *lease.terms();
    const auto note = record({.guest = "web", .terms = terms});
    ASSERT_TRUE(*lease.claim(terms, session, Side::destination));
    EXPECT_TRUE(refusal("web", &lease).contains("the other side has it"));
    ASSERT_TRUE(*lease.claim(*lease.terms(), Session::random(), Side::destination));
    EXPECT_TRUE(refusal("web", &lease).contains("the other side has it")) << "nor after a later move";
    EXPECT_TRUE(std::filesystem::exists(note));
}

TEST_F(GivenAway, AnotherLeaseDecidesNothing) {
    record({.guest = "web", .terms = Lease::Terms{Session::random().value, 0}});
    EXPECT_TRUE(refusal("web", &lease).contains("replaced by another"));
}

TEST_F(GivenAway, M21_WhatCannotBeReadRefuses) {
    for (const char* text : {"", "x", "guest mail\n"}) {
        std::ofstream(directory / "given-1") << text;
        EXPECT_TRUE(refusal("web", &lease).contains("not a note of aerate")) << text;
    }
    std::filesystem::remove(directory / "given-1");
    std::filesystem::create_directory(directory / "given-2");
    EXPECT_NE(refusal("web", &lease), "");
}

} // namespace
} // namespace aerate::migration
