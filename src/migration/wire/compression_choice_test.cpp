#include "migration/wire/compression_choice.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace aerate::migration {
namespace {

using Duration = CompressionChoice::Duration;
constexpr ByteCount frame{256U << 10};
const std::vector<CompressionSetting> all_forms = parse_compression("auto").value();

/// What a form makes of content. By its place in all_forms; plain is in front.
struct Effort {
    double nanoseconds; ///< a byte of content
    double share;
};
using Content = std::vector<Effort>;
const Content text{{0, 1}, {1.5, 0.55}, {2.6, 0.4}, {3.8, 0.36}, {11, 0.33}, {22, 0.32}};
const Content noise{{0, 1}, {0.2, 1}, {0.7, 1}, {0.8, 1}, {3, 1}, {5, 1}};

/// A sender's thread, its socket's buffer and a link, in time of their own.
class Line {
public:
    explicit Line(double bytes_per_second, ByteCount buffer = {4U << 20},
                  const std::vector<CompressionSetting>& forms = all_forms)
        : link(bytes_per_second)
        , buffer_(static_cast<double>(buffer.value))
        , forms_{CompressionSetting{}}
        , choice_(forms) {
        forms_.insert(forms_.end(), forms.begin(), forms.end());
    }

    /// Seconds that so many frames take, in the forms that are chosen.
    double send(const Content& content, unsigned frames) {
        const double from = now_;
        used_ = {};
        changes_ = 0;
        for (unsigned i = 0; i < frames; ++i) {
            const std::size_t form = place_of(choice_.next());
            ++used_[form];
            const std::size_t in_use = place_of(choice_.in_use());
            const double before = now_;
            const Duration waited(pass(content[form]));
            const Duration elapsed(now_ - before);
            rate_.sent(wire_of(content[form]), elapsed, waited);
            choice_.sent({.content = frame,
                          .stored = wire_of(content[form]),
                          .compressing = time_of(content[form].nanoseconds),
                          .handling = time_of(handling)},
                         rate_, elapsed);
            changes_ += place_of(choice_.in_use()) != in_use ? 1U : 0U;
        }
        return now_ - from;
    }
    /// The same all in one form.
    double send_as(const Effort& effort, unsigned frames) {
        const double from = now_;
        for (unsigned i = 0; i < frames; ++i)
            (void)pass(effort);
        return now_ - from;
    }

    /// Counts, for the last send(), the frames in a form, plain being 0, and how often another came into use.
    [[nodiscard]] unsigned used(std::size_t form) const { return used_[form]; }
    [[nodiscard]] unsigned changes() const { return changes_; }
    [[nodiscard]] std::size_t in_use() const { return place_of(choice_.in_use()); }

    double link; ///< bytes a second

private:
    static constexpr double handling = 0.6; ///< nanoseconds a byte

    [[nodiscard]] std::size_t place_of(const CompressionSetting& form) const {
        return static_cast<std::size_t>(std::ranges::find(forms_, form) - forms_.begin());
    }
    static Duration time_of(double nanoseconds) {
        return Duration(nanoseconds * 1e-9 * static_cast<double>(frame.value));
    }
    static ByteCount wire_of(const Effort& effort) {
        return {static_cast<std::uint64_t>(effort.share * static_cast<double>(frame.value))};
    }
    /// Returns for how long the buffer was full.
    double pass(const Effort& effort) {
        run((time_of(effort.nanoseconds) + time_of(handling)).count());
        double waited = 0;
        auto left = static_cast<double>(wire_of(effort).value);
        while (held_ + left > buffer_) {
            left -= buffer_ - held_;
            held_ = buffer_;
            // As TCP has it, whose sender is woken up when a third is free.
            const double until_woken = buffer_ / 3 / link;
            run(until_woken);
            waited += until_woken;
        }
        held_ += left;
        return waited;
    }
    void run(double seconds) {
        now_ += seconds;
        held_ = std::max(0.0, held_ - link * seconds);
    }

