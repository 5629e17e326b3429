// Whole jails: what holds in them, and what a launcher leaves that is killed at any step.
#include "jail/cgroups.hpp"
#include "jail/testing/jailed.hpp"

#include <algorithm>
#include <filesystem>

namespace aerate::jail {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Jails;
using testing::read_file;

std::string field(pid_t pid, const std::string& name) {
    const std::string status = read_file(fmt::format("/proc/{}/status", pid));
    const auto at = status.find("\n" + name + ":\t");
    return status.substr(at + name.size() + 3, status.find('\n', at + 1) - at - name.size() - 3);
}

bool shares(pid_t pid, const std::string& what) {
    return fs::read_symlink(fmt::format("/proc/{}/ns/{}", pid, what)) == fs::read_symlink("/proc/self/ns/" + what);
}

std::vector<std::string> entries(const std::string& directory) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory))
        names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
}

/// A setting of a controller that this host has and that needs no more than to be written.
std::vector<CgroupSetting> some_setting() {
    const auto there = Hierarchies::of_this_host().value();
    if (there.v1.contains("pids") || there.v1.empty())
        return {*CgroupSetting::parse("pids.max=500")};
    return {};
}

/// A cgroup of this test's own, for its jails.
CgroupPath own_parent() {
    return *CgroupPath::parse(fmt::format("aerate-test-{}", ::getpid()));
}

void remove_parents(const Request& request) {
    for (Cgroup& cgroup : possible_cgroups(request, *Hierarchies::of_this_host())) {
        cgroup.name = own_parent().text();
        cgroup.parents.clear();
        EXPECT_TRUE(jail::remove(cgroup));
    }
}

TEST(JailLauncher, ItsProgramIsOnItsOwn) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    Request request = jails.request();
    request.new_pid_namespace = true;
    request.network = Network::its_own;
    request.limits = {*ResourceLimit::parse("fsize=0"), *ResourceLimit::parse("no-file=4")};
    ASSERT_EQ(jails.start(request), "");
    const pid_t pid = jails.pid_of();
    for (const std::string what : {"mnt", "pid", "net", "ipc", "uts", "cgroup"})
        EXPECT_FALSE(shares(pid, what)) << what;
    for (const std::string which : {"CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"})
        EXPECT_EQ(field(pid, which), "0000000000000000") << which;
    EXPECT_EQ(field(pid, "NoNewPrivs"), "1");
    EXPECT_EQ(field(pid, "Uid"), "65533\t65533\t65533\t65533");
    EXPECT_EQ(field(pid, "Gid"), "65533\t65533\t65533\t65533");
    EXPECT_THAT(field(pid, "Groups"), ::testing::AnyOf("", " "));
    EXPECT_EQ(field(pid, "NSpid"), fmt::format("{}\t1", pid));
    const std::string proc = fmt::format("/proc/{}", pid);
    const std::string mounts = read_file(proc + "/mountinfo");
    EXPECT_EQ(std::ranges::count(mounts, '\n'), 1) << mounts;
    EXPECT_THAT(mounts, HasSubstr("nosuid"));
    EXPECT_EQ(read_file(proc + "/environ"), "");
    EXPECT_THAT(read_file(proc + "/limits"), ::testing::ContainsRegex("Max file size +0 +0"));
    EXPECT_THAT(read_file(proc + "/limits"), ::testing::ContainsRegex("Max open files +4 +4"));
    EXPECT_EQ(entries(proc + "/fd"), (std::vector<std::string>{"0", "1", "2"}));
    EXPECT_EQ(fs::read_symlink(proc + "/fd/1"), "/dev/null");
    EXPECT_EQ(entries(proc + "/root"), (std::vector<std::string>{"dev", "idle", "idle.pid", "run"}));
    struct stat root{};
    ASSERT_EQ(::stat(jails.root().c_str(), &root), 0);
    EXPECT_EQ(root.st_uid, testing::jailed_user);
    EXPECT_EQ(root.st_mode & 07777, 0700U);
    const std::string command = read_file(proc + "/cmdline");
    EXPECT_TRUE(command.starts_with(std::string("/idle\0--id\0vm1\0--start-time-us\0", 30))) << command;
}

TEST(JailLauncher, ItSharesTheHostsNetworkAndProcessesUnlessAskedNotTo) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    ASSERT_EQ(jails.start(jails.request()), "");
    EXPECT_THAT(read_file(fmt::format("/proc/{}/limits", jails.pid_of())),
                ::testing::ContainsRegex("Max open files +2048 +2048"));
    EXPECT_TRUE(shares(jails.pid_of(), "net"));
    EXPECT_TRUE(shares(jails.pid_of(), "pid"));
}

TEST(JailLauncher, WhatDidNotRunIsSaidToWhoWaits) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    testing::write_file(jails.program(), "#!/bin/sh\n", 0755); // there is no /bin/sh in a jail
    EXPECT_THAT(jails.start(jails.request()), HasSubstr("cannot execute the program: /idle in the jail"));
    testing::write_idle_program(jails.program());
    EXPECT_EQ(jails.start(jails.request()), "");
}

TEST(JailLauncher, AJailCanGetAnotherUserAfterAStartThatFailed) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    Request request = jails.request();
    ASSERT_EQ(jails.start(request), "");
    jails.end_all();
    request.network = Network::named;
    request.netns = "/nonexistent";
    EXPECT_THAT(jails.start(request), HasSubstr("/nonexistent"));
    request = jails.request();
    request.user = testing::jailed_user - 1;
    ASSERT_EQ(jails.start(request), "");
    jails.end_all();
    request.user = 0; // whose it was need not be known
    EXPECT_FALSE(jail::remove(request).value());
}

