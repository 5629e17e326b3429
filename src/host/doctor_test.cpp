#include "host/doctor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace aerate::hostd {
namespace {

using namespace std::chrono_literals;
using namespace aerate::literals;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

auto says(const char* text) {
    return Field("what", &Finding::what, HasSubstr(text));
}

HostFacts good_host() {
    return {.reading = {.memory = {.total = 16_GiB, .available = 8_GiB, .swap_total = 1_GiB}, .pressure = Pressure{}},
            .trigger = 500ms};
}
VmFacts good_vm() {
    VmFacts vm;
    vm.status.memory = {.guest_size = 1_GiB, .resident = 300_MiB};
    vm.status.balloon = control::BalloonStatus{
        .driver = true, .statistics = {{"free_memory", (800_MiB).value}, {"disk_caches", 0}}, .statistics_age = 1s};
    vm.backing = Backing::anonymous;
    vm.balloon = control::BalloonConfig{};
    vm.balloon->deflate_on_oom = vm.balloon->free_page_reporting = true;
    vm.balloon->stats_polling_interval = 1s;
    return vm;
}

TEST(Doctor, finds_nothing_where_nothing_is_wrong) {
    EXPECT_THAT(examine(good_host()), IsEmpty());
    VmFacts vm = good_vm();
    vm.status.memory.resident = 250_MiB;
    EXPECT_THAT(examine(vm), IsEmpty());
}

TEST(Doctor, says_what_a_host_lacks_and_what_to_do) {
    HostFacts host = good_host();
    host.daemon = host.unified_cgroups = false;
    host.reading = {.memory = {.total = 16_GiB, .huge_pages = 8_GiB}};
    const auto findings = examine(host);
    EXPECT_THAT(findings, ElementsAre(says("nobody looks"), says("no pressure stall"), says("no swap"),
                                      says("8192 MiB"), says("version 1")));
    for (const Finding& finding : findings)
        EXPECT_FALSE(finding.remedy.empty());
    host = good_host();
    host.trigger = 2000ms;
    EXPECT_THAT(examine(host), ElementsAre(says("2000 ms")));
    host.trigger.reset();
    EXPECT_THAT(examine(host), ElementsAre(says("no pressure trigger")));
}

TEST(Doctor, says_why_a_vm_keeps_its_memory) {
    VmFacts vm = good_vm();
    vm.status.balloon.reset();
    EXPECT_THAT(examine(vm), ElementsAre(says("no balloon")));
    vm = good_vm();
    vm.status.balloon->driver = false;
    EXPECT_THAT(examine(vm), ElementsAre(says("no balloon driver")));
    vm = good_vm();
    vm.backing = Backing::hugetlb;
    vm.balloon->free_page_reporting = vm.balloon->deflate_on_oom = false;
    vm.balloon->stats_polling_interval = 0s;
    vm.status.balloon->statistics.clear();
    EXPECT_THAT(examine(vm), ElementsAre(says("hugetlb"), says("reporting is off"), says("cannot take memory back"),
                                         says("not asked for statistics"), says("says nothing")));
    vm = good_vm();
    vm.status.memory.resident = 900_MiB;
    vm.status.balloon->statistics["disk_caches"] = (200_MiB).value;
    EXPECT_THAT(examine(vm), ElementsAre(says("200 MiB of it are the guest's page cache"), says("676 MiB are free")));
}

} // namespace
} // namespace aerate::hostd
