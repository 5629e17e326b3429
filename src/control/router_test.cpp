#include "control/router.hpp"

#include <gtest/gtest.h>

namespace aerate::control {
namespace {

using namespace literals;

template <typename T>
std::optional<T> routed(std::string_view method, std::string_view target, std::string_view body = "") {
    auto request = route(method, target, body);
    if (!request || !std::holds_alternative<T>(*request))
        return std::nullopt;
    return std::get<T>(*std::move(request));
}

Failure failure(std::string_view method, std::string_view target, std::string_view body = "") {
    auto request = route(method, target, body);
    return request ? Failure{0, "accepted"} : request.error();
}

TEST(Router, RoutesWithoutABody) {
    EXPECT_TRUE(routed<GetInstance>("GET", "/"));
    EXPECT_TRUE(routed<GetVersion>("GET", "/version"));
    EXPECT_TRUE(routed<GetVmConfig>("GET", "/vm/config"));
    EXPECT_TRUE(routed<GetMachineConfig>("GET", "/machine-config"));
    EXPECT_TRUE(routed<GetBalloon>("GET", "/balloon"));
    EXPECT_TRUE(routed<GetBalloonStatistics>("GET", "/balloon/statistics"));
    EXPECT_TRUE(routed<GetHintingStatus>("GET", "/balloon/hinting/status"));
    EXPECT_TRUE(routed<StopHinting>("PATCH", "/balloon/hinting/stop"));
    EXPECT_TRUE(routed<StopHinting>("PATCH", "/balloon/hinting/stop", "{}"));
    EXPECT_TRUE(routed<GetStatus>("GET", "/aerate/status"));
    EXPECT_TRUE(routed<GetMetrics>("GET", "/metrics"));
    EXPECT_EQ(failure("GET", "/version", R"({"a": 1})").http_status, 400U);
}

TEST(Router, RoutesWithABody) {
    const auto machine =
        routed<PutMachineConfig>("PUT", "/machine-config", R"({"vcpu_count": 3, "mem_size_mib": 256})");
    ASSERT_TRUE(machine);
    EXPECT_EQ(machine->config, (MachineConfig{.vcpu_count = 3, .mem_size = 256_MiB}));

    const auto patch = routed<PatchMachineConfig>("PATCH", "/machine-config", R"({"mem_size_mib": 64})");
    ASSERT_TRUE(patch);
    EXPECT_EQ(updated({.vcpu_count = 7}, patch->update), (MachineConfig{.vcpu_count = 7, .mem_size = 64_MiB}));

    const auto boot =
        routed<PutBootSource>("PUT", "/boot-source", R"({"kernel_image_path": "/k", "boot_args": "quiet"})");
    ASSERT_TRUE(boot);
    EXPECT_EQ(boot->source, (BootSource{.kernel_image_path = "/k", .boot_args = "quiet"}));

    const auto drive =
        routed<PutDrive>("PUT", "/drives/r_1", R"({"drive_id": "r_1", "path_on_host": "/d", "is_root_device": true})");
    ASSERT_TRUE(drive);
    EXPECT_TRUE(drive->drive.is_root_device);

    const auto limited = routed<PatchDrive>(
        "PATCH", "/drives/r_1", R"({"drive_id": "r_1", "rate_limiter": {"ops": {"size": 5, "refill_time": 1000}}})");
    ASSERT_TRUE(limited);
    EXPECT_EQ(limited->update.rate_limiter->ops->size, 5U);
    EXPECT_TRUE(routed<PutEntropy>("PUT", "/entropy", "{}"));
    const auto vsock = routed<PutVsock>("PUT", "/vsock", R"({"vsock_id": "1", "guest_cid": 3, "uds_path": "/v"})");
    ASSERT_TRUE(vsock);
    EXPECT_EQ(vsock->config, (VsockConfig{.guest_cid = 3, .uds_path = "/v", .vsock_id = "1"}));
    EXPECT_TRUE(routed<InstanceStart>("PUT", "/actions", R"({"action_type": "InstanceStart"})"));
    EXPECT_TRUE(routed<SendCtrlAltDel>("PUT", "/actions", R"({"action_type": "SendCtrlAltDel"})"));

    EXPECT_EQ(routed<SetPaused>("PATCH", "/vm", R"({"state": "Paused"})")->paused, true);
    EXPECT_EQ(routed<SetPaused>("PATCH", "/vm", R"({"state": "Resumed"})")->paused, false);

    const auto balloon = routed<PutBalloon>("PUT", "/balloon", R"({"amount_mib": 5, "deflate_on_oom": true})");
    ASSERT_TRUE(balloon);
    EXPECT_EQ(balloon->config, (BalloonConfig{.target = 5_MiB, .deflate_on_oom = true}));
    EXPECT_EQ(routed<PatchBalloon>("PATCH", "/balloon", R"({"amount_mib": 9})")->target, 9_MiB);
    EXPECT_EQ(routed<PatchBalloonStatistics>("PATCH", "/balloon/statistics", R"({"stats_polling_interval_s": 4})")
                  ->polling_interval,
              std::chrono::seconds(4));

    EXPECT_TRUE(routed<StartHinting>("PATCH", "/balloon/hinting/start")->acknowledge_on_stop);
    EXPECT_FALSE(routed<StartHinting>("PATCH", "/balloon/hinting/start", R"({"acknowledge_on_stop": false})")
                     ->acknowledge_on_stop);
    EXPECT_EQ(routed<Stop>("PUT", "/aerate/stop", R"({"how": "kill"})")->how, Stop::How::kill);
    EXPECT_EQ(routed<Stop>("PUT", "/aerate/stop", R"({"how": "power-button"})")->how, Stop::How::power_button);
}

TEST(Router, SnapshotsInFirecrackersWordsAndInOurs) {
    const auto full = routed<TakeSnapshot>("PUT", "/snapshot/create", R"({"snapshot_path": "/s"})");
    ASSERT_TRUE(full);
    EXPECT_TRUE(!full->diff && full->replace && full->quiet);
    EXPECT_TRUE(
        routed<TakeSnapshot>("PUT", "/snapshot/create", R"({"snapshot_path": "/s", "snapshot_type": "Diff"})")->diff);
    EXPECT_EQ(failure("PUT", "/snapshot/create", R"({"snapshot_path": "/s", "snapshot_type": "Half"})").message,
              "snapshot_type: must be one of: Full, Diff");
    EXPECT_EQ(routed<TakeSnapshot>("PUT", "/snapshot/create", R"({"snapshot_path": "/s", "mem_file_path": "/m"})")
                  ->memory_path,
              "/m");
    EXPECT_EQ(routed<TakeSnapshot>("PUT", "/snapshot/create", R"({"snapshot_path": "/s", "mem_file_path": "/s"})")
                  ->memory_path,
              "");

    const auto ours =
        routed<TakeSnapshot>("PUT", "/aerate/snapshot",
                             R"({"snapshot_path": "/s", "diff": true, "track_dirty_pages": true, "sweep": true})");
    ASSERT_TRUE(ours);
    EXPECT_TRUE(ours->diff && ours->track_dirty_pages && ours->sweep && !ours->replace && !ours->quiet);

    for (const auto* name : {"track_dirty_pages", "enable_diff_snapshots"}) {
        const auto load = routed<LoadSnapshot>("PUT", "/snapshot/load",
                                               fmt::format(R"({{"snapshot_path": "/s", "{}": true}})", name));
        ASSERT_TRUE(load) << name;
        EXPECT_TRUE(load->track_dirty_pages) << name;
    }
    const auto load = routed<LoadSnapshot>("PUT", "/snapshot/load", R"({"snapshot_path": "/s"})");
    ASSERT_TRUE(load);
    EXPECT_TRUE(!load->track_dirty_pages && load->prefetch && !load->record_working_set);
    EXPECT_EQ(routed<LoadSnapshot>("PUT", "/snapshot/load", R"({"snapshot_path": "/s", "record_working_set_s": 7})")
                  ->record_working_set,
              std::chrono::seconds(7));
    EXPECT_EQ(failure("PUT", "/snapshot/load", R"({"snapshot_path": "/s", "record_working_set_s": 0})").http_status,
              400U);
    EXPECT_EQ(failure("PUT", "/snapshot/load",
                      R"({"snapshot_path": "/s", "mem_backend": {"backend_type": "Tape", "backend_path": "/s"}})")
                  .message,
              "mem_backend.backend_type: must be one of: File, Uffd");
}

TEST(Router, APageFaultHandlerTakesThePlaceOfTheMemoryFile) {
    const auto load = routed<LoadSnapshot>(
        "PUT", "/snapshot/load",
        R"({"snapshot_path": "/s", "mem_backend": {"backend_type": "Uffd", "backend_path": "/socket"}})");
    ASSERT_TRUE(load);
    EXPECT_EQ(load->fault_handler, "/socket");
    EXPECT_EQ(load->memory_path, "");
    for (const auto* more : {R"("verify": true)", R"("key_path": "/k")", R"("record_working_set_s": 7)"})
        EXPECT_TRUE(
            failure(
                "PUT", "/snapshot/load",
                fmt::format(
                    R"({{"snapshot_path": "/s", {}, "mem_backend": {{"backend_type": "Uffd", "backend_path": "/u"}}}})",
                    more))
                .message.contains("Uffd"))
            << more;
}

TEST(Router, WhatFirecrackerHasAndAerateDoesNotIsRefusedByName) {
    for (const auto& [method, path] : {std::pair("PUT", "/pmem/p"), std::pair("GET", "/hotplug/memory")}) {
        const Failure refused = failure(method, path, method == std::string_view("PUT") ? "{}" : "");
        EXPECT_EQ(refused.http_status, 400U) << path;
        EXPECT_TRUE(refused.message.contains("not supported")) << refused.message;
    }
    EXPECT_EQ(failure("GET", "/mmdsx").http_status, 404U);
}

TEST(Router, APutHasABodyAndAGetHasNone) {
    EXPECT_EQ(failure("PUT", "/entropy", "").http_status, 400U);
    EXPECT_EQ(failure("GET", "/version", "{}").http_status, 400U);
    EXPECT_TRUE(routed<Sweep>("PUT", "/aerate/sweep", ""));
}

TEST(Router, ADriveGetsAnotherPath) {
    const auto patch = routed<PatchDrive>("PATCH", "/drives/a", R"({"drive_id": "a", "path_on_host": "/new"})");
    ASSERT_TRUE(patch);
    EXPECT_EQ(patch->update.path_on_host, "/new");
    EXPECT_EQ(failure("PATCH", "/drives/b", R"({"drive_id": "a"})").message,
              "drive.drive_id: is a, and the path names another");
}

TEST(Router, UnknownPathsAndMethods) {
    for (const auto* path : {"", "//", "/balloon/", "/Balloon", "/balloon?x=1", "/%2e", "/drives", "/aerate"})
        EXPECT_EQ(failure("GET", path).http_status, 404U) << path;
    EXPECT_EQ(failure("DELETE", "/balloon").http_status, 405U);
    EXPECT_EQ(failure("GET", "/drives/x").http_status, 405U);
    EXPECT_EQ(failure("get", "/balloon").http_status, 405U);
}

TEST(Router, H5_BadBodiesAre400WithTheField) {
    EXPECT_EQ(failure("PATCH", "/balloon", "").http_status, 400U);
    EXPECT_EQ(failure("PATCH", "/balloon", R"({"amount_mib": -1})").message.substr(0, 19), "balloon.amount_mib:");
    EXPECT_EQ(failure("PATCH", "/balloon", R"({"amount_mib": 17592186044416})").http_status, 400U);
    EXPECT_EQ(failure("PUT", "/aerate/stop", R"({"how": "softly"})").message,
              "how: must be one of: power-button, kill");
    EXPECT_EQ(failure("PUT", "/aerate/stop", "{}").message, "how: is missing");
    EXPECT_EQ(failure("PATCH", "/vm", R"({"state": ""})").message, "state: must be one of: Paused, Resumed");
    EXPECT_EQ(failure("PATCH", "/vm", R"({"state": "Paused", "force": true})").message, "force: unknown field");
}

TEST(Router, H6_ADriveIsNamedOnce) {
    const std::string_view body = R"({"drive_id": "a", "path_on_host": "/d", "is_root_device": false})";
    EXPECT_EQ(failure("PUT", "/drives/b", body).http_status, 400U);
    EXPECT_EQ(failure("PUT", "/drives/../a", body).http_status, 400U);
    EXPECT_EQ(failure("PUT", "/drives/", body).http_status, 400U);
}

TEST(Router, C6_AMigrationsSizesAreBytes) {
    const auto migrate = [](std::string_view sizes) {
        return routed<Migrate>("PUT", "/aerate/migration", fmt::format(R"({{"destination": "unix:/x"{}}})", sizes));
    };
    const auto bytes = migrate(R"(, "bandwidth_bytes_per_second": 524288, "delta_cache_bytes": 1572865)");
    ASSERT_TRUE(bytes);
    EXPECT_EQ(bytes->bandwidth, 512_KiB);
    EXPECT_EQ(bytes->delta_cache, ByteCount{1572865});
    EXPECT_FALSE(migrate(R"(, "bandwidth_bytes_per_second": 0.5)"));
}

TEST(Router, S2_ASnapshotIsLoadedWithTheFilesThatItsGuestMayHave) {
    const auto load = routed<LoadSnapshot>("PUT", "/snapshot/load",
                                           R"({"snapshot_path": "/s", "drives": [{"drive_id": "rootfs", "path_on_host":
                                           "/d", "is_read_only": true}], "files": ["/images"], "kernel_image_path": "/k",
                                           "vsock_override": {"uds_path": "/v"}})");
    ASSERT_TRUE(load);
    EXPECT_EQ(load->grants, (FileGrants{.drives = {{.drive_id = "rootfs", .path = "/d", .read_only = true}},
                                        .vsock = VsockGrant{.uds_path = "/v"},
                                        .kernel = "/k",
                                        .directories = {"/images"}}));
    for (const char* const wrong :
         {R"({"snapshot_path": "/s", "drives": {}})", R"({"snapshot_path": "/s", "drives": [{"drive_id": "a"}]})",
          R"({"snapshot_path": "/s", "files": "/images"})", R"({"snapshot_path": "/s", "initrd_path": "/i"})",
          R"({"snapshot_path": "/s", "vsock_override": {}})",
          R"({"snapshot_path": "/s", "vsock_override": {"uds_path": "/v", "guest_cid": 4}})"})
        EXPECT_FALSE(route("PUT", "/snapshot/load", wrong)) << wrong;
}

} // namespace
} // namespace aerate::control