TEST(JailLauncher, WhatIsLeftInAJailIsFoundAndSaid) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    jails.prepare_root();
    testing::write_file(jails.root() + "/disk", "an operator's");
    for (int life = 0; life < 3; ++life) {
        ASSERT_EQ(jails.start(jails.request()), "");
        jails.end_all();
    }
    EXPECT_EQ(jail::remove(jails.request()).value().value(), jails.root());
    EXPECT_EQ(entries(jails.root()), (std::vector<std::string>{"disk"}));
    fs::remove(jails.root() + "/disk");
    EXPECT_FALSE(jail::remove(jails.request()).value());
    EXPECT_FALSE(fs::exists(jails.of_program() + "/vm1"));
    EXPECT_FALSE(jail::remove(jails.request()).value()); // nothing to remove
}

TEST(JailLauncher, KilledAtAnyStepItLeavesNothingBehind) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    Request request = jails.request();
    request.new_pid_namespace = true;
    request.cgroup.settings = some_setting();
    if (!request.cgroup.settings.empty())
        request.cgroup.parent = own_parent();
    if (request.uses_cgroup() && !make(cgroups_of(request, *Hierarchies::of_this_host()).value().front()))
        GTEST_SKIP() << "NOT TESTED: no cgroup can be made here";
    for (const Step at : plan(request, Caller::root)) {
        const std::string said = jails.start(request, [&](Step step) {
            if (step == at && ::getpid() == 1)
                ::_exit(1); // no signal of its own ends it
            if (step == at)
                ::kill(::getpid(), SIGKILL);
        });
        EXPECT_THAT(said, ::testing::AnyOf("killed", HasSubstr("was ended before"))) << describe(at);
        while (::waitpid(-1, nullptr, 0) > 0) { // its process, if any, has ended with it
        }
        EXPECT_EQ(read_file("/proc/self/mountinfo").find(jails.base()), std::string::npos) << describe(at);
        ASSERT_EQ(jails.start(request), "") << describe(at);
        jails.end_all();
        EXPECT_FALSE(jail::remove(request).value()) << describe(at);
        EXPECT_FALSE(fs::exists(jails.of_program() + "/vm1")) << describe(at);
    }
    for (const Cgroup& cgroup : possible_cgroups(request, *Hierarchies::of_this_host()))
        EXPECT_FALSE(fs::exists(cgroup.path()));
    remove_parents(request);
}

TEST(JailLauncher, ItsProcessEndsWithALauncherThatIsKilled) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    Request request = jails.request(); // in a namespace of its own it could not see whom to kill
    for (const Step at : {Step::leave_session, Step::drop_privileges}) {
        const std::string said = jails.start(request, [&](Step step) {
            if (step != at)
                return;
            ::kill(::getppid(), SIGKILL);
            ::pause();
        });
        EXPECT_EQ(said, "killed");
        while (::waitpid(-1, nullptr, 0) > 0) { // would never be, if it did not
        }
        ASSERT_EQ(jails.start(request), "");
        jails.end_all();
    }
}

TEST(JailLauncher, AHundredAtOnce) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    std::vector<std::pair<Request, Jails::Beginning>> all;
    for (int i = 0; i < 100; ++i) {
        Request request = jails.request(fmt::format("vm-{}", i));
        request.new_pid_namespace = true;
        const auto beginning = Jails::begin(request);
        all.emplace_back(std::move(request), beginning);
    }
    for (const auto& [request, beginning] : all)
        EXPECT_EQ(jails.finish(beginning, request), "");
    for (const auto& [request, beginning] : all)
        EXPECT_EQ(field(jails.pid_of(request.id.text()), "CapEff"), "0000000000000000");
    jails.end_all();
    for (const auto& [request, beginning] : all)
        EXPECT_FALSE(jail::remove(request).value());
    EXPECT_THAT(entries(jails.of_program()), IsEmpty());
}

TEST(JailLauncher, ACgroupHoldsTheJail) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    Request request = jails.request();
    request.cgroup = {.parent = own_parent(), .settings = some_setting()};
    if (request.cgroup.settings.empty())
        GTEST_SKIP() << "NOT TESTED: this host has no controller of pids";
    const auto cgroup = cgroups_of(request, *Hierarchies::of_this_host()).value().front();
    if (const auto made = make(cgroup); !made)
        GTEST_SKIP() << "NOT TESTED: " << made.error().message;
    ASSERT_EQ(jails.start(request), "");
    EXPECT_EQ(read_file(cgroup.path() + "/cgroup.procs"), fmt::format("{}\n", jails.pid_of()));
    EXPECT_EQ(read_file(cgroup.path() + "/pids.max"), "500\n");
    Request other = jails.request("vm2");
    other.cgroup = {.parent = own_parent(), .settings = {*CgroupSetting::parse("pids.nonsense=1")}};
    EXPECT_THAT(jails.start(other), HasSubstr("there is no pids.nonsense"));
    EXPECT_FALSE(jail::remove(other).value());
    jails.end_all();
    EXPECT_FALSE(jail::remove(request).value());
    EXPECT_FALSE(fs::exists(cgroup.path()));
    remove_parents(request);
}

} // namespace
} // namespace aerate::jail
