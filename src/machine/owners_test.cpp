// C26: what belongs to a loop that runs is its thread's alone, and each class says so at its door.
#include "balloon/balloon.hpp"
#include "base/testing/sanitized.hpp"
#include "base/testing/temporary_directory.hpp"
#include "base/testing/temporary_file.hpp"
#include "block/block.hpp"
#include "event/acceptor.hpp"
#include "event/loop_thread.hpp"
#include "machine/freezer.hpp"
#include "machine/machine.hpp"
#include "machine/operations.hpp"
#include "net/net.hpp"
#include "net/testing/fake_back_end.hpp"
#include "platform/console.hpp"
#include "platform/console_socket.hpp"
#include "platform/serial.hpp"
#include "reclaim/idle_memory.hpp"
#include "virtio/mmio_transport.hpp"
#include "virtio/testing/fake_driver.hpp"
#include "vsock/vsock.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>

namespace aerate {
namespace {

class OwnersDeathTest : public ::testing::Test {
protected:
    class NoWrites final : public DirtyLog {
    public:
        Result<void> start() override { return {}; }
        Result<void> stop() override { return {}; }
        void take(PageBitmap&) override {}
    };

    void SetUp() override {
        if (sanitized)
            GTEST_SKIP() << "SKIPPED: a sanitizer's own threads do not survive the fork";
    }
    /// From here on everything is another thread's.
    void run() {
        CHECK(thread_.start());
        loop().call([] {});
    }
    [[nodiscard]] EventLoop& loop() { return thread_.loop(); }