    double buffer_;
    double held_ = 0;
    double now_ = 0;
    std::vector<CompressionSetting> forms_;
    LinkRate rate_;
    CompressionChoice choice_;
    std::array<unsigned, 6> used_{};
    unsigned changes_ = 0;
};

TEST(CompressionChoice, IsAboutAsFastAsTheBestOfThemOnAnyLink) {
    for (const ByteCount buffer : {ByteCount{208U << 10}, ByteCount{4U << 20}})
        for (const double link : {1e6, 5e6, 20e6, 50e6, 100e6, 200e6, 400e6, 800e6, 1.2e9, 2e9, 5e9, 10e9})
            for (const Content* content : {&text, &noise}) {
                SCOPED_TRACE(fmt::format("{} over {} MB/s behind {} KiB", content == &text ? "text" : "noise",
                                         link / 1e6, buffer.value >> 10));
                constexpr unsigned frames = 2000;
                double best = 1e9;
                for (const Effort& effort : *content)
                    best = std::min(best, Line(link, buffer).send_as(effort, frames));
                Line line(link, buffer);
                EXPECT_LT(line.send(*content, frames), 1.09 * best) << "in use: " << line.in_use();
                EXPECT_LT(line.changes(), frames / 30) << "it flaps";
            }
}

TEST(CompressionChoice, IsPlainOnALinkThatTakesAllAndHeavierTheSlowerItIs) {
    const auto used_on = [](double link) {
        Line line(link);
        (void)line.send(text, 1000);
        return line.in_use();
    };
    EXPECT_EQ(used_on(10e9), 0U);
    EXPECT_EQ(used_on(200e6), 1U) << "lz4";
    EXPECT_EQ(used_on(100e6), 2U) << "zstd:1";
    EXPECT_EQ(used_on(50e6), 3U) << "zstd:3";
    EXPECT_EQ(used_on(5e6), 4U) << "zstd:6: the next one saves less than it would be worth";
    Line fast(10e9);
    (void)fast.send(text, 1000);
    EXPECT_EQ(fast.used(0), 1000U) << "it never waits, so nothing is tried";
}

TEST(CompressionChoice, ContentThatDoesNotCompressIsOnlyTriedNowAndThen) {
    Line line(50e6);
    (void)line.send(noise, 200);
    (void)line.send(noise, 1000);
    EXPECT_EQ(line.in_use(), 0U);
    EXPECT_GT(line.used(0), 930U);
    for (std::size_t form = 1; form < noise.size(); ++form)
        EXPECT_GT(line.used(form), 0U) << "what lz4 leaves as it is another may compress";
}

TEST(CompressionChoice, ContentThatChangesIsSeen) {
    Line line(50e6);
    for (int i = 0; i < 3; ++i) {
        (void)line.send(text, 150);
        EXPECT_GE(line.in_use(), 2U) << i;
        (void)line.send(noise, 150);
        EXPECT_EQ(line.in_use(), 0U) << i;
    }
}

TEST(CompressionChoice, ALinkThatChangesIsSeen) {
    Line line(5e9);
    for (int i = 0; i < 3; ++i) {
        (void)line.send(text, 1000);
        EXPECT_EQ(line.in_use(), 0U) << i;
        line.link = 50e6;
        (void)line.send(text, 1000);
        EXPECT_EQ(line.in_use(), 3U) << i;
        // While it compresses nobody can see how much faster the link has become: that is tried out, in seconds.
        line.link = 5e9;
        (void)line.send(text, 4000);
    }
}

TEST(CompressionChoice, OfOneFormThatIsItOrPlain) {
    const std::vector<CompressionSetting> zstd_3 = parse_compression("zstd:3").value();
    const Content content{text[0], text[3]};
    Line slow(50e6, {4U << 20}, zstd_3);
    (void)slow.send(content, 1000);
    EXPECT_GT(slow.used(1), 950U);
    Line fast(1e9, {4U << 20}, zstd_3);
    (void)fast.send(content, 1000);
    EXPECT_GT(fast.used(0), 980U);
    Line none(50e6, {4U << 20}, {});
    (void)none.send(content, 1000);
    EXPECT_EQ(none.used(0), 1000U);
}

} // namespace
} // namespace aerate::migration
