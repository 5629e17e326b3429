// Monitors of tests: real sockets and HTTP as control::Server makes it, with answers that a test chooses.
#pragma once

#include "base/testing/temporary_directory.hpp"
#include "base/unix_listener.hpp"
#include "control/runtime_directory.hpp"
#include "control/server.hpp"
#include "event/event_loop.hpp"
#include "host/daemon.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace aerate::hostd::testing {

/// A VM of one GiB that does what its monitor is told, at once.
struct FakeMonitor {
    std::string state = "Running";
    std::uint64_t target = 0;
    std::uint64_t actual = 0;
    std::uint64_t resident = 900ULL << 20;
    std::uint64_t free = 600ULL << 20;
    unsigned vcpus = 1;
    bool modern = true;                  ///< it has pulses, permits, and pauses that end
    std::optional<std::string> nonsense; ///< that it says to everything
    std::vector<std::string> heard;      ///< what changes something
    int asked = 0;
    std::optional<control::Server> server{};

    control::HttpReply answer(std::string_view method, std::string_view target_path, std::string_view body) {
        if (nonsense)
            return {200, "application/json", *nonsense};
        if (method == "GET") {
            ++asked;
            if (target_path == "/aerate/status")
                return {200, "application/json", status()};
            if (target_path == "/aerate/pulse" && modern)
                return {200, "application/json", pulse()};
            return {404, "application/json", R"({"fault_message":"no such path"})"};
        }
        heard.push_back(fmt::format("{} {} {}", method, target_path, body));
        if (target_path == "/vm") {
            if (!modern)
                return {400, "application/json", R"({"fault_message":"for_ms: unknown field"})"};
            state = body.find("\"for_ms\":1}") == body.npos ? "Paused" : "Running";
        } else if (target_path == "/aerate/permit" && modern) {
            target = actual = number_in(body);
        } else if (target_path == "/balloon") {
            target = actual = number_in(body) << 20;
        }
        return {204, "", ""};
    }

private:
    static std::uint64_t number_in(std::string_view body) {
        return std::stoull(std::string(body.substr(body.find(':') + 1)));
    }
    [[nodiscard]] std::string statistics() const {
        const std::uint64_t now = free > actual ? free - actual : 0;
        return fmt::format(
            R"("statistics":{{"free_memory":{},"available_memory":{},"disk_caches":0}},"statistics_age_ms":10)", now,
            now);
    }
    [[nodiscard]] std::string pulse() const {
        return fmt::format(
            R"({{"state":"{}","size_bytes":{},"target_bytes":{},"actual_bytes":{},"resident_bytes":{},{}}})", state,
            1ULL << 30, target, actual, resident, statistics());
    }
    [[nodiscard]] std::string status() const {
        return fmt::format(
            R"({{"name":"x","pid":1,"state":"{}","vcpu_count":{},"memory":{{"guest_size_bytes":{},)"
            R"("resident_bytes":{}}},"balloon":{{"target_bytes":{},"actual_bytes":{},"driver":true,{}}}}})",
            state, vcpus, 1ULL << 30, resident, target, actual, statistics());
    }
};

/// A host with monitors, and a daemon that looks after them, all on the test's own loop.
class HostTest : public ::testing::Test {
protected:
    HostTest() {
        EXPECT_TRUE(loop.prepare());
        EXPECT_TRUE(control::secure_directory(directory()));
        set_available(8ULL << 30);
    }
    std::filesystem::path directory() const { return parent.path() / "run"; }
    std::string socket(const std::string& name) const { return control::socket_path(directory(), name).string(); }

    FakeMonitor& add(const std::string& name) {
        auto& monitor = monitors[name];
        monitor = std::make_unique<FakeMonitor>();
        serve(name);
        return *monitor;
    }
    void serve(const std::string& name) {
        auto server = control::Server::create(
            loop, socket(name),
            control::Server::Routes([monitor = monitors.at(name).get()](
                                        std::string_view method, std::string_view target, std::string_view body) {
                return monitor->answer(method, target, body);
            }));
        ASSERT_TRUE(server) << server.error().message;
        monitors.at(name)->server.emplace(*std::move(server));
    }
    void set_available(std::uint64_t bytes) {
        reading = {.memory = {.total = {16ULL << 30}, .available = {bytes}}, .pressure = Pressure{}};
    }
    void start(Configuration configuration = {}) {
        auto started = Daemon::start(loop, {.configuration = std::move(configuration),
                                            .directory = directory(),
                                            .read_host = [this]() -> Result<HostReading> { return reading; }});
        ASSERT_TRUE(started) << started.error().message;
        daemon = *std::move(started);
        ticking = daemon->on_tick([this] {
            ++ticks;
            if (wanted && wanted()) {
                wanted = nullptr;
                loop.stop();
            }
        });
    }
    /// Runs until a tick after which `done` holds.
    bool ticks_until(std::function<bool()> done, std::chrono::milliseconds limit = std::chrono::seconds(20)) {
        bool late = false;
        wanted = std::move(done);
        const Subscription end = loop.after(limit, [&] {
            late = true;
            loop.stop();
        });
        loop.run();
        return !late;
    }
    const control::HostVm* vm(std::string_view name) const {
        for (const auto& shown : daemon->status().vms)
            if (shown.name == name)
                return &shown;
        return nullptr;
    }

    TemporaryDirectory parent;
    EventLoop loop;
    HostReading reading;
    std::map<std::string, std::unique_ptr<FakeMonitor>> monitors;
    std::unique_ptr<Daemon> daemon;
    Service::Listener ticking;
    std::function<bool()> wanted;
    int ticks = 0;
};

} // namespace aerate::hostd::testing
