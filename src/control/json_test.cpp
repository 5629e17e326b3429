#include "control/json.hpp"
#include "control/schema_json.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace aerate::control {
namespace {

std::string nested(int depth) {
    return std::string(static_cast<std::size_t>(depth), '[');
}

TEST(Json, H5_NestingBeyondTheLimitIsRefused) {
    EXPECT_TRUE(parse_json(nested(json_depth_max) + std::string(json_depth_max, ']')));
    EXPECT_FALSE(parse_json(nested(json_depth_max + 1) + std::string(json_depth_max + 1, ']')));
    const auto deep = parse_json(nested(100'000));
    ASSERT_FALSE(deep);
    EXPECT_EQ(deep.error().message, "JSON: nested deeper than 32 levels");
}

TEST(Json, H5_DuplicateKeysAreRefusedByName) {
    const auto twice = parse_json(R"({"a": {"b": 1}, "c": {"b": 1, "b": 2}})");
    ASSERT_FALSE(twice);
    EXPECT_EQ(twice.error().message, "JSON: duplicate field: b");
    EXPECT_TRUE(parse_json(R"([{"a": 1}, {"a": {"a": 2}}])"));
}

TEST(Json, H5_MalformedTextIsRefused) {
    for (const std::string_view text :
         {"", "{", "nul", "{}x", "{\"a\":1,}", "[1 2]", "1e999", "\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"",
          "{\"\xff\": 1}", "\"\\ud800\"", "'a'", "01", "/**/1", "NaN"})
        EXPECT_FALSE(parse_json(text)) << text;
    EXPECT_FALSE(parse_json(std::string_view("\"a\0b\"", 5)));
}

TEST(Json, H5_MessagesStayShort) {
    const auto result =
        parse_json("{\"" + std::string(40'000, 'k') + "\": 1, \"" + std::string(40'000, 'k') + "\": 2}");
    ASSERT_FALSE(result);
    EXPECT_LT(result.error().message.size(), 300U);
}

std::string number_error(std::string_view value) {
    const auto json = parse_json(fmt::format(R"({{"n": {}}})", value));
    if (!json)
        return "parse";
    std::uint64_t number = 0;
    Fields fields(*json, "thing");
    fields.number("n", number, {1, 100}, Presence::required);
    const auto result = fields.finish();
    return result ? fmt::format("{}", number) : result.error().message;
}

TEST(Json, H5_NumbersAreWholeAndInRange) {
    EXPECT_EQ(number_error("100"), "100");
    for (const auto* text : {"0", "101", "-0", "-1", "1.0", "1e1", "18446744073709551616", "true", "\"1\"", "[]", "{}"})
        EXPECT_EQ(number_error(text), "thing.n: must be a whole number from 1 to 100") << text;
    EXPECT_EQ(number_error("null"), "thing.n: is missing");
    EXPECT_EQ(number_error("1e999"), "parse");
}

struct SizeInMib {
    ByteCount size{7 << 20};
    static void describe(auto& fields, auto& self) { fields("n", Mib{self.size}); }
};

TEST(Json, C25_TheLibrarysWordsReachNobody) {
    const std::pair<std::string_view, std::string_view> cases[] = {
        {"", "JSON: the text is not valid at line 1, column 1"},
        {"{", "JSON: the text is not valid at line 1, column 1"},
        {"{\"a\": 1,\n \"b\": x}", "JSON: the text is not valid at line 2, column 7"},
        {"\"\xff\"", "JSON: the text is not valid at line 1, column 2"},
        {"1e999", "JSON: a number is too large"},
    };
    for (const auto& [text, message] : cases) {
        const auto refused = parse_json(text);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().message, message) << text;
    }
}

TEST(Json, H5_MebibytesNeverWrapAsBytes) {
    for (const auto* text : {"17592186044416", "18446744073709551615"}) {
        const auto json = parse_json(fmt::format(R"({{"n": {}}})", text));
        ASSERT_TRUE(json);
        EXPECT_FALSE(read_object<SizeInMib>(*json)) << text;
    }
}

TEST(Json, H5_UnknownFieldsAreRefusedByName) {
    const auto json = parse_json(R"({"known": true, "surprise": 1})");
    ASSERT_TRUE(json);
    bool known = false;
    Fields strict(*json, "thing");
    strict.boolean("known", known);
    const auto result = strict.finish();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message, "thing.surprise: unknown field");
    Fields lenient(*json, "thing");
    EXPECT_TRUE(lenient.finish(Unknown::ignored));
}

TEST(Json, H5_ControlCharactersInStringsAreRefused) {
    const auto json = parse_json(R"({"path": "/a\u0000b"})");
    ASSERT_TRUE(json);
    std::string path;
    Fields fields(*json, "");
    fields.string("path", path);
    EXPECT_FALSE(fields.finish());
    EXPECT_EQ(path, "");
}

TEST(Json, FieldsOfSomethingElseThanAnObject) {
    for (const auto* text : {"[]", "1", "null", "\"x\""}) {
        const auto json = parse_json(text);
        ASSERT_TRUE(json);
        bool value = false;
        Fields fields(*json, "thing");
        fields.boolean("b", value, Presence::required);
        const auto result = fields.finish();
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().message, "thing: must be a JSON object");
    }
}

} // namespace
} // namespace aerate::control
