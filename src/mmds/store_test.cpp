#include "mmds/store.hpp"

#include <gtest/gtest.h>

namespace aerate::mmds {
namespace {

constexpr std::string_view sample = R"({"latest": {"meta-data": {"ami-id": "ami-1", "a/b": "slash", "~t": "tilde",
    "network": {"macs": {}}}, "user-data": "x\ny"}, "age": 43, "list": ["zero", {"k": "v"}], "no": null})";

std::string got(const Store& store, std::string_view path, Format format = Format::imds) {
    const auto value = store.get(path, format);
    if (value)
        return *value;
    return value.error() == Store::Missing::value ? "404" : "501";
}

TEST(Store, AGuestReadsByPath) {
    Store store;
    ASSERT_TRUE(store.put(sample));
    EXPECT_EQ(got(store, "/"), "age\nlatest/\nlist\nno");
    EXPECT_EQ(got(store, ""), got(store, "/"));
    EXPECT_EQ(got(store, "/latest/meta-data"), "a/b\nami-id\nnetwork/\n~t");
    EXPECT_EQ(got(store, "/latest/meta-data/"), got(store, "//latest///meta-data"));
    EXPECT_EQ(got(store, "/latest/meta-data/ami-id"), "ami-1");
    EXPECT_EQ(got(store, "/latest/meta-data/ami-id/"), "ami-1");
    EXPECT_EQ(got(store, "/latest/meta-data/a~1b"), "slash");
    EXPECT_EQ(got(store, "/latest/meta-data/~0t"), "tilde");
    EXPECT_EQ(got(store, "/latest/user-data"), "x\ny");
    EXPECT_EQ(got(store, "/latest/meta-data/network/macs"), "");
    EXPECT_EQ(got(store, "/list/0"), "zero");
    EXPECT_EQ(got(store, "/list/1/k"), "v");
    for (const char* const missing : {"latest", "/x", "/latest/x", "/list/2", "/list/00", "/list/-1", "/list/+1",
                                      "/list/1x", "/list/99999999999999999999999", "/age/0", "/latest/meta-data/a/b"})
        EXPECT_EQ(got(store, missing), "404") << missing;
}

TEST(Store, TheTextFormatHasObjectsAndStringsOnly) {
    Store store;
    ASSERT_TRUE(store.put(sample));
    for (const char* const path : {"/age", "/list", "/no"})
        EXPECT_EQ(got(store, path), "501") << path;
    EXPECT_EQ(got(store, "/age", Format::json), "43");
    EXPECT_EQ(got(store, "/list", Format::json), R"(["zero",{"k":"v"}])");
    EXPECT_EQ(got(store, "/no", Format::json), "null");
    EXPECT_EQ(got(store, "/latest/user-data", Format::json), R"("x\ny")");
}

TEST(Store, ThereIsNothingBeforeTheFirstPut) {
    Store store;
    EXPECT_EQ(store.print(), "{}");
    EXPECT_EQ(got(store, "/"), "404");
    const auto refused = store.patch("{}");
    ASSERT_FALSE(refused);
    EXPECT_FALSE(refused.error().too_large);
    ASSERT_TRUE(store.put("{}"));
    EXPECT_TRUE(store.patch(R"({"a": 1})"));
    EXPECT_EQ(store.print(), R"({"a":1})");
}

/// RFC 7396, appendix A.
TEST(Store, APatchMerges) {
    const std::string_view cases[][3] = {{R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
                                         {R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
                                         {R"({"a":"b"})", R"({"a":null})", R"({})"},
                                         {R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
                                         {R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
                                         {R"({"a":"c"})", R"({"a":["b"]})", R"({"a":["b"]})"},
                                         {R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
                                         {R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"},
                                         {R"(["a","b"])", R"(["c","d"])", R"(["c","d"])"},
                                         {R"({"a":"b"})", R"(["c"])", R"(["c"])"},
                                         {R"({"e":null})", R"({"a":1})", R"({"a":1,"e":null})"},
                                         {R"([1,2])", R"({"a":"b","c":null})", R"({"a":"b"})"},
                                         {R"({})", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"}};
    for (const auto& [before, patch, after] : cases) {
        Store store;
        ASSERT_TRUE(store.put(before));
        ASSERT_TRUE(store.patch(patch));
        EXPECT_EQ(store.print(), after) << before << patch;
    }
}

TEST(Store, WhatIsRefusedChangesNothing) {
    Store store(21);
    ASSERT_TRUE(store.put(R"({   "key":    "12345678901"   })")); // without its spaces
    const std::string before = store.print();
    const auto large = store.put(R"({"key": "1234567890123"})");
    ASSERT_FALSE(large);
    EXPECT_TRUE(large.error().too_large);
    EXPECT_TRUE(large.error().message.contains("21 bytes"));
    const auto grown = store.patch(R"({"another": 1})");
    ASSERT_FALSE(grown);
    EXPECT_TRUE(grown.error().too_large);
    for (const char* const wrong : {"", "{", R"({"a":1,"a":2})", "{} {}", "\xff"})
        for (const auto& refused : {store.put(wrong), store.patch(wrong)}) {
            ASSERT_FALSE(refused) << wrong;
            EXPECT_FALSE(refused.error().too_large);
        }
    EXPECT_FALSE(store.put(std::string(100'000, '[')));
    EXPECT_EQ(store.print(), before);
}

} // namespace
} // namespace aerate::mmds
