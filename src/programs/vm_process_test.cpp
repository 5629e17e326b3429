// S4: what the host refuses a process that waits for a guest, and one whose guest comes or goes.
#include "base/testing/refusing_host.hpp"
#include "base/testing/temporary_directory.hpp"
#include "control/client.hpp"
#include "control/runtime_directory.hpp"
#include "kvm/testing/tiny_guest.hpp"
#include "machine/testing/counting_vm.hpp"
#include "programs/vm_process.hpp"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/signalfd.h>

#include <optional>
#include <string>
#include <thread>

namespace aerate {
namespace {

using namespace std::chrono_literals;
using testing::CountingVm;
using testing::RefusingHost;

/// What ends a process, as signals_to_end() would deliver it.
class EndSignal {
public:
    EndSignal() {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
        read_ = FileDescriptor(ends[0]);
        write_ = FileDescriptor(ends[1]);
    }
    void send() const {
        signalfd_siginfo info{};
        info.ssi_signo = SIGTERM;
        EXPECT_EQ(::write(write_.get(), &info, sizeof info), static_cast<ssize_t>(sizeof info));
    }
    [[nodiscard]] const FileDescriptor& fd() const { return read_; }

private:
    FileDescriptor read_;
    FileDescriptor write_;
};

class RefusedReceiver : public testing::WithKvm, public ::testing::WithParamInterface<RefusingHost::For> {
protected:
    RefusedReceiver() { ::setenv("AERATE_RUNTIME_DIR", runtime_.path().c_str(), 1); }
    ~RefusedReceiver() override { ::unsetenv("AERATE_RUNTIME_DIR"); }

    [[nodiscard]] std::string address() const { return "unix:" + vms_.path("socket"); }
    [[nodiscard]] RunOptions options() const {
        return {.config = {},
                .console = "none",
                .receive = ReceiveOptions{.endpoint = *migration::Endpoint::parse(address()),
                                          .address = address(),
                                          .name = "there",
                                          .grants = {.drives = {{.drive_id = "root", .path = vms_.path("disk")}}},
                                          .lease_path = {},
                                          .protection = {},
                                          .max_memory = ByteCount{1U << 30},
                                          .once = true}};
    }
    [[nodiscard]] static std::optional<control::VmState> state_there() {
        const auto status = control::Client(control::socket_path(control::runtime_directory(), "there")).status();
        return status ? std::optional(status->state) : std::nullopt;
    }

    TemporaryDirectory runtime_;
    testing::CountingVms vms_;
};

INSTANTIATE_TEST_SUITE_P(Host, RefusedReceiver, ::testing::Values(RefusingHost::For::once, RefusingHost::For::good),
                         [](const auto& how_long) {
                             return how_long.param == RefusingHost::For::once ? "once" : "for_good";
                         });

TEST_P(RefusedReceiver, S4_receive_is_refused_at_its_start_and_leaves_nothing) {
    const std::size_t descriptors = testing::open_descriptors();
    const std::size_t threads = testing::threads();
    const auto refusals = testing::for_each_refusal(
        GetParam(),
        [this] {
            const EndSignal at_once;
            at_once.send();
            return VmProcess(options(), at_once.fd()).run();
        },
        [&](auto& lived, std::uint64_t n) {
            EXPECT_TRUE(testing::descriptors_fall_to(descriptors)) << n;
            EXPECT_TRUE(testing::threads_fall_to(threads)) << n << (lived ? "" : lived.error().message);
            EXPECT_FALSE(std::filesystem::exists(vms_.path("socket"))) << n;
        });
    EXPECT_GT(refusals, 4U);
}

TEST_P(RefusedReceiver, S4_a_guest_that_comes_runs_on_one_side_whatever_the_host_refuses) {
    std::uint64_t stayed = 0;
    for (std::uint64_t n = 1;; ++n) {
        SCOPED_TRACE(n);
        ASSERT_LT(n, 500U);
        CountingVm vm(vms_.whole_config());
        ASSERT_TRUE(vm.ask(control::InstanceStart{}));
        ASSERT_TRUE(vm.runs());
        const EndSignal end;
        VmProcess there(options(), end.fd());
        std::optional<Result<>> lived;
        std::thread receiver([&] { lived = there.run(); });
        // An answer comes from its loop: what it asks of the host at its start, it has.
        while (state_there() != control::VmState::receiving)
            std::this_thread::yield();
        std::optional<control::Reply> reply;
        bool refused = false;
        {
            const RefusingHost host(n, GetParam());
            reply = vm.reply_to(control::Migrate{.destination = address(), .downtime_limit = 10s, .force = true});
            refused = host.refused();
        }
        const auto* status = std::get_if<control::MigrationStatus>(&*reply);
        const std::string phase = status != nullptr ? status->phase : "stayed";
        EXPECT_NE(phase, "unknown") << status->error;
        if (phase == "moved") {
            EXPECT_EQ(state_there(), control::VmState::running);
        } else {
            ++stayed;
            EXPECT_TRUE(vm.runs());
            EXPECT_NE(state_there(), control::VmState::running) << "two running copies";
            EXPECT_FALSE(status != nullptr && status->error.empty());
        }
        // One whose guest was announced, and did not arrive, ends by itself.
        if (phase == "moved" || state_there() == control::VmState::receiving)
            end.send();
        receiver.join();
        EXPECT_TRUE(lived && *lived);
        if (!refused) {
            EXPECT_EQ(phase, "moved") << (status != nullptr ? status->error : "");
        }
        if (!refused || HasFailure())
            break;
    }
    EXPECT_GT(stayed, 8U);
}

} // namespace
} // namespace aerate
