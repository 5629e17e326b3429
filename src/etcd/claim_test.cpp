#include "etcd/claim.hpp"

#include <gtest/gtest.h>

#include <random>

namespace aerate::etcd {
namespace {

using migration::Session;
using migration::Side;

constexpr std::string_view key = "aerate/lease/web";
// "aerate/lease/web" and "000102030405060708090a0b0c0d0e0f -".
constexpr std::string_view encoded_key = "YWVyYXRlL2xlYXNlL3dlYg==";
constexpr std::string_view encoded_value = "MDAwMTAyMDMwNDA1MDYwNzA4MDkwYTBiMGMwZDBlMGYgLQ==";

Session numbered() {
    Session session;
    for (std::size_t i = 0; i < session.value.size(); ++i)
        session.value[i] = std::byte(i);
    return session;
}

std::string answer(std::string_view version, std::string_view value = encoded_value,
                   std::string_view of = encoded_key) {
    return fmt::format(R"({{"header":{{"cluster_id":"1"}},"responses":[{{"response_range":{{"kvs":[)"
                       R"({{"key":"{}","version":"{}","value":"{}"}}],"count":"1"}}}}]}})",
                       of, version, value);
}

TEST(EtcdClaim, AnAnswerIsRead) {
    const auto read = parse_outcome(answer("5"), key);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_FALSE(read->succeeded);
    ASSERT_TRUE(read->holder);
    EXPECT_EQ(read->holder->terms, (migration::Lease::Terms{numbered().value, 4}));
    EXPECT_FALSE(read->holder->last);
    const auto written = parse_outcome(R"({"succeeded":true,"responses":[{"response_put":{}}]})", key);
    ASSERT_TRUE(written);
    EXPECT_TRUE(written->succeeded);
    const auto absent = parse_outcome(R"({"responses":[{"response_range":{}}]})", key);
    ASSERT_TRUE(absent);
    EXPECT_FALSE(absent->holder);
}

TEST(EtcdClaim, M22_AHostileAnswerIsRefused) {
    for (const std::string& body :
         {std::string(),
          std::string("{"),
          std::string("null"),
          std::string("[]"),
          std::string("{}"),
          std::string(R"({"succeeded":1,"responses":[{"response_put":{}}]})"),
          std::string(R"({"succeeded":true,"responses":[]})"),
          std::string(R"({"succeeded":true,"responses":{}})"),
          std::string(R"({"succeeded":true,"responses":[{"response_range":{}}]})"),
          std::string(R"({"succeeded":true,"responses":[{"response_put":{}},{"response_put":{}}]})"),
          std::string(R"({"responses":[{"response_put":{}}]})"),
          std::string(R"({"responses":[{"response_range":{"kvs":[1]}}]})"),
          std::string(R"({"responses":[{"response_range":{"kvs":[{},{}]}}]})"),
          std::string(R"({"succeeded":true,"succeeded":false,"responses":[{"response_put":{}}]})"),
          answer("0"),
          answer("-1"),
          answer("x"),
          answer("9223372036854775808"),
          answer("1", "!!!!"),
          answer("1", "AAAA"),
          answer("1", encoded_value, "AAAA"),
          answer("1", "MDAw"),
          answer("1", std::string(4000, 'A'))}) {
        EXPECT_FALSE(parse_outcome(body, key)) << body;
    }
}

TEST(EtcdClaim, M22_WhateverIsAnsweredIsReadOrRefused) {
    std::mt19937 random(1);
    const std::string whole = answer("5");
    for (int i = 0; i < 20'000; ++i) {
        std::string text = whole.substr(0, i % 4 == 0 ? random() % (whole.size() + 1) : whole.size());
        for (auto changes = random() % 4; !text.empty() && changes > 0; --changes)
            text[random() % text.size()] = i % 2 == 0 ? static_cast<char>(random()) : "\"{}[],:0="[random() % 9];
        (void)parse_outcome(text, key);
        (void)parse_token(text);
        EXPECT_LT(parse_refusal(text).size(), 400U);
    }
}

TEST(EtcdClaim, AnOutcomeIsJudged) {
    const Session session = Session::random();
    const migration::Lease::Terms terms{numbered().value, 4};
    const auto held = [&](std::uint64_t epoch, const Session& by, Side side) {
        return judge({.holder = Holder{{terms.id, epoch}, by, side}}, terms, session, Side::source);
    };
    EXPECT_TRUE(*judge({.succeeded = true}, terms, session, Side::source));
    EXPECT_TRUE(*held(5, session, Side::source));
    EXPECT_FALSE(*held(5, session, Side::destination));
    EXPECT_FALSE(*held(5, Session::random(), Side::source));
    EXPECT_FALSE(*held(6, session, Side::source));
    EXPECT_FALSE(held(4, session, Side::source)) << "a contradiction";
    EXPECT_FALSE(judge({}, terms, session, Side::source)) << "it was removed";
    EXPECT_FALSE(
        judge({.holder = Holder{{Session::random().value, 5}, session, Side::source}}, terms, session, Side::source));
}

TEST(EtcdClaim, M22_ATokenCanStandInAHeader) {
    EXPECT_EQ(parse_token(R"({"token":"abc.7"})"), "abc.7");
    for (const std::string& body : {std::string(R"({"token":""})"), std::string("{}"), std::string(R"({"token":7})"),
                                    std::string(R"({"token":"a\r\nX: y"})"), std::string(R"({"token":"a b"})"),
                                    R"({"token":")" + std::string(5000, 'a') + "\"}"})
        EXPECT_FALSE(parse_token(body)) << body;
}

TEST(EtcdClaim, ARefusalIsFitToBeShown) {
    EXPECT_EQ(parse_refusal(R"({"error":"etcdserver: no leader","code":14})"), "etcdserver: no leader");
    EXPECT_EQ(parse_refusal("CommonName of client is\tignored\n"), "CommonName of client is\\tignored");
    EXPECT_EQ(parse_refusal("{}"), "");
    EXPECT_LT(parse_refusal(R"({"error":")" + std::string(5000, 'a') + "\"}").size(), 300U);
}

} // namespace
} // namespace aerate::etcd
