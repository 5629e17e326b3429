// See README.md.
#include "naive_uses.hpp"
#include "prove/catalogue.hpp"
#include "prove/trace_file.hpp"
#include "schedule.hpp"
#include "shipping_uses.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <functional>
#include <iostream>
#include <random>

namespace aerate::replay {
namespace {

using prove::Action;
using prove::Fault;
using prove::HintAction;
using prove::HintModel;
using prove::HintSetting;
using prove::Trace;
using prove::Use;
using State = HintModel::State;

/// An unsafe verdict of the catalogue, and how one gets there.
struct UnsafeEntry {
    std::string name;
    HintSetting setting;
    Trace trace;
};

void PrintTo(const UnsafeEntry& entry, std::ostream* out) {
    *out << entry.name;
}

std::string file_name_of(std::string name) {
    std::ranges::replace(name, '/', '_');
    return std::string(AERATE_TRACES) + "/" + name + ".trace";
}

std::vector<UnsafeEntry> unsafe_entries() {
    std::vector<UnsafeEntry> entries;
    for (const prove::Entry& entry : prove::catalogue()) {
        const auto* const setting = std::get_if<HintSetting>(&entry.setting);
        // An ID that is used twice corrupts nothing by itself, nor does a hint that is not used.
        if (setting == nullptr || entry.expected == prove::Verdict::safe || setting->fault == Fault::id_reused ||
            entry.expected == prove::Verdict::incomplete)
            continue;
        std::ifstream file(file_name_of(entry.name));
        const std::string text(std::istreambuf_iterator<char>(file), {});
        const auto parsed = prove::parse_trace_file(text);
        entries.push_back({entry.name, *setting, parsed ? parsed->trace : Trace{}});
    }
    return entries;
}

/// One guest for all schedules, booted by the first.
class WithBubble {
public:
    static Result<SteppedMonitor*> monitor() {
        if (!instance().monitor_) {
            instance().monitor_ = TRY(SteppedMonitor::boot(AERATE_BUBBLE));
            for (unsigned page = 0; page < HintModel::max_pages; ++page) {
                const std::string reply = TRY(instance().monitor_->tell("alloc 0"));
                std::uint64_t frame = 0;
                std::from_chars(reply.data(), reply.data() + reply.size(), frame);
                instance().frames_.push_back({frame});
            }
        }
        return instance().monitor_.get();
    }
    static std::vector<FrameNumber> frames(unsigned count) {
        return {instance().frames_.begin(), instance().frames_.begin() + count};
    }
    static void shut_down() { instance().monitor_.reset(); }

private:
    static WithBubble& instance() {
        static WithBubble bubble;
        return bubble;
    }
    std::unique_ptr<SteppedMonitor> monitor_;
    std::vector<FrameNumber> frames_;
};

struct Outcome {
    std::string damage;
    State last; ///< the model's
    prove::Verdict verdict{};
    PageCount accepted;
    PageCount saved;
};

using MakeUse = std::unique_ptr<HintUse> (*)(const HintSetting&, SteppedMonitor&, SchedulePages&);

/// What a use that has pages in sets of its own is compared with, after each step.
using Compare = std::function<Result<>(const HintUse&, const SchedulePages&, const State&)>;

Result<Outcome> follow(const HintSetting& setting, const Trace& trace, DeviceFaults faults, MakeUse make_use,
                       const Compare& compare = {}) {
    SteppedMonitor& monitor = *TRY(WithBubble::monitor());
    SchedulePages pages(monitor, WithBubble::frames(setting.pages));
    auto schedule = TRY(Schedule::begin(monitor, pages, setting, faults));
    const auto use = make_use(setting, monitor, pages);
    TRY(use->start());

    Result<> went;
    unsigned number = 0;
    State last = HintModel(setting).initial();
    const auto carry_out = [&](const State& before, Action action, const State& after) {
        ++number;
        last = after;
        if (!went)
            return;
        went = schedule.step(*use, before, action);
        if (went && compare)
            went = compare(*use, pages, after);
        if (!went)
            went = fail("step {}: {}", number, went.error().message);
    };
    const auto verdict = prove::replay(HintModel(setting), trace, carry_out);
    if (!verdict)
        return fail("the model does not know step {}", number + 1);
    if (went)
        went = use->finish();
    auto damage = schedule.damage(last);
    TRY(std::move(went));
    return Outcome{TRY(std::move(damage)), last, *verdict, use->accepted(), use->saved()};
}

class Replay : public testing::TestWithParam<UnsafeEntry> {
protected:
    void SetUp() override {
        if (const auto kvm = Kvm::open(); !kvm)
            GTEST_SKIP() << "NOT TESTED, no guest can be made here: " << kvm.error().message;
        ASSERT_FALSE(GetParam().trace.empty()) << file_name_of(GetParam().name) << " is missing or broken";
    }
};

TEST_P(Replay, NaiveLosesTheWrite) {
    const auto& [name, setting, trace] = GetParam();
    if (setting.use == Use::discard_locked && !userfaultfd_is_allowed())
        GTEST_SKIP() << "NOT TESTED, no write protection by userfaultfd here (root? Linux 6.4?)";
    const DeviceFaults faults{.id_ignored = setting.fault == Fault::id_ignored,
                              .index_ignored = setting.fault == Fault::index_ignored};
    const auto outcome = follow(setting, trace, faults, make_naive_use);
    ASSERT_TRUE(outcome) << outcome.error().message;
    EXPECT_NE(outcome->damage, "") << "the guest misses nothing: this schedule proves nothing";
    std::cout << "  " << outcome->damage;
}

TEST_P(Replay, ShippingKeepsIt) {
    const auto& [name, setting, trace] = GetParam();
    const auto outcome = follow(setting, trace, {}, make_shipping_use);
    ASSERT_TRUE(outcome) << outcome.error().message;
    EXPECT_EQ(outcome->damage, "");
    // In these two the whole point is that the hint is not of the current ID.
    const bool is_stale = setting.fault == Fault::id_ignored || setting.fault == Fault::index_ignored;
    EXPECT_EQ(outcome->accepted == PageCount{}, is_stale) << "it would be safe only because it does nothing";
    std::cout << "  " << outcome->accepted.value << " hints accepted\n";
}

INSTANTIATE_TEST_SUITE_P(Trace, Replay, testing::ValuesIn(unsafe_entries()), [](const auto& entry) {
    std::string name = entry.param.name;
    std::ranges::replace_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
    return name;
});

// --- random schedules ----------------------------------------------------------------------------------------------

/// Equal chances would have the guest write most of the time, and each round end before it has begun.
unsigned chance_of(Action action) {
    switch (static_cast<HintAction>(action.kind)) {
    case HintAction::write:
    case HintAction::lend:
    case HintAction::send:
    case HintAction::round_over:
        return 1;
    case HintAction::give:
    case HintAction::next_round:
    case HintAction::finish:
    case HintAction::end:
    case HintAction::publish_done:
        return 2;
    case HintAction::take:
        return 4;
    default:
        return 16;
    }
}

/// Whether a copy that is under way comes to its end by this.
bool winds_up(Action action) {
    switch (static_cast<HintAction>(action.kind)) {
    case HintAction::land:
    case HintAction::complete:
    case HintAction::read_log:
    case HintAction::rearm_log:
    case HintAction::publish:
    case HintAction::finish:
    case HintAction::close:
    case HintAction::freeze:
    case HintAction::send:
        return true;
    default:
        return false;
    }
}

/// So many steps, and then to the hand-over if the model has one. Ends where the model's verdict is not safe any more.
Trace random_walk(const HintModel& model, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const std::uint64_t steps = 8 + seed % 40;
    Trace trace;
    State state = model.initial();
    for (auto verdict = prove::Verdict::safe; verdict == prove::Verdict::safe;) {
        const auto chance = [&](Action action) {
            return trace.size() < steps || winds_up(action) ? chance_of(action) : 0U;
        };
        const auto actions = model.actions(state);
        unsigned total = 0;
        for (const Action action : actions)
            total += chance(action);
        if (total == 0)
            break;
        std::uint64_t drawn = random() % total;
        const Action* chosen = actions.begin();
        for (; drawn >= chance(*chosen); ++chosen)
            drawn -= chance(*chosen);
        verdict = model.apply(state, *chosen);
        trace.push_back(*chosen);
    }
    return trace;
}

/// The sets of the real engine are the model's, page by page. `log` is not compared: a part of it is still in KVM.
Result<> has_the_models_layers(const HintUse& use, const SchedulePages& pages, const State& model) {
    const auto& layers = dynamic_cast<const ShippingPrecopy&>(use).layers();
    for (unsigned page = 0; page < pages.frames().size(); ++page) {
        const FrameNumber frame = pages.frames()[page];
        if (layers.pending.test(frame) != model.precopy.layers.pending.has(page) ||
            layers.hinted.test(frame) != model.precopy.layers.hinted.has(page))
            return fail("page {} is pending or hinted here and not in the model, or the other way round", page);
    }
    return {};
}

class ReplayARandomSchedule : public testing::TestWithParam<const char*> {
protected:
    void SetUp() override {
        if (const auto kvm = Kvm::open(); !kvm)
            GTEST_SKIP() << "NOT TESTED, no guest can be made here: " << kvm.error().message;
    }
    static HintSetting setting() {
        return std::get<HintSetting>(prove::entries_named(prove::catalogue(), GetParam()).at(0).setting);
    }
};
class ShippingInARandomSchedule : public ReplayARandomSchedule {};
class NaiveInARandomSchedule : public ReplayARandomSchedule {};

TEST_P(ShippingInARandomSchedule, KeepsAllWrites) {
    constexpr unsigned walks = 200;
    const bool copies = setting().use != Use::discard_held;
    PageCount accepted;
    PageCount saved;
    for (unsigned seed = 1; seed <= walks; ++seed) {
        const Trace trace = random_walk(HintModel(setting()), seed);
        const auto outcome =
            follow(setting(), trace, {}, make_shipping_use, copies ? Compare(has_the_models_layers) : Compare());
        const std::string text = prove::to_text({GetParam(), trace});
        ASSERT_TRUE(outcome) << outcome.error().message << "\nseed " << seed << ", " << text;
        ASSERT_EQ(outcome->damage, "") << "seed " << seed << ", " << text;
        accepted += outcome->accepted;
        saved += outcome->saved;
    }
    EXPECT_GT(saved, PageCount{}) << "it would be safe only because it does nothing";
    std::cout << "  " << accepted.value << " hints accepted, " << saved.value
              << (copies ? " pages not copied\n" : " pages discarded\n");
}

/// The other direction: where the model says that something is lost, and only there, it is.
TEST_P(NaiveInARandomSchedule, LosesWhatTheModelForesees) {
    constexpr unsigned walks = 200;
    const bool copies = setting().use != Use::discard_at_once && setting().use != Use::discard_checked;
    unsigned lost = 0;
    for (unsigned seed = 1; seed <= walks; ++seed) {
        const Trace trace = random_walk(HintModel(setting()), seed);
        const auto outcome = follow(setting(), trace, {}, make_naive_use);
        const std::string text = prove::to_text({GetParam(), trace});
        ASSERT_TRUE(outcome) << outcome.error().message << "\nseed " << seed << ", " << text;
        const auto& last = outcome->last;
        const std::uint8_t left_out = setting().use == Use::skip_by_hint ? last.ever_hinted.bits & last.data.bits : 0U;
        const bool foreseen = copies ? !last.behind.empty() || left_out != 0 : outcome->verdict != prove::Verdict::safe;
        ASSERT_EQ(!outcome->damage.empty(), foreseen) << outcome->damage << "seed " << seed << ", " << text;
        lost += foreseen ? 1U : 0U;
    }
    EXPECT_GT(lost, 0U);
    std::cout << "  " << lost << " of " << walks << " schedules lose a write\n";
}

std::string name_of_walk(const testing::TestParamInfo<const char*>& info) {
    std::string name = info.param;
    std::ranges::replace_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
    return name;
}
INSTANTIATE_TEST_SUITE_P(Walks, ShippingInARandomSchedule,
                         testing::Values("clear-pending/linux", "skip-unwritten/linux", "discard-held/linux",
                                         "discard-held+init-on-alloc/linux"),
                         name_of_walk);
INSTANTIATE_TEST_SUITE_P(Walks, NaiveInARandomSchedule,
                         testing::Values("clear-live/linux", "clear-pending/linux/lazy-clear", "discard-at-once/linux",
                                         "discard-checked/linux", "skip-by-hint/linux", "skip-by-hint/hold-until-used",
                                         "skip-unwritten/linux/lazy-clear"),
                         name_of_walk);

/// The guest goes before main() returns, while everything that it stands on is still there.
class ShutDown : public testing::Environment {
public:
    void TearDown() override { WithBubble::shut_down(); }
};
const auto* const shut_down = testing::AddGlobalTestEnvironment(new ShutDown);

} // namespace
} // namespace aerate::replay
