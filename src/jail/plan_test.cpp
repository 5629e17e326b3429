// What is decided about a jail before anything is touched: its steps, and its cgroups.
#include "jail/hierarchies.hpp"
#include "jail/steps.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace aerate::jail {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Request request(CgroupRequest cgroup = {}) {
    return {
        .id = *Id::parse("vm1"), .name = *ProgramName::of_path("/usr/bin/firecracker"), .cgroup = std::move(cgroup)};
}

std::vector<CgroupSetting> settings(const std::vector<std::string>& words) {
    std::vector<CgroupSetting> all;
    for (const std::string& word : words)
        all.push_back(*CgroupSetting::parse(word));
    return all;
}

TEST(JailPlan, OnlyWhatWasAskedForIsDone) {
    const auto has = [](const std::vector<Step>& steps, Step step) { return std::ranges::count(steps, step) == 1; };
    const auto plain = plan(request(), Caller::root);
    for (const Step step : {Step::make_cgroup, Step::join_cgroup, Step::join_network, Step::unshare_user,
                            Step::start_process, Step::leave_session})
        EXPECT_FALSE(has(plain, step)) << describe(step);
    EXPECT_EQ(plain.back(), Step::execute);
    Request all = request({.settings = settings({"memory.max=1G"})});
    all.network = Network::named;
    all.daemonize = true;
    EXPECT_EQ(plan(all, Caller::user).size(), static_cast<std::size_t>(last_step) + 1);
    EXPECT_TRUE(has(plan(all, Caller::root), Step::join_cgroup));
}

TEST(JailPlan, WhatALauncherThatIsKilledLeavesIsLocked) {
    Request all = request({.settings = settings({"memory.max=1G"})});
    all.new_pid_namespace = true;
    const auto steps = plan(all, Caller::root);
    const auto at = [&](Step step) { return std::ranges::find(steps, step); };
    EXPECT_LT(at(Step::open_directories), at(Step::make_cgroup));
    EXPECT_LT(at(Step::unshare_others), at(Step::bind_root)); // mounts are never the host's
    EXPECT_LT(at(Step::enter_root), at(Step::give_away));     // nobody else is in there before
    EXPECT_LT(at(Step::drop_privileges), at(Step::execute));
}

constexpr std::string_view hybrid =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "34 31 0:31 / /sys/fs/cgroup/cpu\\040set rw - cgroup cgroup rw,cpuset,clone_children\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
    "50 1 0:32 /docker/x /somewhere rw - cgroup cgroup rw,pids\n"
    "nonsense\n\n - cgroup\n";
constexpr std::string_view modern = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST(JailPlan, FindsTheHostsHierarchies) {
    const auto there = Hierarchies::parse(hybrid);
    EXPECT_EQ(there.unified, "/sys/fs/cgroup/unified");
    EXPECT_EQ(there.v1.size(), 4U);
    EXPECT_EQ(there.v1.at("cpuset"), "/sys/fs/cgroup/cpu set");
    EXPECT_EQ(there.v1.at("cpu"), there.v1.at("cpuacct"));
    EXPECT_EQ(there.usual_version(), CgroupVersion::v1);
    EXPECT_EQ(Hierarchies::parse(modern).usual_version(), CgroupVersion::v2);
    EXPECT_EQ(Hierarchies::parse(modern).unified, "/sys/fs/cgroup");
}

TEST(JailPlan, TheVersionFollowsTheHost) {
    const auto wanted = request({.settings = settings({"memory.max=1G", "pids.max=40", "memory.high=900M"})});
    const auto cgroups = cgroups_of(wanted, Hierarchies::parse(modern)).value();
    ASSERT_EQ(cgroups.size(), 1U);
    EXPECT_EQ(cgroups[0].path(), "/sys/fs/cgroup/firecracker/vm1");
    EXPECT_THAT(cgroups[0].enable, ElementsAre("memory", "pids"));
    EXPECT_EQ(cgroups[0].settings.size(), 3U);
    EXPECT_THAT(cgroups_of(wanted, Hierarchies::parse(hybrid)).error().message, HasSubstr("pids")); // version 1, then
}

TEST(JailPlan, ByVersion1EachHierarchyHasOne) {
    const auto cgroups = cgroups_of(request({.parent = *CgroupPath::parse("all/mine"),
                                             .settings = settings({"cpu.shares=10", "cpuset.cpus=0", "cpuacct.x=1"})}),
                                    Hierarchies::parse(hybrid))
                             .value();
    ASSERT_EQ(cgroups.size(), 2U);
    EXPECT_EQ(cgroups[0].path(), "/sys/fs/cgroup/cpu,cpuacct/all/mine/vm1");
    EXPECT_EQ(cgroups[0].settings.size(), 2U);
    EXPECT_FALSE(cgroups[0].inherits_cpuset);
    EXPECT_TRUE(cgroups[1].inherits_cpuset);
}

TEST(JailPlan, AParentAloneIsJoined) {
    const CgroupRequest alone{.version = CgroupVersion::v2, .parent = *CgroupPath::parse("machine.slice")};
    const auto cgroups = cgroups_of(request(alone), Hierarchies::parse(hybrid)).value();
    EXPECT_EQ(cgroups[0].path(), "/sys/fs/cgroup/unified/machine.slice");
    EXPECT_THAT(cgroups[0].enable, IsEmpty());
    // By version 1 that would be in no hierarchy at all, and Firecracker's takes it and does nothing.
    EXPECT_FALSE(cgroups_of(request({.parent = *CgroupPath::parse("x")}), Hierarchies::parse(hybrid)));
}

TEST(JailPlan, AVersionThatTheHostLacksIsRefused) {
    const auto wanted = settings({"memory.max=1G"});
    EXPECT_FALSE(cgroups_of(request({.version = CgroupVersion::v1, .settings = wanted}), Hierarchies::parse(modern)));
    EXPECT_FALSE(cgroups_of(request({.version = CgroupVersion::v2, .settings = wanted}), Hierarchies{}));
    EXPECT_FALSE(cgroups_of(request({.settings = wanted}), Hierarchies{}));
}

} // namespace
} // namespace aerate::jail
