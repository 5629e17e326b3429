// S4: the host refuses the n-th thread, descriptor, watch, mapping or piece of memory, for every n, while a VM is
// started, saved and restored. The answer is an error, nothing is left behind, and a guest that ran runs on.
#include "base/testing/refusing_host.hpp"
#include "kvm/testing/tiny_guest.hpp"
#include "machine/testing/counting_vm.hpp"

#include <gmock/gmock.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

namespace aerate {
namespace {

using namespace std::chrono_literals;
using testing::CountingVm;
using testing::RefusingHost;

class RefusedVm : public testing::WithKvm, public ::testing::WithParamInterface<RefusingHost::For> {
protected:
    [[nodiscard]] std::string path(const char* name) const { return vms_.path(name); }
    [[nodiscard]] std::size_t files() const { return vms_.files(); }
    [[nodiscard]] control::VmConfig config() const { return vms_.config(); }
    [[nodiscard]] control::VmConfig whole_config() const { return vms_.whole_config(); }
    template <typename Begin>
    void refuse_each_beginning(const control::VmConfig&, Begin);

private:
    testing::CountingVms vms_;
};

INSTANTIATE_TEST_SUITE_P(Host, RefusedVm, ::testing::Values(RefusingHost::For::once, RefusingHost::For::good),
                         [](const auto& how_long) {
                             return how_long.param == RefusingHost::For::once ? "once" : "for_good";
                         });

/// Each attempt has a VM of its own, since one that began without what was refused cannot begin again.
template <typename Begin>
void RefusedVm::refuse_each_beginning(const control::VmConfig& config, Begin begin) {
    std::optional<CountingVm> vm;
    std::size_t descriptors = 0;
    std::size_t threads = 0;
    const auto make = [&] {
        vm.reset();
        vm.emplace(config);
        descriptors = testing::open_descriptors();
        threads = testing::threads();
    };
    make();
    const auto refusals = testing::for_each_refusal(
        GetParam(), [&] { return begin(*vm); },
        [&](auto& begun, std::uint64_t n) {
            if (begun) {
                EXPECT_TRUE(vm->runs()) << n;
                return make();
            }
            EXPECT_TRUE(testing::descriptors_fall_to(descriptors)) << n << ": " << begun.error().message;
            EXPECT_TRUE(testing::threads_fall_to(threads)) << n << ": " << begun.error().message;
        });
    EXPECT_GT(refusals, 10U);
    EXPECT_TRUE(vm->runs());
}

TEST_P(RefusedVm, S4_start_is_refused_and_leaves_nothing) {
    refuse_each_beginning(config(), [](CountingVm& vm) { return vm.ask(control::InstanceStart{}); });
}

TEST_P(RefusedVm, S4_snapshot_is_refused_and_the_guest_runs_on) {
    CountingVm vm(config());
    ASSERT_TRUE(vm.ask(control::InstanceStart{}));
    ASSERT_TRUE(vm.runs()) << "KVM starts a thread of its own with the first vCPU";
    const std::size_t descriptors = testing::open_descriptors();
    const std::size_t threads = testing::threads();
    const std::size_t before = files();
    for (const bool track : {false, true}) {
        const auto refusals = testing::for_each_refusal(
            GetParam(),
            [&] {
                return vm.ask(
                    control::TakeSnapshot{.path = path("snapshot"), .track_dirty_pages = track, .replace = true});
            },
            [&](auto& taken, std::uint64_t n) {
                EXPECT_TRUE(testing::descriptors_fall_to(descriptors)) << n;
                EXPECT_TRUE(testing::threads_fall_to(threads)) << n;
                EXPECT_TRUE(vm.runs()) << n << ": " << (taken ? "taken" : taken.error().message);
                EXPECT_LE(files(), before + 1) << n;
            });
        EXPECT_GT(refusals, 3U);
        EXPECT_EQ(files(), before + 1);
    }
}

TEST_P(RefusedVm, S4_sweep_is_refused_and_the_guest_runs_on) {
    CountingVm vm(whole_config());
    ASSERT_TRUE(vm.ask(control::InstanceStart{}));
    vm.drive_balloon();
    ASSERT_TRUE(vm.runs());
    ASSERT_TRUE(vm.ask(control::Sweep{}));
    const std::size_t descriptors = testing::open_descriptors();
    const std::size_t threads = testing::threads();
    // A copy sweeps first, and asks for hints of its own.
    for (const control::Request& request :
         {control::Request(control::Sweep{}),
          control::Request(control::TakeSnapshot{.path = path("swept"), .sweep = true, .replace = true})}) {
        const auto refusals = testing::for_each_refusal(
            GetParam(), [&] { return vm.ask(request); },
            [&](auto& swept, std::uint64_t n) {
                EXPECT_FALSE(!swept && swept.error().message.find("does not answer") != std::string::npos)
                    << n << ": the guest was held, and its balloon does not hear it any more";
                EXPECT_TRUE(testing::descriptors_fall_to(descriptors)) << n;
                EXPECT_TRUE(testing::threads_fall_to(threads)) << n;
                EXPECT_EQ(vm.status().state, control::VmState::running);
                EXPECT_TRUE(vm.runs()) << n << ": " << (swept ? "swept" : swept.error().message);
            });
        EXPECT_GT(refusals, 5U);
    }
}

/// The guest resets itself, and the host has no room for its next life.
TEST_P(RefusedVm, S4_reset_is_refused_and_the_vm_stays_and_says_so) {
    const control::VmConfig config = whole_config();
    std::optional<CountingVm> vm;
    const auto make = [&] {
        vm.reset();
        vm.emplace(config, *HostFiles::open(config));
    };
    make();
    const auto refusals = testing::for_each_refusal(
        GetParam(), [&] { return vm->begin_again(); },
        [&](auto& begun, std::uint64_t n) {
            if (!begun) {
                EXPECT_EQ(vm->status().state, control::VmState::crashed) << n;
                EXPECT_THAT(begun.error().message, ::testing::HasSubstr("the guest has reset itself, and")) << n;
                EXPECT_FALSE(vm->ended()) << n;
                for (const control::Request& request :
                     {control::Request(control::SetPaused{.paused = true}), control::Request(control::Sweep{}),
                      control::Request(control::SendCtrlAltDel{}), control::Request(control::SetPaused{}),
                      control::Request(control::TakeSnapshot{.path = path("none")})}) {
                    const auto answer = vm->ask(request);
                    ASSERT_FALSE(answer) << n;
                    EXPECT_THAT(answer.error().message, ::testing::HasSubstr("crashed")) << n;
                }
                EXPECT_FALSE(DiskImage::open({.path = path("disk")})) << "its disks stay its own";
                EXPECT_TRUE(vm->ask(control::Stop{})) << n;
                EXPECT_TRUE(vm->turn_until([&] { return vm->ended(); })) << n;
            } else {
                EXPECT_TRUE(vm->runs()) << n;
            }
            make();
        });
    EXPECT_GT(refusals, 10U);
    EXPECT_TRUE(vm->runs());
}

/// What was written must be on the disk before another host takes the guest over.
TEST_P(RefusedVm, C5_a_disk_that_is_not_synced_keeps_its_guest) {
    CountingVm vm(whole_config());
    ASSERT_TRUE(vm.ask(control::InstanceStart{}));
    ASSERT_TRUE(vm.runs());
    ASSERT_TRUE(vm.ask(control::SetPaused{.paused = true}));
    LiveGuest guest(vm.loop(), vm.hardware(), control::print_vm_config(vm.machine().config()), LiveGuest::Purpose::move,
                    {});
    const auto save = [&]() -> Result<> {
        std::optional<Result<std::vector<std::byte>>> saved;
        guest.save([&](Result<std::vector<std::byte>> state) { saved = std::move(state); });
        EXPECT_TRUE(vm.turn_until([&] { return saved.has_value(); }));
        return *saved ? Result<>() : std::unexpected(saved->error());
    };
    {
        const RefusingHost host(1, GetParam(), host::Resource::disk);
        const auto saved = save();
        ASSERT_FALSE(saved);
        EXPECT_EQ(saved.error().message,
                  "cannot flush what was written to disk " + path("disk") + ": Input/output error");
    }
    const auto other = DiskImage::open({.path = path("disk"), .arriving = true});
    ASSERT_TRUE(other) << other.error().message;
    EXPECT_FALSE(other->arrive()) << "it is not given away";
    EXPECT_TRUE(save());
    EXPECT_TRUE(other->arrive());
}

TEST_P(RefusedVm, C5_a_disk_that_is_not_synced_is_no_snapshot) {
    CountingVm vm(whole_config());
    ASSERT_TRUE(vm.ask(control::InstanceStart{}));
    ASSERT_TRUE(vm.runs());
    for (const bool stop : {false, true}) {
        const control::TakeSnapshot take{.path = path("snapshot"), .stop = stop};
        {
            const RefusingHost host(1, GetParam(), host::Resource::disk);
            const auto taken = vm.ask(take);
            ASSERT_FALSE(taken);
            EXPECT_EQ(taken.error().message,
                      "cannot flush what was written to disk " + path("disk") + ": Input/output error");
        }
        EXPECT_FALSE(std::filesystem::exists(path("snapshot")));
        EXPECT_TRUE(vm.runs()) << "it goes on here, whether it was to end or not";
    }
    EXPECT_TRUE(vm.ask(control::TakeSnapshot{.path = path("snapshot")}));
}

TEST_P(RefusedVm, S4_restore_is_refused_and_leaves_nothing) {
    {
        CountingVm vm(config());
        ASSERT_TRUE(vm.ask(control::InstanceStart{}));
        ASSERT_TRUE(vm.ask(control::TakeSnapshot{.path = path("snapshot")}));
    }
    refuse_each_beginning(control::VmConfig{.name = "restored"}, [this](CountingVm& vm) {
        return vm.ask(control::LoadSnapshot{.path = path("snapshot"), .resume = true, .track_dirty_pages = true});
    });
}

} // namespace
} // namespace aerate
