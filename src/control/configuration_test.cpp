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
    EXPECT_EQ(config.drives[0].path_on_host, "/2");
    EXPECT_EQ(config.balloon->target, 16_MiB);
    EXPECT_TRUE(passes(config, VmState::not_started, InstanceStart{}));
}

TEST(Configuration, ADiffNeedsTracking) {
    VmConfig config = startable();
    EXPECT_TRUE(refuses(config, VmState::running, TakeSnapshot{.path = "/s", .diff = true}));
    EXPECT_TRUE(refuses(config, VmState::running, TakeSnapshot{.path = "/s", .diff = true, .track_dirty_pages = true}))
        << "it is too late for that";
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

} // namespace
} // namespace aerate::control
