// One operation at a time, and what its caller is told, with a guest that is only memory.
#include "base/testing/temporary_directory.hpp"
#include "machine/operations.hpp"
#include "migration/testing/fake_guest.hpp"

#include <gmock/gmock.h>

#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace aerate {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Its vCPUs do not run.
class NoVcpus final : public DirtyLog {
public:
    void take(PageBitmap&) override {}
    Result<> start() override { return {}; }
    Result<> stop() override { return {}; }
};

/// What became of a guest that is gone when it can be asked.
struct Fate {
    int run_ons = 0;
    int gones = 0;
};

class Guest final : public migration::testing::FakeSource {
public:
    explicit Guest(Fate& fate)
        : fate_(fate) {}
    ~Guest() override { fate_ = {run_ons, gones}; }

private:
    Fate& fate_;
};

/// Accepts connections, and says nothing.
class SilentPeer {
public:
    explicit SilentPeer(const std::string& path)
        : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
        std::strncpy(static_cast<char*>(address.sun_path), path.c_str(), sizeof address.sun_path - 1);
        CHECK(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
        CHECK(::listen(fd_.get(), 1) == 0);
    }

private:
    FileDescriptor fd_;
};

class OneOperation : public ::testing::Test {
protected:
    Operations::MakeGuest make_guest() {
        return [this](LiveGuest::Purpose purpose) {
            purposes.push_back(purpose);
            auto guest = std::make_unique<Guest>(fate);
            guest->fail_freeze = fail_freeze;
            guest->fail_save = fail_save;
            return guest;
        };
    }
    control::Server::Answer answer() {
        return [this](control::Reply given) {
            reply = std::move(given);
            EXPECT_THAT(operations.busy(), IsEmpty()) << "whoever is answered can ask for the next";
        };
    }
    void run_until_idle() {
        const Subscription limit = loop.after(20s, [this] {
            ADD_FAILURE() << operations.busy() << " does not end";
            loop.stop();
        });
        loop.run();
    }
    [[nodiscard]] std::string failure() const {
        const auto* failed = std::get_if<control::Failure>(&reply);
        return failed ? failed->message : "";
    }
    [[nodiscard]] control::TakeSnapshot snapshot() const { return {.path = directory / "snapshot"}; }
    [[nodiscard]] Result<OutgoingMigration> outgoing() const {
        return OutgoingMigration::plan({.destination = "unix:" + (directory / "socket")}, ByteCount{4U << 20});
    }

    TemporaryDirectory directory;
    EventLoop loop;
    GuestMemory memory = GuestMemory::create({.regions = {{{0}, {2U << 20}}}}).value();
    DirtyTracker tracker{memory, std::make_unique<NoVcpus>()};
    DiffBases base{tracker};
    Fate fate;
    bool fail_freeze = false;
    bool fail_save = false;
    std::vector<LiveGuest::Purpose> purposes;
    control::Reply reply = control::Done{};
    Operations operations{loop, make_guest(), [this] { loop.stop(); }};
};

TEST_F(OneOperation, ASnapshotIsAnsweredWhenItIsThereAndTheGuestRuns) {
    operations.announce();
    operations.snapshot(base, snapshot(), answer());
    EXPECT_EQ(operations.busy(), "a snapshot");
    run_until_idle();
    EXPECT_TRUE(std::holds_alternative<control::SnapshotStatus>(reply)) << failure();
    EXPECT_TRUE(std::filesystem::exists(snapshot().path));
    EXPECT_EQ(fate.run_ons, 1);
    EXPECT_EQ(purposes, std::vector{LiveGuest::Purpose::copy});
}

TEST_F(OneOperation, C3_ASnapshotOfAGuestThatDoesNotComeToRestLeavesNothing) {
    fail_freeze = true;
    operations.announce();
    operations.snapshot(base, snapshot(), answer());
    run_until_idle();
    EXPECT_THAT(failure(), HasSubstr("a disk does not come to rest"));
    EXPECT_FALSE(std::filesystem::exists(snapshot().path));
    EXPECT_EQ(fate.run_ons, 1);
    EXPECT_EQ(fate.gones, 0);
    fail_freeze = false;
    operations.announce();
    operations.snapshot(base, snapshot(), answer());
    run_until_idle();
    EXPECT_TRUE(std::holds_alternative<control::SnapshotStatus>(reply)) << "and the next one works: " << failure();
}

TEST_F(OneOperation, C3_ACancelledSnapshotLeavesNothing) {
    operations.announce();
    operations.snapshot(base, snapshot(), answer());
    operations.cancel();
    run_until_idle();
    EXPECT_THAT(failure(), HasSubstr("cancelled"));
    EXPECT_FALSE(std::filesystem::exists(snapshot().path));
    EXPECT_EQ(fate.run_ons, 1);
}

TEST_F(OneOperation, C27_ASnapshotThatTheGuestsResetEndsSaysSo) {
    operations.announce();
    operations.snapshot(base, snapshot(), answer());
    operations.cancel("the guest has reset itself meanwhile");
    run_until_idle();
    EXPECT_EQ(failure(), "the guest has reset itself meanwhile");
    operations.announce();
    operations.snapshot(base, snapshot(), answer());
    operations.cancel();
    run_until_idle();
    EXPECT_THAT(failure(), HasSubstr("cancelled")) << "that was another one";
}

TEST_F(OneOperation, C27_AMoveThatTheGuestsResetEndsSaysSo) {
    const SilentPeer peer(directory / "socket");
    for (const char* why : {"the guest has reset itself meanwhile", ""}) {
        auto planned = outgoing();
        ASSERT_TRUE(planned) << planned.error().message;
        operations.announce();
        operations.migrate(std::move(*planned), answer());
        EXPECT_EQ(operations.busy(), "a migration");
        operations.cancel(why);
        run_until_idle();
        const auto* status = std::get_if<control::MigrationStatus>(&reply);
        ASSERT_NE(status, nullptr) << failure();
        EXPECT_EQ(status->phase, "stayed");
        EXPECT_THAT(status->error, HasSubstr(*why != '\0' ? why : "cancelled"));
        EXPECT_EQ(operations.migration().error, status->error) << "and so does whoever asks later";
        EXPECT_EQ(fate.gones, 0);
    }
}

} // namespace
} // namespace aerate