    virtio::testing::FakeDriver fake_;
    LoopThread thread_{"owner"};
    balloon::Balloon balloon_{{}, fake_.memory(), loop()};
    DirtyTracker tracker_{fake_.memory(), std::make_unique<NoWrites>()};
    Sweeper sweeper_{loop(), fake_.memory(), tracker_, balloon_.hinting(), {}};
    Squeezer squeezer_{loop(), fake_.memory(), balloon_};
    IdleMemory idle_memory_{loop(), fake_.memory(), balloon_, sweeper_, squeezer_};
    Freezer freezer_{loop()};
};

#define EXPECT_TURNED_AWAY(statement)                                                                                  \
    EXPECT_DEATH(                                                                                                      \
        {                                                                                                              \
            run();                                                                                                     \
            statement;                                                                                                 \
        },                                                                                                             \
        "owned_here")

TEST_F(OwnersDeathTest, C26_a_balloon_is_its_loops) {
    EXPECT_TURNED_AWAY((void)balloon_.set_target({}));
    EXPECT_TURNED_AWAY((void)balloon_.memory_state());
    EXPECT_TURNED_AWAY(balloon_.statistics().request([](const auto&) {}));
    EXPECT_TURNED_AWAY(balloon_.hinting().stop());
    EXPECT_TURNED_AWAY((void)balloon_.state());
    EXPECT_TURNED_AWAY((void)balloon_.restore(balloon::BalloonState{}));
}

TEST_F(OwnersDeathTest, C26_what_takes_memory_back_is_the_balloons_loops) {
    EXPECT_TURNED_AWAY(sweeper_.cancel(""));
    EXPECT_TURNED_AWAY(squeezer_.cancel(""));
    EXPECT_TURNED_AWAY(idle_memory_.cancel(""));
}

TEST_F(OwnersDeathTest, C26_a_disk_is_its_loops) {
    const TemporaryFile file(1U << 20);
    auto image = DiskImage::open({.path = file.path()});
    ASSERT_TRUE(image);
    const auto disk = *Block::create(loop(), fake_.memory(), std::make_shared<DiskImage>(*std::move(image)), "disk",
                                     {.engine = IoEngineKind::blocking});
    EXPECT_TURNED_AWAY((void)disk->trouble());
    EXPECT_TURNED_AWAY((void)disk->metrics());
}

TEST_F(OwnersDeathTest, C26_a_network_card_is_its_loops) {
    const auto card = *Net::create(loop(), fake_.memory(), {std::make_shared<net::testing::FakeBackEnd>()}, "eth0", {});
    EXPECT_TURNED_AWAY(card->announce());
    EXPECT_TURNED_AWAY(card->change_limits({}, {}));
    EXPECT_TURNED_AWAY((void)card->save());
    EXPECT_TURNED_AWAY((void)card->metrics());
    EXPECT_TURNED_AWAY(card->activate({}));
    EXPECT_TURNED_AWAY(card->reset());
}

TEST_F(OwnersDeathTest, C26_a_vsock_is_its_loops) {
    const TemporaryDirectory directory;
    auto listener = UnixListener::bind(directory / "vsock");
    ASSERT_TRUE(listener);
    const auto vsock =
        *vsock::Vsock::create(loop(), fake_.memory(), std::make_shared<const UnixListener>(*std::move(listener)), {});
    EXPECT_TURNED_AWAY((void)vsock->save());
    EXPECT_TURNED_AWAY((void)vsock->metrics());
    EXPECT_TURNED_AWAY(vsock->activate({}));
    EXPECT_TURNED_AWAY(vsock->reset());
}

TEST_F(OwnersDeathTest, C26_a_serial_ports_line_is_its_loops) {
    const auto serial = *Serial::create(loop(), nullptr);
    EXPECT_TURNED_AWAY((void)serial->receive({}));
    EXPECT_TURNED_AWAY(serial->when_receive_space(nullptr));
}

TEST_F(OwnersDeathTest, C26_what_is_typed_at_a_console_is_its_loops) {
    const auto serial = *Serial::create(loop(), nullptr);
    EXPECT_TURNED_AWAY((void)Console::attach(loop(), *serial, STDIN_FILENO, {}));
}

TEST_F(OwnersDeathTest, C26_a_consoles_socket_is_its_loops) {
    const auto serial = *Serial::create(loop(), nullptr);
    ConsoleSocket console(loop());
    EXPECT_TURNED_AWAY((void)console.listen(-1));
    EXPECT_TURNED_AWAY(console.hang_up());
    EXPECT_TURNED_AWAY(console.connect(*serial));
    EXPECT_TURNED_AWAY(console.disconnect());
    EXPECT_TURNED_AWAY((void)console.write({}));
}

TEST_F(OwnersDeathTest, C26_an_acceptor_is_its_loops) {
    Acceptor acceptor(loop(), -1, [](const FileDescriptor&) {});
    EXPECT_TURNED_AWAY((void)acceptor.start());
    EXPECT_TURNED_AWAY(acceptor.start_later());
}

TEST_F(OwnersDeathTest, C26_a_transport_is_its_devices_loops) {
    const EventFd interrupt = *EventFd::create();
    const auto transport = *virtio::MmioTransport::create(balloon_, fake_.memory(), loop(), interrupt, {});
    EXPECT_TURNED_AWAY((void)transport->has_driver());
    EXPECT_TURNED_AWAY(transport->pause([] {}));
    EXPECT_TURNED_AWAY(transport->resume());
    EXPECT_TURNED_AWAY((void)transport->save());
    EXPECT_TURNED_AWAY((void)transport->restore({}));
    EXPECT_TURNED_AWAY(transport->repeat_interrupt());
}

TEST_F(OwnersDeathTest, C26_a_machine_is_the_main_loops) {
    Machine machine(loop(), {}, {});
    EXPECT_TURNED_AWAY((void)machine.start());
    EXPECT_TURNED_AWAY(machine.begin_again());
    EXPECT_TURNED_AWAY(machine.handle(control::GetStatus{}, [](const control::Reply&) {}));
    EXPECT_TURNED_AWAY((void)machine.arrive({}));
    EXPECT_TURNED_AWAY(machine.go());
    EXPECT_TURNED_AWAY(machine.kill());
}

TEST_F(OwnersDeathTest, C26_copies_are_the_main_loops) {
    Operations operations(loop(), {}, [] {});
    EXPECT_TURNED_AWAY(operations.cancel());
}

TEST_F(OwnersDeathTest, C26_a_freeze_is_its_loops) {
    EXPECT_TURNED_AWAY(freezer_.claim(Freezer::Claimant::pause, [](const Result<>&) {}));
}

} // namespace
} // namespace aerate
