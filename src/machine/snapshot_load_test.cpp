// Loading a snapshot over the API: not on the main loop, and given up when nobody waits for it.
#include "base/testing/temporary_directory.hpp"
#include "kvm/testing/tiny_guest.hpp"
#include "machine/snapshot_load.hpp"
#include "machine/testing/counting_vm.hpp"
#include "snapshot/testing/sample.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <variant>

namespace aerate {
namespace {

TEST(SnapshotLoad, C27_TheMainLoopGoesOnWhileASnapshotIsRead) {
    const TemporaryDirectory directory;
    ASSERT_TRUE(snapshot::testing::write_sample(directory / "a"));
    EventLoop loop;
    std::optional<std::string> answer;
    std::unique_ptr<SnapshotLoad> load;
    loop.post([&] {
        auto started = SnapshotLoad::start(loop, {.path = directory / "a", .verify = true}, "vm",
                                           [&](const Result<SnapshotLoad::Loaded>& loaded) {
                                               EXPECT_TRUE(loop.on_loop_thread());
                                               answer = loaded ? "" : loaded.error().message;
                                               load.reset(); // may be
                                               loop.stop();
                                           });
        ASSERT_TRUE(started);
        load = *std::move(started);
        EXPECT_FALSE(answer) << "it is read by another thread, and told later";
    });
    loop.run();
    ASSERT_TRUE(answer);
    EXPECT_NE(*answer, "") << "the sample has no state of a machine";
    EXPECT_EQ(load, nullptr);
}

TEST(SnapshotLoad, C27_OneThatNobodyWaitsForIsGivenUp) {
    const TemporaryDirectory directory;
    ASSERT_TRUE(snapshot::testing::write_sample(directory / "a"));
    EventLoop loop;
    bool told = false;
    loop.post([&] {
        auto started = SnapshotLoad::start(loop, {.path = directory / "a"}, "vm",
                                           [&](const Result<SnapshotLoad::Loaded>&) { told = true; });
        ASSERT_TRUE(started);
        started->reset();
        loop.post([&] { loop.stop(); }); // after what the thread has posted
    });
    loop.run();
    EXPECT_FALSE(told);
}

class LoadingVm : public testing::WithKvm {
protected:
    using CountingVm = testing::CountingVm;

    void SetUp() override {
        WithKvm::SetUp();
        if (IsSkipped())
            return;
        CountingVm vm(vms_.config());
        ASSERT_TRUE(vm.ask(control::InstanceStart{}));
        ASSERT_TRUE(vm.runs());
        ASSERT_TRUE(vm.ask(control::TakeSnapshot{.path = vms_.path("snapshot")}));
        ASSERT_TRUE(fresh_.emplace(control::VmConfig{.name = "restored"}).ask(control::CancelMigration{}));
    }
    [[nodiscard]] control::LoadSnapshot load() const {
        return {.path = vms_.path("snapshot"), .verify = true, .resume = true};
    }
    /// Returns what is answered at once.
    std::string failure_now(const control::Request& request) {
        std::optional<control::Reply> answer;
        fresh_->machine().handle(request, [&](control::Reply reply) { answer = std::move(reply); });
        if (!answer)
            return "no answer";
        const auto* failed = std::get_if<control::Failure>(&*answer);
        return failed != nullptr ? failed->message : "";
    }

    testing::CountingVms vms_;
    std::optional<CountingVm> fresh_;
};

TEST_F(LoadingVm, C27_AnswersWhileItsSnapshotIsRead) {
    std::optional<control::Reply> loaded;
    fresh_->machine().handle(load(), [&](control::Reply reply) { loaded = std::move(reply); });
    EXPECT_EQ(failure_now(control::GetStatus{}), "");
    EXPECT_EQ(failure_now(control::GetInstance{}), "");
    for (const control::Request& request : {control::Request(control::PutEntropy{}), control::Request(load()),
                                            control::Request(control::InstanceStart{})})
        EXPECT_EQ(failure_now(request), "a snapshot is being loaded");
    EXPECT_FALSE(loaded);
    ASSERT_TRUE(fresh_->turn_until([&] { return loaded.has_value(); }));
    EXPECT_TRUE(std::holds_alternative<control::Done>(*loaded));
    EXPECT_TRUE(fresh_->runs());
}

TEST_F(LoadingVm, C27_IsAsItWasWhenTheLoadIsGivenUp) {
    const control::VmConfig before = fresh_->machine().config();
    std::optional<control::Reply> loaded;
    fresh_->machine().handle(load(), [&](control::Reply reply) { loaded = std::move(reply); });
    EXPECT_EQ(failure_now(control::CancelMigration{}), "");
    ASSERT_TRUE(loaded) << "it is not read to its end";
    EXPECT_THAT(std::get<control::Failure>(*loaded).message, ::testing::HasSubstr("cancelled"));
    EXPECT_EQ(fresh_->machine().config(), before);
    EXPECT_EQ(fresh_->status().state, control::VmState::not_started);
    EXPECT_GT(fresh_->status().memory.monitor_overhead.value_or(ByteCount{}).value, 0U);
    EXPECT_TRUE(fresh_->ask(load()));
    EXPECT_TRUE(fresh_->runs());
}

TEST_F(LoadingVm, C27_EndsWhileItsSnapshotIsRead) {
    std::optional<control::Reply> loaded;
    fresh_->machine().handle(load(), [&](control::Reply reply) { loaded = std::move(reply); });
    EXPECT_EQ(failure_now(control::Stop{.how = control::Stop::How::kill}), "");
    EXPECT_TRUE(loaded);
    EXPECT_TRUE(fresh_->ended());
}

TEST_F(LoadingVm, C8_IsAsItWasWhenTheLoadFails) {
    const control::VmConfig before = fresh_->machine().config();
    const std::string copy = vms_.path("damaged");
    std::filesystem::copy_file(vms_.path("snapshot"), copy);
    {
        // The guest counts in the page that is 3 MiB up, wherever that is in the file.
        std::fstream file(copy, std::ios::in | std::ios::out | std::ios::binary);
        const auto size = static_cast<std::streamoff>(std::filesystem::file_size(copy));
        for (std::streamoff at = 0; at < size; at += 4096) {
            file.seekg(at);
            const int first = file.get();
            if (first != 0 && at > 8192) {
                file.seekp(at);
                file.put(static_cast<char>(first ^ 1));
                break;
            }
        }
    }
    control::LoadSnapshot damaged = load();
    damaged.path = copy;
    EXPECT_FALSE(fresh_->ask(damaged));
    EXPECT_EQ(fresh_->machine().config(), before);
    EXPECT_EQ(fresh_->status().state, control::VmState::not_started);
    EXPECT_TRUE(fresh_->ask(load()));
    EXPECT_TRUE(fresh_->runs());
}

} // namespace
} // namespace aerate
