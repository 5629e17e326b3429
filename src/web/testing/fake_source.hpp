// A source of tests: a host with two VMs, and answers that come when the test wants them.
#pragma once

#include "web/source.hpp"

#include <list>
#include <utility>
#include <vector>

namespace aerate::web::testing {

class FakeSource final : public Source {
public:
    FakeSource() {
        status_.now = std::chrono::milliseconds(1'700'000'000'000);
        status_.host.total = ByteCount{16ULL << 30};
        status_.host.available = ByteCount{4ULL << 30};
        for (const char* name : {"db", "web1"})
            status_.vms.push_back({.name = name,
                                   .size = ByteCount{4ULL << 30},
                                   .reason = {"idle_taken", "took 64 MiB that it does not use"}});
    }

    [[nodiscard]] const control::HostStatus& status() const override { return status_; }
    [[nodiscard]] std::string history() const override { return R"({"vms":[]})"; }
    [[nodiscard]] Outcome<std::string> decisions(std::string_view vm) const override {
        if (knows(vm))
            return R"({"decisions":[]})";
        return std::unexpected(control::Failure{404, "there is no VM " + std::string(vm)});
    }
    void map(std::string_view vm, Answer<MemoryMap> answer) override {
        if (knows(vm))
            answer(MemoryMap{ByteCount{4 << 20}, "rrb."});
        else
            answer(std::unexpected(control::Failure{404, "there is no such VM"}));
    }
    void act(std::string_view vm, const Action& action, Answer<std::string> answer) override {
        acts_.emplace_back(std::string(vm), action);
        if (keep_)
            kept_.push_back(std::move(answer));
        else if (!drop_)
            answer("done with " + std::string(vm));
    }
    [[nodiscard]] Listener on_tick(std::function<void()> f) override {
        auto listener = std::make_shared<std::function<void()>>(std::move(f));
        listeners_.push_back(listener);
        return listener;
    }

    void tick() {
        status_.now += std::chrono::seconds(1);
        for (const auto& weak : listeners_)
            if (const auto listener = weak.lock())
                (*listener)();
    }
    [[nodiscard]] bool knows(std::string_view vm) const { return vm == "db" || vm == "web1"; }

    control::HostStatus status_{};
    std::vector<std::pair<std::string, Action>> acts_;
    std::vector<Answer<std::string>> kept_;
    bool keep_ = false;
    bool drop_ = false;

private:
    std::list<std::weak_ptr<std::function<void()>>> listeners_;
};

} // namespace aerate::web::testing
