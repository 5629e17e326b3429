#include "base/log.hpp"
#include "base/printable.hpp"

#include <gtest/gtest.h>

namespace aerate {
namespace {

TEST(Printable, S9_ControlCharactersAreEscaped) {
    EXPECT_EQ(printable("web1, disk /srv/web1.img: 3 MiB"), "web1, disk /srv/web1.img: 3 MiB");
    EXPECT_EQ(printable("\x1b]0;title\x07\x1b[2J"), "\\x1b]0;title\\x07\\x1b[2J");
    EXPECT_EQ(printable("a\r\n\tb"), "a\\r\\n\\tb");
    EXPECT_EQ(printable(std::string_view("\0\x7f", 2)), "\\x00\\x7f");
    EXPECT_EQ(printable("\xc2\x9b"
                        "31m"),
              "\\u009b31m"); // CSI as one character
    EXPECT_EQ(printable("\u202egnp.exe"), "\\u202egnp.exe");
    EXPECT_EQ(printable("a\u061cb"), "a\\u061cb") << "ARABIC LETTER MARK reorders too";
    EXPECT_EQ(printable("a\u00adb\u3164c"), "a\\u00adb\\u3164c") << "nobody sees these";
    EXPECT_EQ(printable("a\U000e0041b"), "a\\U000e0041b") << "nor a tag";
    EXPECT_EQ(printable("عربي ❤️"), "عربي ❤️");
}

TEST(Printable, S9_Utf8StaysAndWhatIsNoneIsEscaped) {
    EXPECT_EQ(printable("Größe … 日本 🙂"), "Größe … 日本 🙂");
    EXPECT_EQ(printable("\x9b"
                        "31m"),
              "\\x9b31m");
    EXPECT_EQ(printable("\xc0\x9b"), "\\xc0\\x9b");                   // overlong ESC
    EXPECT_EQ(printable("\xe0\x80\x9b"), "\\xe0\\x80\\x9b");          // again
    EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");          // a surrogate
    EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80"); // beyond the last character
    EXPECT_EQ(printable("x\xe2\x80"), "x\\xe2\\x80");                 // cut short
}

TEST(Printable, S9_NothingThatATerminalObeysIsLeft) {
    for (unsigned first = 0; first < 256; ++first)
        for (unsigned second = 0; second < 256; ++second) {
            const std::string text{static_cast<char>(first), static_cast<char>(second)};
            for (const char c : printable(text)) {
                const auto byte = static_cast<unsigned char>(c);
                EXPECT_TRUE(byte >= 0x20 && byte != 0x7f) << first << ' ' << second;
            }
            if (first == 0xc2 && second < 0xa0) {
                EXPECT_TRUE(printable(text).starts_with('\\')) << second;
            }
        }
}

TEST(Printable, S9_LengthIsBoundedAndNoCharacterIsCut) {
    EXPECT_EQ(printable("abcdef", 6), "abcdef");
    EXPECT_EQ(printable("abcdefg", 6), "abcdef...");
    EXPECT_EQ(printable("abcde€", 6), "abcde...");
    EXPECT_EQ(printable(std::string(1 << 20, '\x1b')).size(), printable_max / 4 * 4 + 3);
}

TEST(Printable, S9_LinesStayWhereTheyAreWanted) {
    EXPECT_EQ(printable_lines("a\nb\x1b\n"), "a\nb\\x1b\n");
    EXPECT_EQ(printable_lines("a\n\nb"), "a\n\nb");
    EXPECT_EQ(printable_lines(""), "");
}

TEST(Printable, S9_TheLogIsOneLineAMessageAndEscapes) {
    testing::internal::CaptureStderr();
    log::warning("drive {}", "a\x1b[31m\naerate: error: forged");
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("drive a\\x1b[31m\\naerate: error: forged"), std::string::npos) << said;
}

TEST(GuestLogLimit, S9_C12_MessagesAreLimitedAndThoseHeldBackAreCounted) {
    log::GuestLogLimit limit;
    const auto begin = log::GuestLogLimit::Clock::now();
    const std::uint64_t before = log::held_back();
    int allowed = 0;
    for (int i = 0; i < 39; ++i)
        allowed += limit.allow(begin) ? 1 : 0;
    EXPECT_EQ(allowed, 10);
    EXPECT_EQ(log::held_back() - before, 29U);
    testing::internal::CaptureStderr();
    EXPECT_TRUE(limit.allow(begin + std::chrono::seconds(6)));
    EXPECT_NE(testing::internal::GetCapturedStderr().find("29 more messages"), std::string::npos);
    testing::internal::CaptureStderr();
    EXPECT_TRUE(limit.allow(begin + std::chrono::seconds(12)));
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

} // namespace
} // namespace aerate
