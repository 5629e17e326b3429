// What "aerate host" can be asked, by whatever carries it: its own socket (routes.hpp) and the page (web/).
//
// All of it on the daemon's loop, and answered at once from what the last tick found: no question makes a monitor work.
#pragma once

#include "base/error.hpp"
#include "control/request.hpp"
#include "host/answers.hpp"

#include <expected>
#include <functional>
#include <memory>
#include <string_view>

namespace aerate::hostd {

class Service {
public:
    virtual ~Service() = default;

    /// Stays as it is until the next tick.
    [[nodiscard]] virtual const control::HostStatus& status() const = 0;
    [[nodiscard]] virtual History history() const = 0;
    /// `name` need not be a valid one. Fails with 404 if there is no such VM.
    [[nodiscard]] virtual std::expected<Decisions, control::Failure> decisions(std::string_view name) const = 0;
    /// Counts from the next tick on. Fails with 404, or with 400 if the floor is above the VM's size.
    [[nodiscard]] virtual std::expected<control::Done, control::Failure> change(std::string_view name,
                                                                                const PolicyChange&) = 0;
    [[nodiscard]] virtual AdmissionAnswer admit(const AdmissionQuestion&) = 0;

    /// Has `f` called after each tick for as long as what is returned lives. `f` may end that, or any other listener's,
    /// and asks nothing of this that changes it.
    using Listener = std::shared_ptr<void>;
    [[nodiscard]] virtual Listener on_tick(std::function<void()> f) = 0;
};

} // namespace aerate::hostd
