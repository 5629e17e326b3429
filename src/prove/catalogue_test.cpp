#include "prove/catalogue.hpp"
#include "prove/story.hpp"
#include "prove/trace_file.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <ostream>
#include <set>

namespace aerate::prove {

void PrintTo(const Entry& entry, std::ostream* out) {
    *out << entry.name;
}

namespace {

/// Small enough for every build, large enough for every verdict.
constexpr Scale small{2, 2, 2};
#if defined(__has_feature)
constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool sanitized = false;
#endif

std::vector<Entry> small_entries() {
    std::vector<Entry> entries = catalogue(small);
    // The row that is a size larger belongs to `aerate prove` itself; some bugs show only in a longer queue.
    std::erase_if(entries, [](const Entry& entry) {
        return entry.section == Section::planted || entry.name.starts_with("clear-pending-large");
    });
    for (const Entry& entry : entries_named(catalogue(), "planted/"))
        entries.push_back(entry);
    if (sanitized) // ten times slower, and it looks for other bugs
        for (Entry& entry : entries)
            if (auto* setting = std::get_if<HintSetting>(&entry.setting); setting && entry.section == Section::uses)
                setting->devices = false;
    return entries;
}

class EachModel : public testing::TestWithParam<Entry> {};

TEST_P(EachModel, HasTheExpectedVerdict) {
    const Entry& entry = GetParam();
    const Exploration found = explore(entry, {.check_progress = true});
    EXPECT_TRUE(found.complete);
    EXPECT_EQ(name_of(found.verdict), name_of(entry.expected));
    EXPECT_EQ(found.trace.empty(), found.verdict == Verdict::safe);
    EXPECT_TRUE(tell(entry, found.trace).has_value()) << "its trace can be told, step by step";
}

INSTANTIATE_TEST_SUITE_P(Catalogue, EachModel, testing::ValuesIn(small_entries()), [](const auto& entry) {
    std::string name = entry.param.name;
    std::ranges::replace_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
    return name;
});

TEST(Catalogue, NamesAreUniqueAndFoundByTheirBeginning) {
    const auto entries = catalogue();
    std::map<std::string, int> names;
    for (const Entry& entry : entries)
        EXPECT_EQ(++names[entry.name], 1) << entry.name;
    EXPECT_EQ(entries_named(entries, "discard-at-once/linux").size(), 1U);
    EXPECT_EQ(entries_named(entries, "planted/").size(), 13U);
    EXPECT_TRUE(entries_named(entries, "nonsense").empty());
}

TEST(Explorer, SameInputSameTrace) {
    const auto entries = catalogue(small);
    for (const char* name : {"clear-pending/linux/lazy-clear", "discard-held/linux", "hand-off/run-on-state"}) {
        const Entry entry = entries_named(entries, name).at(0);
        const Exploration one = explore(entry, {});
        const Exploration other = explore(entry, {});
        EXPECT_EQ(hash_of(one.verdict, one.states, one.trace), hash_of(other.verdict, other.states, other.trace));
    }
}

/// A model that takes no state for another, and notes which ones the reduction would have taken for one.
class Recording {
public:
    using State = HintModel::State;
    static constexpr Verdict when_nothing_is_possible = HintModel::when_nothing_is_possible;

    explicit Recording(HintSetting setting)
        : reduced_(setting)
        , whole_((setting.reduce = false, setting)) {}

