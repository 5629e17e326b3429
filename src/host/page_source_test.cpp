#include "host/page_source.hpp"
#include "host/testing/monitors.hpp"

#include <gmock/gmock.h>

namespace aerate::hostd {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using testing::HostTest;
using ::testing::StartsWith;

class PageSourceTest : public HostTest {
protected:
    void begin() {
        add("a");
        start();
        ASSERT_TRUE(ticks_until([&] { return vm("a") != nullptr; }));
        source.emplace(loop, *daemon, directory());
    }
    /// Returns what came of an action: its words, or the status and the words of a failure.
    std::string act(const std::string& name, const web::Action& action) {
        std::string said;
        source->act(name, action, [&](web::Outcome<std::string> words) {
            said = words ? *words : fmt::format("{} {}", words.error().http_status, words.error().message);
        });
        EXPECT_TRUE(ticks_until([&] { return !said.empty(); }));
        return said;
    }
    std::optional<PageSource> source;
};

TEST_F(PageSourceTest, tells_a_monitor_what_its_operator_wants) {
    begin();
    EXPECT_EQ(act("a", web::SetBalloon{ByteCount{100U << 20}}), "a: its balloon was asked to have 100 MiB");
    EXPECT_THAT(monitors.at("a")->heard, Contains(R"(PATCH /balloon {"amount_mib":100})"));
    act("a", web::Pause{});
    EXPECT_THAT(monitors.at("a")->heard, Contains(R"(PATCH /vm {"state":"Paused"})"));
    EXPECT_THAT(source->history(), HasSubstr(R"("available_mib":[)"));
    EXPECT_THAT(*source->decisions("a"), HasSubstr(R"("decisions":[)"));
}

TEST_F(PageSourceTest, refuses_what_cannot_be_and_asks_nobody) {
    begin();
    EXPECT_THAT(act("a", web::SetBalloon{ByteCount{900U << 20}}),
                HasSubstr("400 the floor of a leaves its balloon 768 MiB"));
    EXPECT_THAT(act("a", web::SetBalloon{ByteCount{5}}), HasSubstr("whole MiB"));
    EXPECT_THAT(act("b", web::Pause{}), StartsWith("404"));
    EXPECT_FALSE(source->decisions("b"));
    EXPECT_THAT(monitors.at("a")->heard, ::testing::Not(Contains(HasSubstr("/balloon"))));
}

TEST_F(PageSourceTest, nonsense_from_a_monitor_is_said_to_be_that) {
    begin();
    const auto map = [&] {
        std::string said;
        source->map("a", [&](web::Outcome<web::MemoryMap> answer) {
            said = answer ? answer->cells : fmt::format("{} {}", answer.error().http_status, answer.error().message);
        });
        EXPECT_TRUE(ticks_until([&] { return !said.empty(); }));
        return said;
    };
    EXPECT_THAT(map(), StartsWith("404")) << "one of an earlier release has none";
    for (const std::string nonsense : {"", "{", "[]", R"({"cell_bytes":1,"cells":"<b>"})", R"({"cells":"rr"})"}) {
        monitors.at("a")->nonsense = nonsense;
        EXPECT_THAT(map(), StartsWith("502")) << nonsense;
        EXPECT_THAT(act("a", web::Sweep{}), HasSubstr("cannot be read")) << nonsense;
    }
    monitors.at("a")->nonsense = R"({"cell_bytes":4096,"cells":"rb."})";
    EXPECT_EQ(map(), "rb.");
}

} // namespace
} // namespace aerate::hostd
