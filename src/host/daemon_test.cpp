#include "base/unix_socket.hpp"
#include "event/acceptor.hpp"
#include "host/daemon.hpp"
#include "host/routes.hpp"
#include "host/testing/monitors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>

namespace aerate::hostd {
namespace {

using namespace std::chrono_literals;
using namespace aerate::literals;
using ::testing::Contains;
using testing::FakeMonitor;
using ::testing::HasSubstr;
using testing::HostTest;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

/// A monitor that accepts, and then does what `then` does with the connection.
class RawMonitor {
public:
    RawMonitor(EventLoop& loop, const std::string& path, std::function<void(FileDescriptor)> then)
        : listener_(*UnixListener::bind(path))
        , acceptor_(loop, listener_.fd(), std::move(then)) {
        EXPECT_TRUE(acceptor_.start());
    }

private:
    UnixListener listener_;
    Acceptor acceptor_;
};

TEST_F(HostTest, finds_who_is_there_who_comes_and_who_goes) {
    add("a");
    start();
    ASSERT_TRUE(ticks_until([&] { return vm("a") != nullptr; }));
    EXPECT_EQ(vm("a")->size, 1_GiB);
    EXPECT_EQ(vm("a")->floor, 256_MiB);
    EXPECT_TRUE(vm("a")->answers);
    add("b");
    ASSERT_TRUE(ticks_until([&] { return vm("b") != nullptr; }));
    EXPECT_EQ(daemon->status().host.promised, 2_GiB);
    monitors.at("a")->server.reset();
    ASSERT_TRUE(ticks_until([&] { return vm("a") == nullptr; }));
    serve("a");
    ASSERT_TRUE(ticks_until([&] { return vm("a") != nullptr; })) << "another process took the name";
}

TEST_F(HostTest, takes_in_a_shortage_and_gives_back_in_plenty) {
    FakeMonitor& a = add("a");
    set_available(600_MiB .value);
    start();
    ASSERT_TRUE(ticks_until([&] { return a.actual > 0; }));
    EXPECT_THAT(a.heard.front(), HasSubstr("PUT /aerate/permit"));
    EXPECT_THAT(a.heard.front(), HasSubstr("\"for_ms\":10000"));
    set_available(12_GiB .value);
    EXPECT_TRUE(ticks_until([&] { return a.target == 0; }));
    EXPECT_THAT(a.heard, Not(Contains(HasSubstr("/balloon"))));
}

TEST_F(HostTest, a_monitor_of_an_earlier_release_is_asked_as_it_knows_it) {
    FakeMonitor& a = add("a");
    a.modern = false;
    set_available(600_MiB .value);
    start();
    ASSERT_TRUE(ticks_until([&] { return a.actual > 0; }));
    EXPECT_THAT(a.heard.front(), HasSubstr("PATCH /balloon {\"amount_mib\":"));
}

TEST_F(HostTest, a_dry_run_says_and_does_nothing) {
    FakeMonitor& a = add("a");
    set_available(600_MiB .value);
    start({.dry_run = true});
    ASSERT_TRUE(ticks_until([&] { return vm("a") != nullptr && vm("a")->reason.name == "idle_taken"; }));
    EXPECT_TRUE(daemon->status().dry_run);
    EXPECT_TRUE(ticks_until([&] { return ticks > 5; }));
    EXPECT_THAT(a.heard, IsEmpty());
}

TEST_F(HostTest, one_that_hangs_costs_the_others_nothing) {
    std::vector<FileDescriptor> held;
    RawMonitor hanging(loop, socket("hangs"), [&](FileDescriptor peer) { held.push_back(std::move(peer)); });
    FakeMonitor& a = add("a");
    set_available(600_MiB .value);
    start();
    ASSERT_TRUE(ticks_until([&] { return a.actual > 0; }, 2s));
    EXPECT_EQ(vm("hangs"), nullptr) << "it has never said anything";
    // From the second look on nobody waits for it.
    const auto before = std::chrono::steady_clock::now();
    const int first = ticks;
    ASSERT_TRUE(ticks_until([&] { return ticks >= first + 4; }));
    EXPECT_LT(std::chrono::steady_clock::now() - before, 4 * 350ms);
}

TEST_F(HostTest, one_that_stops_answering_is_shown_and_not_trusted) {
    FakeMonitor& a = add("a");
    start();
    ASSERT_TRUE(ticks_until([&] { return vm("a") != nullptr; }));
    a.nonsense = "{\"state\":\"Running\",\"size_bytes\":\"all\"}";
    ASSERT_TRUE(ticks_until([&] { return !vm("a")->answers; }));
    EXPECT_EQ(vm("a")->size, 1_GiB) << "what it last said";
    a.nonsense.reset();
    EXPECT_TRUE(ticks_until([&] { return vm("a")->answers; }));
}

TEST_F(HostTest, whatever_monitors_say_ends_nothing) {
    FakeMonitor& a = add("a");
    add("nothing").nonsense = "";
    add("words").nonsense = "no json";
    add("deep").nonsense = std::string(100'000, '[');
    add("long").nonsense = std::string(1U << 20, ' ');
    add("huge").nonsense =
        R"({"name":"x","state":"Running","vcpu_count":1,"memory":{"guest_size_bytes":18446744073709551615,)"
        R"("resident_bytes":18446744073709551615},"balloon":{"target_bytes":18446744073709551615,)"
        R"("actual_bytes":18446744073709551615,"driver":true,"statistics":{"free_memory":18446744073709551615},)"
        R"("statistics_age_ms":0}})";
    const RawMonitor half(loop, socket("half"), [](FileDescriptor peer) {
        (void)!::send(peer.get(), "HTTP/1.1 200 OK\r\nContent-Le", 27, MSG_NOSIGNAL);
    });
    const RawMonitor deaf(loop, socket("deaf"), [](FileDescriptor) {});
    const RawMonitor noise(loop, socket("noise"), [](FileDescriptor peer) {
        const std::string text(70'000, 'x');
        (void)!::send(peer.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    });
    set_available(600_MiB .value);
    start();
    EXPECT_TRUE(ticks_until([&] { return a.actual > 0 && ticks > 5; }));
    EXPECT_EQ(vm("words"), nullptr);
}

TEST_F(HostTest, two_hundred_are_asked_at_once_and_may_die_in_the_middle) {
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 2000)
        GTEST_SKIP() << "too few descriptors";
    for (int i = 0; i < 200; ++i)
        add(fmt::format("vm{:03}", i));
    set_available(600_MiB .value);
    start();
    ASSERT_TRUE(ticks_until([&] { return daemon->status().vms.size() == 200; }));
    for (int i = 0; i < 200; i += 2)
        monitors.at(fmt::format("vm{:03}", i))->server.reset();
    ASSERT_TRUE(ticks_until([&] { return daemon->status().vms.size() == 100; }));
    EXPECT_TRUE(ticks_until([&] { return std::ranges::all_of(daemon->status().vms, &control::HostVm::answers); }));
}

TEST_F(HostTest, a_daemon_that_is_started_again_goes_on_from_what_it_reads) {
    FakeMonitor& a = add("a");
    set_available(600_MiB .value);
    start();
    ASSERT_TRUE(ticks_until([&] { return a.actual > 0; }));
    daemon.reset();
    const std::uint64_t before = a.actual;
    start();
    ASSERT_TRUE(ticks_until([&] { return vm("a") != nullptr; }));
    EXPECT_GE(vm("a")->balloon.value, before);
    set_available(12_GiB .value);
    EXPECT_TRUE(ticks_until([&] { return a.target == 0; }));
}

TEST_F(HostTest, is_asked_over_its_socket) {
    add("a");
    start();
    ASSERT_TRUE(ticks_until([&] { return vm("a") != nullptr; }));
    const auto asked = [&](std::string_view method, std::string_view path, std::string_view body = {}) {
        return answer(*daemon, method, path, body);
    };
    EXPECT_THAT(asked("GET", "/host/status").body, HasSubstr("\"level\":\"plenty\""));
    EXPECT_THAT(asked("GET", "/host/history").body, HasSubstr("\"interval_ms\":5000"));
    EXPECT_THAT(asked("GET", "/host/vms/a/decisions").body, HasSubstr("\"reason\""));
    EXPECT_EQ(asked("GET", "/host/vms/../decisions").status, 404U);
    EXPECT_EQ(asked("GET", "/host/vms/decisions").status, 405U) << "a VM of that name";
    EXPECT_EQ(asked("DELETE", "/host/status").status, 405U);
    EXPECT_EQ(asked("GET", "/").status, 404U);
    EXPECT_EQ(asked("PUT", "/host/vms/b", R"({"memory_shares":5})").status, 404U);
    EXPECT_EQ(asked("PUT", "/host/vms/a", R"({"shares":5})").status, 400U);
    EXPECT_EQ(asked("PUT", "/host/vms/a", R"({"memory_floor_mib":2048})").status, 400U);
    EXPECT_EQ(asked("PUT", "/host/vms/a", R"({"memory_floor_mib":512,"memory_shares":5})").status, 204U);
    ASSERT_TRUE(ticks_until([&] { return vm("a")->floor == 512_MiB; }));
    EXPECT_EQ(vm("a")->shares, 5U);
    EXPECT_THAT(monitors.at("a")->heard, Contains(HasSubstr("PUT /aerate/memory-policy")));
    EXPECT_THAT(asked("POST", "/host/admission", R"({"size_bytes":1073741824})").body, HasSubstr("\"fits\":true"));
    EXPECT_THAT(asked("POST", "/host/admission", R"({"size_bytes":68719476736,"floor_bytes":68719476736})").body,
                HasSubstr("\"fits\":false"));
    EXPECT_EQ(asked("POST", "/host/admission", R"({"size_bytes":1,"floor_bytes":2})").status, 400U);
    EXPECT_EQ(asked("POST", "/host/admission", "{}").status, 400U);
}

} // namespace
} // namespace aerate::hostd
