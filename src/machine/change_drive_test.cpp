// PATCH /drives of a guest that runs: the image is opened beside the main loop, and then put in place.
#include "base/testing/refusing_host.hpp"
#include "kvm/testing/tiny_guest.hpp"
#include "machine/testing/counting_vm.hpp"

#include <gmock/gmock.h>

#include <chrono>
#include <fstream>
#include <optional>
#include <string>

namespace aerate {
namespace {

using testing::CountingVm;
using ::testing::HasSubstr;
using testing::RefusingHost;

class ChangeDrive : public testing::WithKvm {
protected:
    void SetUp() override {
        testing::WithKvm::SetUp();
        if (IsSkipped())
            return;
        vm_.emplace(vms_.whole_config());
        ASSERT_TRUE(vm_->ask(control::InstanceStart{}));
        ASSERT_TRUE(vm_->runs());
        std::ofstream(path("other")) << std::string(2U << 20, 'y');
    }
    [[nodiscard]] std::string path(const char* name) const { return vms_.path(name); }
    [[nodiscard]] control::Request change() const {
        return control::PatchDrive{{.drive_id = "root", .path_on_host = path("other")}};
    }
    [[nodiscard]] std::string image() { return vm_->machine().files()->disk("root")->path(); }
    [[nodiscard]] const control::Drive& drive() { return vm_->machine().config().drives.front(); }
    /// Asks, and does not let the loop turn.
    void begin_change() {
        vm_->machine().handle(change(), [this](control::Reply reply) { reply_ = std::move(reply); });
        ASSERT_FALSE(reply_);
    }
    [[nodiscard]] std::string refusal() const {
        const auto* const failure = reply_ ? std::get_if<control::Failure>(&*reply_) : nullptr;
        return failure != nullptr ? failure->message : "";
    }

    testing::CountingVms vms_;
    std::optional<CountingVm> vm_;
    std::optional<control::Reply> reply_;
};

TEST_F(ChangeDrive, TheNewImageIsInPlaceAndTheOldOneFree) {
    const auto changed = vm_->ask(change());
    ASSERT_TRUE(changed) << changed.error().message;
    EXPECT_EQ(image(), path("other"));
    EXPECT_EQ(drive().path_on_host, path("other"));
    EXPECT_TRUE(DiskImage::open({.path = path("disk")}));
    EXPECT_FALSE(DiskImage::open({.path = path("other")}));
    EXPECT_TRUE(vm_->runs());
}

// A clone of a large image takes long, and a disk may hang: the main loop opens nothing itself.
TEST_F(ChangeDrive, S4_it_is_opened_on_a_thread_which_the_host_may_refuse) {
    {
        const RefusingHost host(1, RefusingHost::For::good, host::Resource::thread);
        const auto changed = vm_->ask(change());
        ASSERT_FALSE(changed);
        EXPECT_THAT(changed.error().message, HasSubstr("cannot start the thread 'disk'"));
    }
    EXPECT_EQ(image(), path("disk"));
    EXPECT_TRUE(vm_->runs());
    EXPECT_TRUE(vm_->ask(change())) << "it may be tried again";
}

TEST_F(ChangeDrive, C8_one_that_cannot_be_opened_changes_nothing) {
    const auto changed = vm_->ask(control::PatchDrive{{.drive_id = "root", .path_on_host = path("none")}});
    ASSERT_FALSE(changed);
    EXPECT_THAT(changed.error().message, HasSubstr("cannot open disk " + path("none")));
    EXPECT_EQ(image(), path("disk"));
    EXPECT_EQ(drive().path_on_host, path("disk"));
    EXPECT_TRUE(vm_->ask(change()));
}

TEST_F(ChangeDrive, NoCopyBeginsMeanwhile) {
    begin_change();
    std::optional<control::Reply> taken;
    vm_->machine().handle(control::TakeSnapshot{.path = path("snapshot")},
                          [&](control::Reply reply) { taken = std::move(reply); });
    ASSERT_TRUE(taken) << "it is refused at once";
    EXPECT_THAT(std::get<control::Failure>(*taken).message, HasSubstr("a drive is being changed"));
    ASSERT_TRUE(vm_->turn_until([&] { return reply_.has_value(); }));
    EXPECT_EQ(refusal(), "");
    EXPECT_TRUE(vm_->ask(control::TakeSnapshot{.path = path("snapshot")}));
}

TEST_F(ChangeDrive, WhatIsChangedMeanwhileStays) {
    begin_change();
    const control::RateLimiterConfig limits{
        .ops = control::TokenBucketConfig{.size = 1000, .refill_time = std::chrono::milliseconds(1)}};
    std::optional<control::Reply> limited;
    vm_->machine().handle(control::PatchDrive{{.drive_id = "root", .rate_limiter = limits}},
                          [&](control::Reply reply) { limited = std::move(reply); });
    ASSERT_TRUE(limited);
    EXPECT_TRUE(std::holds_alternative<control::Done>(*limited));
    ASSERT_TRUE(vm_->turn_until([&] { return reply_.has_value(); }));
    EXPECT_EQ(refusal(), "");
    EXPECT_EQ(drive().path_on_host, path("other"));
    EXPECT_EQ(drive().rate_limiter, limits);
}

TEST_F(ChangeDrive, AVmThatEndsMeanwhileSaysSoAndWaitsForNobody) {
    begin_change();
    vm_->machine().kill();
    EXPECT_THAT(refusal(), HasSubstr("the VM was ended meanwhile"));
    EXPECT_TRUE(vm_->turn_until([&] { return vm_->ended(); }));
    EXPECT_EQ(image(), path("disk"));
}

// Looking at the files of a PUT has its place before the start: a private drive is cloned for it.
TEST_F(ChangeDrive, APutThatComesTooLateOpensNothing) {
    const RefusingHost host(1, RefusingHost::For::once, host::Resource::descriptor);
    EXPECT_FALSE(vm_->ask(control::PutDrive{{.drive_id = "late", .path_on_host = path("other")}}));
    EXPECT_FALSE(host.refused());
}

} // namespace
} // namespace aerate
