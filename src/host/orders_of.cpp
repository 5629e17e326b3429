#include "host/orders_of.hpp"

#include <fmt/format.h>

namespace aerate::hostd {
namespace {

using std::chrono::milliseconds;

/// Firecracker's interface takes whole MiB. A target that stays as it was may be anything.
Order set_target(ByteCount target, const Abilities& can) {
    if (can.permits)
        return {Order::Kind::target, "PUT", "/aerate/permit",
                fmt::format(R"({{"target_bytes":{},"for_ms":{}}})", target.value, permit_time.count())};
    return {Order::Kind::target, "PATCH", "/balloon", fmt::format(R"({{"amount_mib":{}}})", target.value >> 20)};
}

Order pause_for(milliseconds time) {
    return {Order::Kind::pause, "PATCH", "/vm", fmt::format(R"({{"state":"Paused","for_ms":{}}})", time.count())};
}

bool due(const std::optional<milliseconds>& last, milliseconds now, milliseconds period) {
    return !last || policy::since(*last, now) >= period;
}

/// An inflation that is under way lapses unless it is permitted again.
bool needs_target(const Pulse& pulse, const policy::Decision& decision, const Abilities& can, const Told& told,
                  milliseconds now) {
    if (decision.target != pulse.target)
        return can.permits || decision.target.value >> 20 != pulse.target.value >> 20;
    return can.permits && pulse.target > pulse.actual && due(told.permitted, now, permit_renewal);
}

/// A pause is ended by asking for one that is over at once: "Resumed" would end an operator's too.
std::optional<Order> pausing(const Pulse& pulse, const policy::Decision& decision, const Abilities& can, Told& told,
                             milliseconds now) {
    const bool stands = pulse.state == control::VmState::paused;
    if (!stands && pulse.state != control::VmState::running && pulse.state != control::VmState::waiting)
        return std::nullopt;
    if (decision.pause && can.pauses && (!stands || told.paused) && (!stands || due(told.paused, now, pause_renewal))) {
        told.paused = now;
        return pause_for(pause_time);
    }
    if (!decision.pause && told.paused) {
        told.paused.reset();
        if (stands)
            return pause_for(milliseconds(1));
    }
    return std::nullopt;
}

} // namespace

std::vector<Order> orders_of(const Pulse& pulse, const policy::Decision& decision, const Abilities& can, Told& told,
                             milliseconds now) {
    std::vector<Order> orders;
    if (needs_target(pulse, decision, can, told, now)) {
        told.permitted = now;
        orders.push_back(set_target(decision.target, can));
    }
    if (auto order = pausing(pulse, decision, can, told, now))
        orders.push_back(*std::move(order));
    return orders;
}

} // namespace aerate::hostd
