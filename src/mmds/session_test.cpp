// The guest's half is text: what it sends, and what it gets.
#include "mmds/session.hpp"

#include <gtest/gtest.h>

#include <random>

namespace aerate::mmds {
namespace {

using control::MmdsVersion;

class SessionTest : public ::testing::Test {
protected:
    SessionTest() { EXPECT_TRUE(store.put(R"({"latest": {"meta-data": {"id": "i-1", "n": 7}}})")); }

    /// Sends it in pieces of so many bytes, and returns all answers.
    std::string ask(std::string_view bytes, std::size_t piece = Session::request_max) {
        Session session(source);
        return ask(session, bytes, piece);
    }
    std::string ask(Session& session, std::string_view bytes, std::size_t piece = Session::request_max) {
        std::string answers;
        while (!bytes.empty() && !session.over()) {
            const auto part = bytes.substr(0, std::min(piece, session.room()));
            bytes.remove_prefix(part.size());
            session.receive(part, now);
            while (!session.output().empty()) {
                EXPECT_EQ(session.room(), 0U);
                answers += session.output();
                session.sent(session.output().size(), now);
            }
        }
        return answers;
    }
    static unsigned status(std::string_view answer) {
        return answer.starts_with("HTTP/1.1 ") ? static_cast<unsigned>(std::stoul(std::string(answer.substr(9, 3))))
                                               : 0;
    }
    static std::string body(std::string_view answer) {
        const auto end = answer.find("\r\n\r\n");
        return end == answer.npos ? "" : std::string(answer.substr(end + 4));
    }
    std::string get(std::string_view path, std::string_view headers = "") {
        return ask(fmt::format("GET {} HTTP/1.1\r\nHost: x\r\n{}\r\n", path, headers));
    }
    std::string put(std::string_view path, std::string_view headers = "") {
        return ask(fmt::format("PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{}\r\n", path, headers));
    }
    std::string token(std::string_view headers = "X-metadata-token-ttl-seconds: 60\r\n") {
        return body(put("/latest/api/token", headers));
    }

