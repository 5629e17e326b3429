// The daemon as its page sees it (web/source.hpp): the Service's answers as JSON, and what is asked of one VM, sent to
// its monitor as its operator's commands are.
//
// On the loop's thread.
#pragma once

#include "event/event_loop.hpp"
#include "host/monitor_link.hpp"
#include "host/service.hpp"
#include "web/source.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace aerate::hostd {

class PageSource final : public web::Source {
public:
    /// A large guest writes its cache back before a squeeze ends.
    static constexpr std::chrono::minutes action_deadline{10};
    static constexpr std::chrono::seconds map_deadline{5};
    /// Things under way for all pages together: each has a connection.
    static constexpr std::size_t under_way_max = 16;

    /// Both outlive this. `directory` is where the monitors' sockets are.
    PageSource(EventLoop& loop, Service& service, std::filesystem::path directory)
        : loop_(loop)
        , service_(service)
        , directory_(std::move(directory)) {}

    [[nodiscard]] const control::HostStatus& status() const override { return service_.status(); }
    [[nodiscard]] std::string history() const override;
    [[nodiscard]] web::Outcome<std::string> decisions(std::string_view vm) const override;
    void map(std::string_view vm, web::Answer<web::MemoryMap>) override;
    void act(std::string_view vm, const web::Action&, web::Answer<std::string>) override;
    [[nodiscard]] Listener on_tick(std::function<void()> f) override { return service_.on_tick(std::move(f)); }

private:
    /// What a monitor answered if that is no error, or why there is nothing.
    using Heard = std::move_only_function<void(web::Outcome<std::string>)>;
    void ask(std::string_view vm, MonitorLink::Question, std::chrono::milliseconds deadline, Heard);
    [[nodiscard]] const control::HostVm* find(std::string_view vm) const;

    EventLoop& loop_;
    Service& service_;
    std::filesystem::path directory_;
    std::uint64_t last_ = 0;
    std::map<std::uint64_t, std::unique_ptr<MonitorLink>> under_way_;
};

} // namespace aerate::hostd
