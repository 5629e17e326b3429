#include "control/configuration.hpp"

#include <gtest/gtest.h>

namespace aerate::control {
namespace {

using namespace literals;

bool refuses(VmConfig& config, VmState state, const Request& request) {
    const VmConfig before = config;
    const auto reply = configure(config, state, request);
    return reply && std::holds_alternative<Failure>(*reply) && config == before;
}
bool done(VmConfig& config, VmState state, const Request& request) {
    const auto reply = configure(config, state, request);
    return reply && std::holds_alternative<Done>(*reply);
}
bool passes(VmConfig& config, VmState state, const Request& request) {
    return !configure(config, state, request);
}

VmConfig startable() {
    VmConfig config;
    config.boot = BootSource{.kernel_image_path = "/k"};
    config.balloon = BalloonConfig{.stats_polling_interval = std::chrono::seconds(1), .free_page_hinting = true};
    return config;
}

TEST(Configuration, BuildsAVmRequestByRequest) {
    VmConfig config;
    EXPECT_TRUE(refuses(config, VmState::not_started, InstanceStart{}));
    EXPECT_TRUE(done(config, VmState::not_started, PutMachineConfig{{.vcpu_count = 2, .mem_size = 256_MiB}}));
    EXPECT_TRUE(done(config, VmState::not_started, PutBootSource{{.kernel_image_path = "/k"}}));
    EXPECT_TRUE(done(config, VmState::not_started, PutDrive{{.drive_id = "a", .path_on_host = "/1"}}));
    EXPECT_TRUE(done(config, VmState::not_started, PutDrive{{.drive_id = "a", .path_on_host = "/2"}}));
    EXPECT_TRUE(done(config, VmState::not_started, PutBalloon{{.target = 8_MiB}}));
    EXPECT_TRUE(done(config, VmState::not_started, PatchBalloon{16_MiB}));
    EXPECT_TRUE(done(config, VmState::not_started, PutEntropy{}));
    ASSERT_EQ(config.drives.size(), 1U);
    const RateLimiterConfig limits{.ops = TokenBucketConfig{.size = 1, .refill_time = std::chrono::milliseconds(1)}};
    EXPECT_TRUE(refuses(config, VmState::not_started, PatchDrive{{.drive_id = "a", .rate_limiter = limits}}));
    EXPECT_TRUE(refuses(config, VmState::running, PatchDrive{{.drive_id = "a"}})) << "nothing would change";
    EXPECT_TRUE(passes(config, VmState::running, PatchDrive{{.drive_id = "a", .path_on_host = "/new"}}));
    EXPECT_TRUE(refuses(config, VmState::running, PatchDrive{{.drive_id = "b", .rate_limiter = limits}}));
    EXPECT_TRUE(passes(config, VmState::running, PatchDrive{{.drive_id = "a", .rate_limiter = limits}}));
    EXPECT_EQ(config.drives[0].path_on_host, "/2");
    EXPECT_EQ(config.balloon->target, 16_MiB);
    EXPECT_TRUE(passes(config, VmState::not_started, InstanceStart{}));
}

TEST(Configuration, TheMemoryPolicyIsSetAtAnyTime) {
    VmConfig config = startable();
    config.machine.mem_size = 256_MiB;
    EXPECT_TRUE(done(config, VmState::not_started, PutMemoryPolicy{{.floor = 64_MiB, .shares = 3}}));
    EXPECT_TRUE(done(config, VmState::running, PutMemoryPolicy{{.floor = 256_MiB}}));
    EXPECT_EQ(config.memory_policy, (MemoryPolicy{.floor = 256_MiB})) << "a PUT says all of it";
    EXPECT_TRUE(refuses(config, VmState::running, PutMemoryPolicy{{.floor = 257_MiB}}));
    EXPECT_TRUE(refuses(config, VmState::not_started, PutMachineConfig{{.mem_size = 128_MiB}})) << "below the floor";
    EXPECT_EQ(with_floor({}, 256_MiB).floor, 64_MiB);
    EXPECT_EQ(with_floor({.floor = 512_MiB}, 256_MiB).floor, 256_MiB);
    EXPECT_EQ(with_floor({}, 6_MiB).floor, 1_MiB) << "whole MiB, as it is printed";
}

TEST(Configuration, APermitNeedsABalloonOfAVmThatRuns) {
    VmConfig config = startable();
    EXPECT_TRUE(refuses(config, VmState::not_started, PutPermit{1_MiB, std::chrono::seconds(1)}));
    EXPECT_TRUE(passes(config, VmState::running, PutPermit{1_MiB, std::chrono::seconds(1)}));
    config.balloon.reset();
    EXPECT_TRUE(refuses(config, VmState::running, PutPermit{1_MiB, std::chrono::seconds(1)}));
}

TEST(Configuration, ADiffNeedsTracking) {
    VmConfig config = startable();
    EXPECT_TRUE(refuses(config, VmState::running, TakeSnapshot{.path = "/s", .diff = true}));
    EXPECT_TRUE(refuses(config, VmState::running, TakeSnapshot{.path = "/s", .diff = true, .track_dirty_pages = true}))
        << "it is too late for that";
    EXPECT_TRUE(passes(config, VmState::running, TakeSnapshot{.path = "/s", .memory_path = "/m", .diff = true}))
        << "in two files it has all that the guest has";
    EXPECT_TRUE(passes(config, VmState::running, TakeSnapshot{.path = "/s", .track_dirty_pages = true}));
    config.machine.track_dirty_pages = true;
    EXPECT_TRUE(passes(config, VmState::running, TakeSnapshot{.path = "/s", .diff = true}));
}

TEST(Configuration, H7_WrongStateIsRefusedWithoutEffect) {
    VmConfig config = startable();
    for (const Request& request : {Request(SetPaused{true}), Request(SendCtrlAltDel{}), Request(StartHinting{}),
                                   Request(GetBalloonStatistics{}), Request(Stop{Stop::How::power_button})})
        EXPECT_TRUE(refuses(config, VmState::not_started, request));
    for (const VmState state : {VmState::running, VmState::paused})
        for (const Request& request :
             {Request(PutMachineConfig{}), Request(PatchMachineConfig{}), Request(PutBootSource{}), Request(PutDrive{}),
              Request(PutEntropy{}), Request(PutBalloon{}), Request(InstanceStart{})})
            EXPECT_TRUE(refuses(config, state, request));
    EXPECT_TRUE(refuses(config, VmState::paused, SendCtrlAltDel{}));
    EXPECT_TRUE(passes(config, VmState::paused, Stop{Stop::How::kill}));
    EXPECT_TRUE(passes(config, VmState::running, StartHinting{}));
    EXPECT_TRUE(passes(config, VmState::running, SetPaused{true}));
}

TEST(Configuration, H7_ABalloonTargetBeyondRamIsRefused) {
    VmConfig config = startable();
    EXPECT_TRUE(refuses(config, VmState::not_started, PatchBalloon{config.machine.mem_size + 1_MiB}));
    EXPECT_TRUE(refuses(config, VmState::running, PatchBalloon{config.machine.mem_size + 1_MiB}));
    EXPECT_TRUE(passes(config, VmState::running, PatchBalloon{config.machine.mem_size}));
    config.balloon->target = 64_MiB;
    EXPECT_TRUE(refuses(config, VmState::not_started, PutMachineConfig{{.mem_size = 32_MiB}}));
}

TEST(Configuration, H7_WhatWasNotConfiguredIsRefused) {
    VmConfig config = startable();
    EXPECT_TRUE(refuses(config, VmState::running, PatchBalloonStatistics{std::chrono::seconds(0)}));
    EXPECT_TRUE(passes(config, VmState::running, PatchBalloonStatistics{std::chrono::seconds(2)}));
    config.balloon->stats_polling_interval = {};
    config.balloon->free_page_hinting = false;
    EXPECT_TRUE(refuses(config, VmState::running, PatchBalloonStatistics{std::chrono::seconds(2)}));
    EXPECT_TRUE(refuses(config, VmState::running, GetBalloonStatistics{}));
    EXPECT_TRUE(refuses(config, VmState::running, StartHinting{}));
    config.balloon.reset();
    for (const Request& request : {Request(GetBalloon{}), Request(PatchBalloon{}), Request(StopHinting{}),
                                   Request(GetHintingStatus{}), Request(PatchBalloonStatistics{})})
        EXPECT_TRUE(refuses(config, VmState::running, request));
}

TEST(Configuration, C7_TheRootDeviceComesFirstWhateverTheOrder) {
    VmConfig config = startable();
    config.boot->boot_args = "quiet";
    EXPECT_TRUE(done(config, VmState::not_started, PutDrive{{.drive_id = "data", .path_on_host = "/d"}}));
    EXPECT_EQ(kernel_command_line(config), "quiet");
    EXPECT_TRUE(done(config, VmState::not_started,
                     PutDrive{{.drive_id = "root", .path_on_host = "/r", .is_root_device = true}}));
    EXPECT_EQ(config.drives.at(0).drive_id, "root");
    EXPECT_EQ(kernel_command_line(config), "quiet root=/dev/vda rw");
    EXPECT_EQ(config.boot->boot_args, "quiet") << "what was asked is shown as it was asked";
    EXPECT_TRUE(
        done(config, VmState::not_started,
             PutDrive{{.drive_id = "root", .path_on_host = "/r", .is_root_device = true, .is_read_only = true}}));
    EXPECT_EQ(kernel_command_line(config), "quiet root=/dev/vda ro");
    for (const auto* given : {"root=/dev/vdb", "quiet root=PARTUUID=1", "a root=x b"}) {
        config.boot->boot_args = given;
        EXPECT_EQ(kernel_command_line(config), given);
    }
    config.boot->boot_args = "noroot=1";
    EXPECT_EQ(kernel_command_line(config), "noroot=1 root=/dev/vda ro");
    config.boot->boot_args = "";
    EXPECT_EQ(kernel_command_line(config), "root=/dev/vda ro");
}

TEST(Configuration, C8_TheRootDevicesArgumentCountsAsWell) {
    VmConfig config = startable();
    EXPECT_TRUE(done(config, VmState::not_started,
                     PutDrive{{.drive_id = "root", .path_on_host = "/r", .is_root_device = true}}));
    EXPECT_TRUE(refuses(config, VmState::not_started,
                        PutBootSource{{.kernel_image_path = "/k", .boot_args = std::string(2040, 'x')}}));
    EXPECT_TRUE(done(config, VmState::not_started,
                     PutBootSource{{.kernel_image_path = "/k", .boot_args = std::string(2000, 'x')}}));
}

TEST(Configuration, C8_ASnapshotIsLoadedIntoAVmThatWasNotConfigured) {
    VmConfig config{.name = "web1"};
    EXPECT_TRUE(passes(config, VmState::not_started, LoadSnapshot{.path = "/s"}));
    config = default_vm_config();
    EXPECT_TRUE(passes(config, VmState::not_started, LoadSnapshot{.path = "/s"}));
    for (const Request& request : {Request(PutMachineConfig{{.vcpu_count = 2, .mem_size = 256_MiB}}),
                                   Request(PutBootSource{{.kernel_image_path = "/k"}}),
                                   Request(PutDrive{{.drive_id = "a", .path_on_host = "/1"}}),
                                   Request(PutBalloon{{.target = 8_MiB}}), Request(PutEntropy{})}) {
        VmConfig configured{.name = "web1"};
        EXPECT_TRUE(done(configured, VmState::not_started, request));
        EXPECT_TRUE(refuses(configured, VmState::not_started, LoadSnapshot{.path = "/s"}));
    }
}

} // namespace
} // namespace aerate::control
