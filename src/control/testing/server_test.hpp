// A fixture of tests: the API's server, with answers that come when the test wants them.
#pragma once

#include "base/testing/temporary_directory.hpp"
#include "control/runtime_directory.hpp"
#include "control/server.hpp"
#include "control/vm_event.hpp"
#include "event/event_loop.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

namespace aerate::control::testing {

namespace fs = std::filesystem;

/// A server on a loop of its own. Keeps the answers of GET /aerate/status and PATCH /vm back until told otherwise.
class ServerTest : public ::testing::Test {
protected:
    fs::path directory() const { return parent_.path() / "run"; }
    fs::path socket() const { return socket_path(directory(), "web1"); }

    Result<void> start(const ServerLimits& limits = {}) {
        auto server = Server::create(
            loop_, socket(),
            [this](Request request, Server::Answer answer) {
                ++handled_;
                if (std::holds_alternative<GetStatus>(request) || std::holds_alternative<SetPaused>(request))
                    kept_.push_back(std::move(answer));
                else if (const auto* patch = std::get_if<PatchBalloon>(&request))
                    answer(Failure{400, fmt::format("{} bytes", patch->target.value)});
                else if (std::holds_alternative<GetInstance>(request))
                    answer(Instance{"web1", VmState::running});
                else if (std::holds_alternative<GetEvents>(request))
                    answer(EventStream{print_event(StateEvent{VmState::running, ""}), feed_});
                else
                    answer(Done{});
            },
            limits);
        if (!server)
            return std::unexpected(server.error());
        server_.emplace(*std::move(server));
        thread_ = std::jthread([this] { loop_.run(); });
        return {};
    }

    void stop() {
        if (!thread_.joinable())
            return;
        loop_.call([this] {
            kept_.clear();
            server_.reset();
        });
        loop_.stop();
        thread_.join();
    }
    ~ServerTest() override { stop(); }

    TemporaryDirectory parent_;
    EventLoop loop_;
    std::shared_ptr<EventFeed> feed_ = std::make_shared<EventFeed>(); ///< the loop's
    std::optional<Server> server_;
    std::jthread thread_;
    std::vector<Server::Answer> kept_;
    std::atomic<int> handled_ = 0;
};

} // namespace aerate::control::testing
