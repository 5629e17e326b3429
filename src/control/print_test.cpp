// What control/ prints: status, metrics, replies, sizes, tables, top.
#include "control/metrics.hpp"
#include "control/reply.hpp"
#include "control/size.hpp"
#include "control/table.hpp"
#include "control/top_view.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace aerate::control {
namespace {

using namespace literals;
using testing::HasSubstr;
using testing::Not;

VmStatus example() {
    return {.name = "web1",
            .pid = 42,
            .state = VmState::running,
            .uptime = std::chrono::milliseconds(61'005),
            .vcpu_count = 2,
            .memory = {.guest_size = 1_GiB,
                       .resident = 512_MiB,
                       .ballooned = 256_MiB,
                       .reported = 128_MiB,
                       .hinted = 4_KiB,
                       .monitor_overhead = 4_MiB},
            .balloon = BalloonStatus{.target = 256_MiB,
                                     .actual = 255_MiB,
                                     .statistics = {{"available_memory", 768U << 20}, {"total_memory", 1U << 30}}},
            .counters = {{"guest_faults", "Rules that the guest broke.", 3, {{"device", "balloon"}}},
                         {"exits", "Exits.", 18446744073709551615ULL, {}},
                         {"guest_faults", "Rules that the guest broke.", 4, {{"device", "block"}}}}};
}

TEST(Status, PrintedAndReadAgainIsTheSame) {
    for (const VmStatus& status : {VmStatus{.name = "empty"}, example()}) {
        const auto again = parse_status(print_status(status));
        ASSERT_TRUE(again) << again.error().message;
        EXPECT_EQ(*again, status);
    }
}

TEST(Status, ALaterVersionsFieldsAreIgnored) {
    auto json = nlohmann::json::parse(print_status(example()));
    json["news"] = 1;
    json["memory"]["news"] = 1;
    EXPECT_TRUE(parse_status(json.dump()));
    EXPECT_FALSE(parse_status("{}"));
    EXPECT_FALSE(parse_status(R"({"name": "x", "state": "Running", "memory": 3})"));
}

TEST(Metrics, FollowTheTextFormat) {
    const std::string text = print_metrics(example());
    EXPECT_THAT(text, HasSubstr("# HELP aerate_memory_bytes Guest memory by state. The states overlap.\n"
                                "# TYPE aerate_memory_bytes gauge\n"
                                "aerate_memory_bytes{vm=\"web1\",state=\"resident\"} 536870912\n"));
    EXPECT_THAT(text, HasSubstr("aerate_uptime_seconds{vm=\"web1\"} 61.005\n"));
    EXPECT_THAT(text, HasSubstr("aerate_vm_state{vm=\"web1\",state=\"running\"} 1\n"));
    EXPECT_THAT(text, HasSubstr("aerate_guest_statistic{vm=\"web1\",name=\"total_memory\"} 1073741824\n"));
    EXPECT_THAT(text, HasSubstr("# TYPE aerate_guest_faults_total counter\n"
                                "aerate_guest_faults_total{vm=\"web1\",device=\"balloon\"} 3\n"
                                "aerate_guest_faults_total{vm=\"web1\",device=\"block\"} 4\n"));
    EXPECT_THAT(text, HasSubstr("aerate_exits_total{vm=\"web1\"} 18446744073709551615\n"));
    EXPECT_TRUE(text.ends_with('\n'));
}

TEST(Metrics, LabelsAndHelpAreEscaped) {
    VmStatus status;
    status.counters = {{"odd", "two\nlines \\ \"quoted\"", 1, {{"label", "a\"b\\c\nd"}}}};
    const std::string text = print_metrics(status);
    EXPECT_THAT(text, HasSubstr("# HELP aerate_odd_total two\\nlines \\\\ \"quoted\"\n"));
    EXPECT_THAT(text, HasSubstr(R"(label="a\"b\\c\nd")"));
}

TEST(Reply, EachAlternativeHasItsForm) {
    EXPECT_EQ(print_reply(Done{}).status, 204U);
    EXPECT_EQ(print_reply(Done{}).body, "");
    const HttpReply failure = print_reply(Failure{404, "no \"such\" \xff path"});
    EXPECT_EQ(failure.status, 404U);
    EXPECT_EQ(failure.body, "{\"fault_message\":\"no \\\"such\\\" \xef\xbf\xbd path\"}");
    EXPECT_THAT(print_reply(Instance{"web1", VmState::not_started}).body, HasSubstr(R"("state":"Not started")"));
    EXPECT_THAT(print_reply(Version{}).body, HasSubstr("firecracker_version"));
    EXPECT_EQ(print_reply(HintingStatus{5, {}}).body, R"({"host_cmd":5})");
    EXPECT_EQ(print_reply(HintingStatus{5, 4}).body, R"({"guest_cmd":4,"host_cmd":5})");
    EXPECT_EQ(print_reply(BalloonStatus{.target = 2_MiB, .actual = 1_MiB, .statistics = {{"free_memory", 7}}}).body,
              R"({"actual_mib":1,"actual_pages":256,"free_memory":7,"target_mib":2,"target_pages":512})");
    EXPECT_EQ(print_reply(BalloonStatus{}).status, 200U);
    EXPECT_THAT(std::string(print_reply(Metrics{}).content_type), HasSubstr("version=0.0.4"));
}

TEST(Size, ReadsUnits) {
    EXPECT_EQ(*parse_size("512M"), 512_MiB);
    EXPECT_EQ(*parse_size("512"), 512_MiB);
    EXPECT_EQ(*parse_size("2g"), 2_GiB);
    EXPECT_EQ(*parse_size("4KiB"), 4_KiB);
    EXPECT_EQ(*parse_size("0"), 0_MiB);
    EXPECT_EQ(*parse_size("1T"), 1024_GiB);
}

TEST(Size, H5_NonsenseAndWrappingAreRefused) {
    for (const auto* text : {"", "M", "-1", "+1", "1.5G", "1X", "1MB", "1 M", " 1", "0x10", "8388609T",
                             "17592186044416M", "99999999999999999999", "1iB", "1\x8d"})
        EXPECT_FALSE(parse_size(text)) << text;
}

TEST(Size, PrintsMib) {
    EXPECT_EQ(in_mib(0_MiB), "0.0");
    EXPECT_EQ(in_mib(512_KiB), "0.5");
    EXPECT_EQ(in_mib(std::optional<ByteCount>()), "-") << "which is not 0.0";
    EXPECT_EQ(in_mib(ByteCount{(2ULL << 20) - 1}), "1.9");
}

TEST(Table, AlignsItsColumns) {
    Table table({{"NAME", Table::Align::left}, {"MIB"}});
    table.add({"a", "1"});
    table.add({"longer", "1000"});
    EXPECT_EQ(table.print(), "NAME     MIB\n"
                             "a          1\n"
                             "longer  1000\n");
}

TEST(Table, C25_LeavesOutWhatThereIsNoRoomFor) {
    Table table(
        {{"NAME", Table::Align::left}, {"LEAST", Table::Align::right, 2}, {"LESS", Table::Align::right, 1}, {"N"}});
    table.add({"a", "1", "2", "3"});
    EXPECT_EQ(table.print(20), "NAME  LEAST  LESS  N\na         1     2  3\n");
    EXPECT_EQ(table.print(19), "NAME  LESS  N\na        2  3\n");
    EXPECT_EQ(table.print(12), "NAME  N\na     3\n");
    EXPECT_EQ(table.print(1), "NAME  N\na     3\n");
}

TEST(TopView, TheBarIsTheGuestsRam) {
    EXPECT_EQ(memory_bar(example(), 16), "####====bbbbrr..");
    VmStatus status = example();
    status.balloon->statistics.clear();
    EXPECT_EQ(memory_bar(status, 16), "########bbbbrr..");
    status.memory.reported = 1_GiB;
    EXPECT_EQ(memory_bar(status, 16), "########bbbbrrrr");
    EXPECT_EQ(memory_bar(VmStatus{}, 4), "....");
}

TEST(TopView, B_StatisticsThatLieStayInBounds) {
    VmStatus status = example();
    status.balloon->statistics = {{"available_memory", 5}, {"total_memory", ~std::uint64_t{0}}};
    EXPECT_EQ(*guest_used(status), 1_GiB);
    status.balloon->statistics = {{"available_memory", 5}, {"total_memory", 4}};
    EXPECT_EQ(guest_used(status), std::nullopt);
}

TEST(TopView, FitsTheTerminal) {
    const std::vector<VmStatus> many(30, example());
    const std::string text = render_top(many, {.columns = 60, .rows = 24});
    EXPECT_LT(std::ranges::count(text, '\n'), 24);
    EXPECT_THAT(text, HasSubstr("and 10 more\n"));
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
        EXPECT_LE(line.size(), 60U);
    EXPECT_THAT(render_top(many, {.columns = 120, .rows = 0}), Not(HasSubstr("more")));
    EXPECT_LT(render_top(many, {.columns = 1, .rows = 1}).size(), 12U);
}

TEST(Table, S9_CellsAreEscaped) {
    Table table({{"NAME", Table::Align::left}, {"N"}});
    table.add({"a\x1b[2J\n", "1"});
    EXPECT_EQ(table.print(), "NAME        N\na\\x1b[2J\\n  1\n");
}

TEST(TopView, C25_EightyColumnsHaveBars) {
    for (const std::size_t columns : {72U, 80U, 97U, 120U}) {
        std::istringstream lines(render_top({example()}, {.columns = columns, .rows = 0}));
        std::string line;
        for (std::string next; std::getline(lines, next); line = next)
            EXPECT_LE(next.size(), columns);
        EXPECT_EQ(line.size(), columns) << line;
        EXPECT_THAT(line, HasSubstr("[###")) << columns;
        EXPECT_THAT(line, testing::EndsWith(".]")) << columns;
    }
}

TEST(TopView, S9_NamesAreEscaped) {
    EXPECT_EQ(render_top({{.name = "a\x1b[2J"}}, {}).find('\x1b'), std::string::npos);
}

} // namespace
} // namespace aerate::control
