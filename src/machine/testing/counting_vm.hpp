// A whole machine in the test's process, whose guest counts in memory: what is asked of it, and whether it still runs.
#pragma once

#include "base/testing/temporary_directory.hpp"
#include "boot/testing/sample_kernel.hpp"
#include "machine/machine.hpp"
#include "machine/testing/driven_balloon.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace aerate::testing {

/// The machines of a test, and the files that they have.
class CountingVms {
public:
    CountingVms() {
        // The first vCPU counts; others would wait to be woken.
        constexpr std::array<std::uint8_t, 8> program{0xff, 0x05, 0x00, 0x00, 0x30, 0x00, // inc dword [counter]
                                                      0xeb, 0xf8};                        // jmp to it
        auto kernel = sample_elf();
        constexpr std::size_t entry = 0x1000 + sample_entry - sample_segment;
        for (std::size_t i = 0; i < program.size(); ++i)
            kernel[entry + i] = std::byte{program.at(i)};
        std::ofstream(path("kernel"))
            .write(reinterpret_cast<const char*>(kernel.data()), static_cast<std::streamsize>(kernel.size()));
    }
    [[nodiscard]] std::string path(const char* name) const { return directory_ / name; }
    [[nodiscard]] std::size_t files() const { return directory_.files(); }
    [[nodiscard]] control::VmConfig config() const {
        control::VmConfig config{.name = "counting"};
        config.machine.mem_size = ByteCount{16U << 20};
        config.machine.vcpu_count = 2;
        config.boot = control::BootSource{.kernel_image_path = path("kernel")};
        config.balloon = control::BalloonConfig{};
        config.entropy.emplace();
        return config;
    }
    /// With a disk, and hints.
    [[nodiscard]] control::VmConfig whole_config() const {
        control::VmConfig whole = config();
        whole.balloon->free_page_hinting = true;
        whole.balloon->stats_polling_interval = std::chrono::seconds(1);
        std::ofstream(path("disk")) << std::string(1U << 20, 'x');
        whole.drives.push_back({.drive_id = "root", .path_on_host = path("disk")});
        return whole;
    }

private:
    TemporaryDirectory directory_;
};

class CountingVm {
public:
    static constexpr GuestAddress counter{0x300000};

    explicit CountingVm(control::VmConfig config, std::shared_ptr<HostFiles> files = {})
        : machine_(loop_, std::move(config),
                   {.console = {},
                    .files = std::move(files),
                    .ended = [this](Outcome) { ended_ = true; },
                    .assembled = [this](Hardware& hardware) { hardware_ = &hardware; }}) {
        EXPECT_TRUE(loop_.prepare());
    }
    CountingVm(const CountingVm&) = delete;
    CountingVm& operator=(const CountingVm&) = delete;
    ~CountingVm() {
        driver_.reset();
        machine_.kill();
        turn_until([this] { return ended_; });
    }

    control::Reply reply_to(const control::Request& request) {
        std::optional<control::Reply> answer;
        machine_.handle(request, [&](control::Reply reply) { answer = std::move(reply); });
        if (!turn_until([&] { return answer.has_value(); }))
            return control::Failure{500, "no answer"};
        return *std::move(answer);
    }
    Result<> ask(const control::Request& request) {
        const control::Reply reply = reply_to(request);
        if (const auto* failure = std::get_if<control::Failure>(&reply))
            return fail("{}", failure->message);
        return {};
    }

    [[nodiscard]] bool runs() {
        const auto before = count();
        return turn_until([&] { return count() != before; });
    }
    /// The guest gets a balloon driver, and memory that it does not use.
    void drive_balloon() {
        driver_.emplace(*hardware_, PageRange{frame_of(GuestAddress{8U << 20}), whole_pages_of(ByteCount{8U << 20})});
    }
    Result<> begin_again() {
        machine_.begin_again();
        const auto state = status();
        return state.state == control::VmState::running ? Result<>() : fail("{}", state.reason);
    }
    control::VmStatus status() {
        const control::Reply reply = reply_to(control::GetStatus{});
        const auto* status = std::get_if<control::VmStatus>(&reply);
        EXPECT_NE(status, nullptr);
        return status != nullptr ? *status : control::VmStatus{};
    }
    [[nodiscard]] Machine& machine() { return machine_; }
    [[nodiscard]] Hardware& hardware() { return *hardware_; }
    [[nodiscard]] EventLoop& loop() { return loop_; }
    [[nodiscard]] bool ended() const { return ended_; }
    [[nodiscard]] std::optional<std::uint32_t> count() const { return hardware_->memory.load<std::uint32_t>(counter); }

    template <typename Condition>
    bool turn_until(Condition condition) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
        const Subscription look = loop_.every(std::chrono::milliseconds(1), [&] {
            if (driver_)
                driver_->step();
            if (condition() || std::chrono::steady_clock::now() > until)
                loop_.stop();
        });
        loop_.run();
        return condition();
    }

private:
    EventLoop loop_;
    Hardware* hardware_ = nullptr;
    bool ended_ = false;
    Machine machine_;
    std::optional<DrivenBalloon> driver_;
};

} // namespace aerate::testing
