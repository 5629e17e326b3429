#include "base/same_but_case.hpp"
#include "web/guard.hpp"
#include "web/route.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace aerate::web {
namespace {

TEST(Route, PathsAreExact) {
    EXPECT_TRUE(route({.method = "GET", .target = "/"}));
    EXPECT_TRUE(route({.method = "GET", .target = "/host/vms/web-1.a/map"}));
    for (const char* path : {"", "//", "/host", "/host/", "/host/vms/", "/host/vms/a", "/host/vms//map", "/page.js/",
                             "/host/vms/../map", "/host/vms/.a/map", "/host/vms/a%2f/map", "/host/vms/a/map/", "*",
                             "http://127.0.0.1/", "/host/vms/a/", "/host/vms/a/balloons", "/HOST/status"}) {
        const auto routed = route({.method = "GET", .target = path});
        ASSERT_FALSE(routed) << path;
        EXPECT_EQ(routed.error().status, 404U) << path;
    }
    EXPECT_EQ(route({.method = "GET", .target = "/?token=x"}).error().status, 400U);
}

TEST(Route, MethodsAreWhatThePathTakes) {
    EXPECT_EQ(route({.method = "POST", .target = "/host/status"}).error().allow, "GET");
    EXPECT_EQ(route({.method = "GET", .target = "/host/vms/a/pause"}).error().allow, "POST");
    EXPECT_EQ(route({.method = "POST", .target = "/host/vms/a/balloon"}).error().allow, "PUT");
    EXPECT_EQ(route({.method = "POST", .target = "/host/vms/a/pause", .body = "x"}).error().status, 400U);
    EXPECT_EQ(route({.method = "GET", .target = "/host/status", .body = "x"}).error().status, 400U);
}

TEST(Route, BalloonsAreWholeNumbersOfBytes) {
    const auto routed = route({.method = "PUT", .target = "/host/vms/a/balloon", .body = R"({"target_bytes":5})"});
    ASSERT_TRUE(routed);
    EXPECT_EQ(std::get<Act>(*routed).action, Action(SetBalloon{ByteCount{5}}));
    for (const char* body : {"", "{}", "5", R"({"target_bytes":"5"})", R"({"target_bytes":5,"x":1})",
                             R"({"target_bytes":1.5})", R"({"target_bytes":5,"target_bytes":6})"})
        EXPECT_FALSE(route({.method = "PUT", .target = "/host/vms/a/balloon", .body = body})) << body;
}

TEST(Guard, FindsTheNameInAHost) {
    EXPECT_EQ(host_name("127.0.0.1:9470"), "127.0.0.1");
    EXPECT_EQ(host_name("[::1]:9470"), "::1");
    EXPECT_EQ(host_name("[::1]"), "::1");
    EXPECT_EQ(host_name("host"), "host");
    for (const char* bad : {"", ":1", "a:", "a:b", "a:123456", "[::1", "[]", "[::1]x", "::1"})
        EXPECT_EQ(host_name(bad), std::nullopt) << bad;
}

TEST(Guard, NamesHaveNoCase) {
    EXPECT_TRUE(same_but_case("LocalHost", "lOCALhOST"));
    EXPECT_FALSE(same_but_case("localhost", "localhosu"));
    EXPECT_FALSE(same_but_case("localhost", "localhos"));
    EXPECT_FALSE(same_but_case("[", "{"));
}

TEST(Guard, TokensAreOfRfc6750) {
    EXPECT_FALSE(Token::parse(""));
    EXPECT_FALSE(Token::parse(std::string(31, 'a')));
    EXPECT_FALSE(Token::parse(std::string(257, 'a')));
    EXPECT_FALSE(Token::parse(std::string(32, 'a') + " "));
    const auto token = Token::parse(std::string(32, 'a') + "\n");
    ASSERT_TRUE(token);
    EXPECT_TRUE(token->is(std::string(32, 'a')));
    EXPECT_FALSE(token->is(std::string(31, 'a') + "b"));
    EXPECT_FALSE(token->is(std::string(33, 'a')));
    EXPECT_FALSE(token->is(""));
    EXPECT_NE(Token::make()->text(), Token::make()->text());
    EXPECT_EQ(Token::make()->text().size(), 64U);
}

TEST(Guard, CertifiedNamesAreServed) {
    const Access access{
        .token = *Token::make(), .tls = true, .certified = [](auto name) { return name == "host.lan"; }};
    EXPECT_FALSE(refuse_host(access, {.host = "host.lan:9470"}));
    EXPECT_TRUE(refuse_host(access, {.host = "other.lan:9470"}));
    EXPECT_FALSE(refuse_host(access, {.host = "192.0.2.1:9470"}));
}

} // namespace
} // namespace aerate::web