    [[nodiscard]] State initial() const { return whole_.initial(); }
    [[nodiscard]] Actions actions(const State& state) const { return whole_.actions(state); }
    Verdict apply(State& state, Action action) const { return whole_.apply(state, action); }
    [[nodiscard]] bool finished(const State& state) const { return whole_.finished(state); }
    [[nodiscard]] std::uint64_t fingerprint(const State& state) const {
        classes_.insert(reduced_.fingerprint(state));
        return whole_.fingerprint(state);
    }
    [[nodiscard]] std::size_t classes() const { return classes_.size(); }

private:
    HintModel reduced_;
    HintModel whole_;
    mutable std::set<std::uint64_t> classes_;
};

/// Taking states for one another must change no verdict: all of the table again, with every state for itself.
TEST(Explorer, ReductionChangesNoVerdict) {
    std::uint64_t with = 0;
    std::uint64_t without = 0;
    for (Entry entry : small_entries()) {
        auto* setting = std::get_if<HintSetting>(&entry.setting);
        if (setting == nullptr || (setting->devices && setting->use != Use::skip_unwritten) || setting->reports)
            continue; // millions of states; the smaller ones below stand for them
        const Exploration reduced = explore(entry, {});
        setting->reduce = false;
        const Exploration whole = explore(entry, {});
        EXPECT_EQ(name_of(reduced.verdict), name_of(whole.verdict)) << entry.name;
        EXPECT_EQ(reduced.trace.size(), whole.trace.size()) << entry.name << ": the shortest is as short";
    }
    for (Entry entry : small_entries()) {
        auto* setting = std::get_if<HintSetting>(&entry.setting);
        if (setting == nullptr || entry.section != Section::uses)
            continue;
        setting->devices = false;
        setting->rounds = 1;
        const Exploration reduced = explore(entry, {});
        const Recording recording(*setting);
        const Exploration whole = explore(recording, {});
        EXPECT_EQ(name_of(reduced.verdict), name_of(whole.verdict)) << entry.name;
        if (whole.verdict == Verdict::safe) {
            EXPECT_EQ(reduced.states, recording.classes()) << entry.name << ": it went everywhere";
        }
        with += reduced.states;
        without += whole.states;
    }
    EXPECT_LT(with * 2, without) << "and it is worth it";
}

TEST(Explorer, StopsAtTheLimitAndSaysSo) {
    const Exploration found = explore(catalogue(small).front(), {.states = 1000});
    EXPECT_FALSE(found.complete);
    EXPECT_EQ(found.verdict, Verdict::safe);
}

/// What was found once, replayed from the committed files: each still leads to its verdict.
TEST(Traces, EveryUnsafeVerdictHasAFileThatReplays) {
    const auto entries = catalogue();
    for (const Entry& entry : entries) {
        if (entry.expected == Verdict::safe)
            continue;
        std::string name = entry.name + ".trace";
        std::ranges::replace(name, '/', '_');
        const std::filesystem::path path = std::filesystem::path(AERATE_TRACES) / name;
        std::ifstream file(path);
        ASSERT_TRUE(file) << path << ": written by aerate prove --traces";
        const std::string text(std::istreambuf_iterator<char>(file), {});
        const auto parsed = parse_trace_file(text);
        ASSERT_TRUE(parsed) << path << ": " << parsed.error().message;
        EXPECT_EQ(parsed->model, entry.name);
        EXPECT_EQ(to_text(*parsed), text);
        const auto visit = [](const auto&, Action, const auto&) {};
        const auto* hints = std::get_if<HintSetting>(&entry.setting);
        const auto* freeze = std::get_if<FreezeSetting>(&entry.setting);
        const auto verdict = hints ? replay(HintModel(*hints), parsed->trace, visit)
                             : freeze
                                 ? replay(FreezeModel(*freeze), parsed->trace, visit)
                                 : replay(HandOffModel(std::get<HandOffSetting>(entry.setting)), parsed->trace, visit);
        ASSERT_TRUE(verdict.has_value()) << path << ": a step is not possible";
        // Nothing happens any more: that is seen where no action is left, not by any one action.
        if (entry.expected == Verdict::none_running)
            EXPECT_EQ(*verdict, Verdict::safe);
        else
            EXPECT_EQ(name_of(*verdict), name_of(entry.expected)) << path;
    }
}

TEST(TraceFile, SaysWhatIsWrong) {
    EXPECT_THAT(parse_trace_file("").error().message, testing::HasSubstr("empty"));
    EXPECT_THAT(parse_trace_file("take 0\n").error().message, testing::HasSubstr("line 1"));
    EXPECT_THAT(parse_trace_file("model x\nfly 0\n").error().message,
                testing::HasSubstr("line 2: no action is named \"fly\""));
    EXPECT_THAT(parse_trace_file("model x\ntake 9\n").error().message, testing::HasSubstr("page"));
    EXPECT_THAT(parse_trace_file("model x\ntake 1x\n").error().message, testing::HasSubstr("page"));
}

} // namespace
} // namespace aerate::prove