    Store store;
    Tokens tokens = Tokens::create().value();
    Counters counters;
    Source source{.store = store, .tokens = tokens, .counters = &counters};
    Tokens::Time now{std::chrono::hours(5)};
};

TEST_F(SessionTest, V1NeedsNoSessionAndTakesAny) {
    EXPECT_EQ(body(get("/latest/meta-data/id")), "i-1");
    EXPECT_EQ(body(get("/latest/meta-data/id", "X-metadata-token: nonsense\r\n")), "i-1");
    EXPECT_EQ(token().size(), Tokens::length);
    EXPECT_EQ(body(get("http://169.254.169.254/latest//meta-data/")), "id\nn");
    EXPECT_EQ(status(get("/latest/x")), 404U);
    EXPECT_EQ(status(get("/latest/meta-data/n")), 501U);
    EXPECT_EQ(status(get("*")), 400U);
    EXPECT_EQ(status(get("http://169.254.169.254")), 400U);
}

TEST_F(SessionTest, V2NeedsATokenThatHolds) {
    source.version = MmdsVersion::v2;
    EXPECT_EQ(status(get("/latest/meta-data/id")), 401U);
    EXPECT_EQ(status(get("/latest/meta-data/id", "X-metadata-token: nonsense\r\n")), 401U);
    for (const char* const name : {"X-metadata-token", "X-aws-ec2-metadata-token", "x-METADATA-token"}) {
        const auto header = fmt::format("{}: {}\r\n", name, token());
        EXPECT_EQ(body(get("/latest/meta-data/id", header)), "i-1") << name;
        EXPECT_EQ(status(get("/latest/meta-data/id", header + header)), 400U) << name;
    }
    const auto header = fmt::format("X-metadata-token: {}\r\n", token());
    now += std::chrono::seconds(59);
    EXPECT_EQ(status(get("/latest/meta-data/id", header)), 200U);
    now += std::chrono::seconds(1);
    EXPECT_EQ(status(get("/latest/meta-data/id", header)), 401U);
    EXPECT_EQ(counters.requests_no_token, 1U);
    EXPECT_EQ(counters.requests_bad_token, 2U);
}

TEST_F(SessionTest, ATokensLifeIsFromASecondToSixHours) {
    const auto lives = [this](std::string_view life) {
        return status(put("/latest/api/token", fmt::format("X-metadata-token-ttl-seconds: {}\r\n", life)));
    };
    EXPECT_EQ(lives("1"), 200U);
    EXPECT_EQ(lives("21600"), 200U);
    for (const char* const wrong : {"0", "21601", "-1", "+5", "5s", "", "99999999999999999999", "0x10"})
        EXPECT_EQ(lives(wrong), 400U) << wrong;
    EXPECT_EQ(status(put("/latest/api/token")), 400U);
    EXPECT_EQ(status(put("/latest/api/other", "X-metadata-token-ttl-seconds: 60\r\n")), 404U);
    const std::string ours = put("//latest/api/token", "x-metadata-token-ttl-seconds: 60\r\n");
    EXPECT_TRUE(ours.contains("X-metadata-token-ttl-seconds: 60\r\n")) << ours;
    const std::string ec2 = put("/latest/api/token", "x-aws-ec2-metadata-token-ttl-seconds: 7\r\n");
    EXPECT_TRUE(ec2.contains("X-aws-ec2-metadata-token-ttl-seconds: 7\r\n")) << ec2;
}

TEST_F(SessionTest, AProxyGetsNoToken) {
    for (const char* const name : {"X-Forwarded-For", "x-forwarded-for"})
        EXPECT_EQ(
            status(put("/latest/api/token", fmt::format("X-metadata-token-ttl-seconds: 60\r\n{}: 10.0.0.9\r\n", name))),
            400U);
}

TEST_F(SessionTest, TheFormatIsTheRequestsUnlessItIsToBeEc2s) {
    const std::string json = get("/latest/meta-data", "Accept: application/json\r\n");
    EXPECT_EQ(body(json), R"({"id":"i-1","n":7})");
    EXPECT_TRUE(json.contains("Content-Type: application/json\r\n"));
    const std::string text = get("/latest/meta-data", "Accept: */*\r\n");
    EXPECT_EQ(body(text), "id\nn");
    EXPECT_TRUE(text.contains("Content-Type: text/plain\r\n"));
    source.imds_compat = true;
    EXPECT_EQ(body(get("/latest/meta-data", "Accept: application/json\r\n")), "id\nn");
}

TEST_F(SessionTest, OtherMethodsAreNotAllowed) {
    for (const char* const method : {"POST", "PATCH", "DELETE", "HEAD", "OPTIONS"}) {
        const std::string answer = ask(fmt::format("{} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", method));
        EXPECT_EQ(status(answer), 405U) << method;
        EXPECT_TRUE(answer.contains("Allow: GET, PUT\r\n")) << answer;
    }
}

TEST_F(SessionTest, RequestsComeOneAfterTheOtherInWhateverPieces) {
    const std::string three = "GET /latest/meta-data/id HTTP/1.1\r\nHost: x\r\n\r\n"
                              "PUT /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
                              "GET /latest HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    const std::string whole = ask(three);
    EXPECT_TRUE(whole.contains("i-1") && whole.contains("404") && whole.ends_with("\r\n\r\nmeta-data/")) << whole;
    for (const std::size_t piece : {1U, 2U, 3U, 7U, 40U})
        EXPECT_EQ(ask(three, piece), whole) << piece;
    EXPECT_TRUE(ask("GET /latest HTTP/1.0\r\n\r\n").contains("Connection: close"));
}

TEST_F(SessionTest, N27_RequestsWithoutEndOrTooLongAreRefusedInBoundedMemory) {
    const auto refused = [this](std::string_view bytes) {
        Session session(source);
        const std::string answer = ask(session, bytes, 500);
        EXPECT_TRUE(session.over() && session.room() == 0) << bytes.substr(0, 60);
        return status(answer);
    };
    const std::string line = "GET / HTTP/1.1\r\n";
    EXPECT_GE(refused(line + "X: " + std::string(Session::request_max, 'a')), 400U);
    EXPECT_GE(refused("GET /" + std::string(Session::request_max, 'a')), 400U);
    EXPECT_GE(refused(std::string(Session::request_max, '\r')), 400U);
    std::string many = line;
    for (std::size_t i = 0; i <= Session::fields_max; ++i)
        many += fmt::format("h{}: 1\r\n", i);
    EXPECT_EQ(refused(many + "\r\n"), 431U);
    EXPECT_GE(refused("PUT / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + std::string(9000, 'b')), 400U);
    EXPECT_GE(refused("PUT / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n"), 400U);
}

TEST_F(SessionTest, N28_WhatIsNoHttpOrHasTwoLengthsEndsTheConnection) {
    for (const std::string_view wrong :
         {"nonsense\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n",
          "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          "PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
          "PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"}) {
        Session session(source);
        EXPECT_EQ(status(ask(session, wrong)), 400U) << wrong;
        EXPECT_TRUE(session.over()) << wrong;
    }
    // What a guest puts into a path comes back in a body, whose length is known.
    const std::string answer = get("/a%0d%0aSet-Cookie:x");
    EXPECT_EQ(status(answer), 404U);
    EXPECT_TRUE(body(answer).contains("Set-Cookie"));
}

TEST(Tokens, AreOfOneKeyAndCannotBeMade) {
    const auto mine = Tokens::create().value();
    const auto others = Tokens::create().value();
    const Tokens::Time now{std::chrono::hours(1)};
    const std::string token = mine.make(std::chrono::seconds(10), now).value();
    EXPECT_NE(token, mine.make(std::chrono::seconds(10), now).value());
    EXPECT_TRUE(mine.valid(token, now));
    EXPECT_FALSE(others.valid(token, now));
    EXPECT_FALSE(mine.valid(token, now + std::chrono::seconds(10)));
    EXPECT_FALSE(mine.valid("", now));
    EXPECT_FALSE(mine.valid(token + "A", now));
    EXPECT_FALSE(mine.valid(std::string(Tokens::length, '='), now));
    EXPECT_FALSE(mine.valid(std::string(Tokens::length, '\xff'), now));
    for (std::size_t i = 0; i < token.size(); ++i) {
        std::string changed = token;
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        EXPECT_FALSE(mine.valid(changed, now)) << i;
    }
}

} // namespace
} // namespace aerate::mmds
