#include "host/monitor.hpp"

#include "base/log.hpp"

#include <cerrno>

namespace aerate::hostd {
namespace {

using Answer = MonitorLink::Answer;

bool is_success(unsigned status) {
    return status >= 200 && status <= 299;
}
/// Monitors answer 400 for what they do not have on paths of Firecracker's.
bool is_unknown(unsigned status) {
    return status == 400 || status == 404 || status == 405;
}

Result<control::VmStatus> status_in(Result<Answer> answer) {
    const Answer given = TRY(std::move(answer));
    if (!is_success(given.status))
        return fail("it answered with HTTP status {}", given.status);
    return read_status(given.body);
}

} // namespace

Monitor::Monitor(EventLoop& loop, std::string name, const std::string& socket, EventLink::Heard heard)
    : name_(std::move(name))
    , questions_(loop, socket)
    , orders_(loop, socket)
    , events_(loop, socket, std::move(heard)) {}

std::chrono::milliseconds Monitor::pulse_age() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - pulse_at_);
}

void Monitor::look(std::function<void()> done) {
    if (looking_)
        return;
    looking_ = asked_ = true;
    // The status says who it is; a pulse, how it is.
    if (traits_ && has_pulse_)
        ask_pulse(std::move(done));
    else
        ask_status(std::move(done));
}

void Monitor::ask_status(std::function<void()> done) {
    questions_.ask({"GET", "/aerate/status"}, question_deadline, [this, done = std::move(done)](Result<Answer> answer) {
        const auto status = status_in(std::move(answer));
        if (!status)
            return looked(std::unexpected(status.error()), done);
        if (!traits_) {
            traits_ = traits_of(*status);
            if (questions_.peer() > 0)
                traits_->pid = questions_.peer();
            can_.pauses = traits_->whole_vm;
            events_.listen();
            return ask_pulse(done, pulse_of(*status)); // which also says what it can be told
        }
        looked(pulse_of(*status), done);
    });
}

void Monitor::ask_pulse(std::function<void()> done, std::optional<Pulse> otherwise) {
    questions_.ask({"GET", "/aerate/pulse"}, question_deadline,
                   [this, done = std::move(done), otherwise = std::move(otherwise)](Result<Answer> answer) mutable {
                       if (answer && is_unknown(answer->status)) {
                           has_pulse_ = can_.permits = false;
                           return otherwise ? looked(*std::move(otherwise), done) : ask_status(std::move(done));
                       }
                       if (answer && !is_success(answer->status))
                           return looked(fail("it answered with HTTP status {}", answer->status), done);
                       looked(answer ? read_pulse(answer->body) : std::unexpected(std::move(answer).error()), done);
                   });
}

void Monitor::looked(Result<Pulse> pulse, const std::function<void()>& done) {
    looking_ = false;
    gone_ = false;
    if (pulse) {
        answers_ = true;
        pulse_ = *std::move(pulse);
        pulse_at_ = Clock::now();
    } else {
        const int why = pulse.error().system_error;
        gone_ = why == ECONNREFUSED || why == ENOENT;
        if (answers_ && !gone_)
            log::warning("host: the monitor of {} does not answer as it should: {}", name_, pulse.error().message);
        answers_ = false;
        // Another process may have its place next time, of another version.
        traits_.reset();
        has_pulse_ = true;
        can_ = {};
        told_ = {};
    }
    done();
}

void Monitor::carry_out(const policy::Decision& decision, std::chrono::milliseconds now) {
    if (!answers() || orders_.busy())
        return;
    for (Order& order : orders_of(*pulse_, decision, can_, told_, now))
        orders_.ask({std::move(order.method), std::move(order.path), std::move(order.body)}, order_deadline,
                    [this, kind = order.kind](Result<Answer> answer) { order_answered(kind, std::move(answer)); });
}

void Monitor::order_answered(Order::Kind kind, Result<Answer> answer) {
    if (answer && is_success(answer->status))
        return;
    if (kind == Order::Kind::pause) {
        told_.paused.reset();
        if (answer && answer->body.find("unknown field") != std::string::npos)
            can_.pauses = false;
    }
    if (kind == Order::Kind::target && answer && answer->status == 404)
        can_.permits = false;
    static log::GuestLogLimit limit;
    if (limit.allow())
        log::warning("host: the monitor of {} did not {}: {}", name_,
                     kind == Order::Kind::pause ? "pause its guest" : "set the balloon's target",
                     answer ? fmt::format("HTTP status {}, {}", answer->status, answer->body.substr(0, 200))
                            : answer.error().message);
}

void Monitor::keep(const control::MemoryPolicy& policy) {
    std::string body = fmt::format(R"({{"memory_shares":{},"memory_priority":{})", policy.shares, policy.priority);
    if (policy.floor)
        body += fmt::format(R"(,"memory_floor_mib":{})", policy.floor->value >> 20);
    // One of an earlier release has no such path; then it counts for as long as the daemon runs.
    orders_.ask({"PUT", "/aerate/memory-policy", body + "}"}, order_deadline, [](Result<Answer>) {});
}

} // namespace aerate::hostd
