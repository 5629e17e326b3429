#include "daemon/vhost_user_guest.hpp"

#include "base/check.hpp"
#include "base/host.hpp"
#include "base/overloaded.hpp"
#include "control/configuration.hpp"
#include "control/vm_event.hpp"
#include "daemon/threads.hpp"
#include "machine/balloon_report.hpp"
#include "machine/vm_counters.hpp"
#include "reclaim/memory_map.hpp"

#include <fcntl.h>
#include <poll.h>

#include <fstream>
#include <utility>
#include <variant>

namespace aerate {
namespace {

using control::conflict;
using vhost_user::BackEnd;

/// Refuses what only a monitor can do.
control::Failure for_the_monitor(const char* what) {
    return {400, std::string(what) + " is done by the monitor that runs this guest; it has only its balloon here"};
}

/// The hint rule needs to know what was written since the command ID, and the moment at which nothing writes.
control::Failure no_dirty_log() {
    return {400,
            "a sweep needs a dirty log and a way to hold the guest's processors, and vhost-user has neither: a hint "
            "could be of memory that is in use again. Free page reports, the balloon and squeeze give memory back; "
            "hints are only counted"};
}

control::Failure gone() {
    return conflict("the guest is gone: its front-end's connection has ended");
}

control::Failure no_memory_yet() {
    return conflict("the guest's memory is not known yet: its front-end hands it over when the driver starts");
}

/// Returns what this process has resident for itself. Guests' memory is shared.
[[nodiscard]] std::optional<ByteCount> own_resident() {
    std::ifstream file("/proc/self/status");
    if (!file)
        return std::nullopt;
    std::uint64_t total = 0;
    for (std::string word; file >> word;)
        if (std::uint64_t kib = 0; (word == "RssAnon:" || word == "RssFile:") && file >> kib)
            total += kib << 10;
    return ByteCount{total};
}

} // namespace

Result<std::unique_ptr<VhostUserGuest>> VhostUserGuest::create(EventLoop& main_loop, FileDescriptor socket,
                                                               Options options, Ended ended) {
    auto guest = std::unique_ptr<VhostUserGuest>(new VhostUserGuest(main_loop, std::move(options), std::move(ended)));
    guest->connection_ = host::descriptor([&] { return ::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0); });
    if (!guest->connection_.valid())
        return fail_errno("cannot watch the connection");
    TRY(guest->thread_.start());
    guest->serving_ = true;
    TRY(guest->thread_.loop().call([&] { return guest->begin(std::move(socket)); }));
    return guest;
}

VhostUserGuest::VhostUserGuest(EventLoop& main_loop, Options options, Ended ended)
    : main_loop_(main_loop)
    , options_(std::move(options))
    , ended_(std::move(ended))
    , thread_(vhost_user_guest_thread) {}

/// Starts the guest's thread, on which all that touches the guest happens, its device's coming to rest too. So the main
/// loop never waits for what a guest has that thread do, but when the daemon ends.
Result<> VhostUserGuest::begin(FileDescriptor socket) {
    auto replacing = [this] {
        memory_seen_ = true;
        if (squeezer_)
            squeezer_->cancel("the front-end replaces the guest's memory");
        squeezer_.reset();
        care_.reset();
        thread_.loop().post([this] { take_care(); }); // of the balloon that comes then
    };
    auto ended = [this](std::string why) {
        main_loop_.post([this, why = std::move(why), kept = leave(), alive = std::weak_ptr(alive_)]() mutable {
            if (!alive.expired())
                std::exchange(ended_, nullptr)(std::move(why), std::move(kept));
        });
    };
    session_ = TRY(vhost_user::Session::create(thread_.loop(), std::move(socket), options_.back_end,
                                               {.replacing = std::move(replacing), .ended = std::move(ended)},
                                               std::exchange(options_.kept, std::nullopt)));
    take_care();
    silence_ = thread_.loop().after(options_.silence_max, [this] {
        if (session_ && session_->counters().messages == 0)
            session_->hang_up("the front-end has said nothing since it connected");
    });
    return {};
}

vhost_user::KeptState VhostUserGuest::leave() {
    CHECK(thread_.loop().owned_here());
    if (squeezer_)
        squeezer_->cancel("the guest is gone");
    silence_.cancel();
    care_.reset();
    auto kept = session_->back_end().keep();
    session_.reset(); // its balloon answers what the squeezer has asked
    squeezer_.reset();
    return kept;
}

VhostUserGuest::~VhostUserGuest() {
    if (serving_)
        thread_.loop().call([this] {
            if (session_)
                (void)leave();
        });
    thread_.stop();
}

bool VhostUserGuest::hung_up() const {
    pollfd poll{.fd = connection_.get(), .events = POLLRDHUP, .revents = 0};
    return ::poll(&poll, 1, 0) == 1;
}

std::optional<std::chrono::steady_clock::time_point> VhostUserGuest::without_memory_since() const {
    return memory_seen_ ? std::nullopt : std::optional(connected_);
}

void VhostUserGuest::send_away(std::string why) {
    thread_.loop().post([this, why = std::move(why)]() mutable {
        if (session_)
            session_->hang_up(std::move(why));
    });
}

void VhostUserGuest::handle(const control::Request& request, control::Server::Answer answer) {
    using namespace control;
    std::visit(
        Overloaded{
            [&](const PatchBalloon& patch) { set_balloon_target(patch.target, std::move(answer)); },
            [&](const PatchBalloonStatistics& patch) {
                on_guest_thread(std::move(answer), [this, interval = patch.polling_interval](BackEnd& guest) -> Reply {
                    options_.back_end.statistics_interval = interval;
                    guest.set_statistics_interval(interval);
                    return Done{};
                });
            },
            [&](const StartHinting& start) {
                const auto on_stop =
                    start.acknowledge_on_stop ? balloon::OnGuestStop::done : balloon::OnGuestStop::hold;
                on_guest_thread(std::move(answer), [on_stop](BackEnd& guest) -> Reply {
                    guest.counted_hints().clear();
                    if (guest.balloon().hinting().start(guest.counted_hints(), on_stop).value == 0)
                        return conflict("the guest does not take part in hinting: its virtio_balloon driver is not "
                                        "loaded, or did not accept the feature");
                    return Done{};
                });
            },
            [&](const StopHinting&) {
                on_guest_thread(std::move(answer), [](BackEnd& guest) -> Reply {
                    guest.balloon().hinting().done();
                    return Done{};
                });
            },
            [&](const GetHintingStatus&) {
                on_guest_thread(std::move(answer), [](BackEnd& guest) -> Reply {
                    const auto status = guest.balloon().hinting().status();
                    return HintingStatus{status.host_command, status.guest_command};
                });
            },
            [&](const Squeeze& wish) { squeeze(wish.keep, std::move(answer)); },
            [&](const GetBalloonStatistics&) {
                on_guest_thread(std::move(answer), [this](BackEnd& guest) -> Reply {
                    return status(guest).balloon.value_or(BalloonStatus{});
                });
            },
            [&](const GetStatus&) {
                on_guest_thread(std::move(answer), [this](BackEnd& guest) -> Reply { return status(guest); });
            },
            [&](const GetMetrics&) {
                on_guest_thread(std::move(answer), [this](BackEnd& guest) -> Reply { return Metrics{status(guest)}; });
            },
            [&](const GetPulse&) {
                on_guest_thread(std::move(answer), [this](BackEnd& guest) -> Reply { return pulse(guest); });
            },
            [&](const GetEvents&) {
                on_guest_thread(std::move(answer), [this](BackEnd& guest) -> Reply {
                    return EventStream{print_event(StateEvent{state(guest), ""}), events_};
                });
            },
            [&](const GetMemoryMap&) {
                on_guest_thread(std::move(answer), [](BackEnd& guest) -> Reply {
                    if (!guest.has_memory())
                        return no_memory_yet();
                    auto map = memory_map_of(guest.memory(), {.states = &guest.balloon().page_states(),
                                                              .hinted = &guest.counted_hints().pages()});
                    return map ? Reply(MemoryMap{map->cell, std::move(map->cells)})
                               : Reply(Failure{500, std::move(map).error().message});
                });
            },
            [&](const PutMemoryPolicy& put) {
                on_guest_thread(std::move(answer), [this, policy = put.policy](BackEnd& guest) {
                    return set_memory_policy(policy, guest);
                });
            },
            [&](const PutPermit& put) { permit(put, std::move(answer)); },
            [&](const Sweep&) { answer(no_dirty_log()); },
            [&](const TakeSnapshot&) { answer(for_the_monitor("a snapshot")); },
            [&](const LoadSnapshot&) { answer(for_the_monitor("loading a snapshot")); },
            [&](const Migrate&) { answer(for_the_monitor("a migration")); },
            [&](const GetMigration&) { answer(for_the_monitor("a migration")); },
            [&](const CancelMigration&) { answer(for_the_monitor("a migration")); },
            [&](const SetPaused&) { answer(for_the_monitor("pausing and resuming")); },
            [&](const SendCtrlAltDel&) { answer(for_the_monitor("pressing the power button")); },
            [&](const Stop&) { answer(for_the_monitor("stopping the guest")); },
            [&](const InstanceStart&) { answer(for_the_monitor("starting the guest")); },
            // What is left asks for the configuration, or wants to change what is fixed.
            [&](const auto& other) {
                on_guest_thread(std::move(answer), [this, other](BackEnd& guest) -> Reply {
                    VmConfig shown = config(guest);
                    return configure(shown, control::VmState::running, other).value_or(Failure{500, "not handled"});
                });
            },
        },
        request);
}

template <typename F>
void VhostUserGuest::on_guest_thread(control::Server::Answer answer, F f) {
    thread_.loop().post([this, answer = std::move(answer), f = std::move(f)]() mutable {
        control::Reply reply = session_ ? f(session_->back_end()) : gone();
        main_loop_.post([answer = std::move(answer), reply = std::move(reply)]() mutable { answer(std::move(reply)); });
    });
}

void VhostUserGuest::set_balloon_target(ByteCount target, control::Server::Answer answer) {
    on_guest_thread(std::move(answer), [this, target](BackEnd& guest) -> control::Reply {
        if (!guest.has_memory())
            return no_memory_yet();
        if (squeezer_ && squeezer_->busy()) // it moves the target, and puts it back
            return conflict("a squeeze is under way, and ends by itself: try again");
        if (auto set = guest.balloon().set_target(whole_pages_of(target)); !set)
            return control::Failure{400, std::move(set).error().message};
        if (care_)
            care_->operator_has_spoken();
        return control::Done{};
    });
}

void VhostUserGuest::permit(const control::PutPermit& put, control::Server::Answer answer) {
    on_guest_thread(std::move(answer), [this, put](BackEnd& guest) -> control::Reply {
        if (!guest.has_memory() || !care_)
            return no_memory_yet();
        if (squeezer_ && squeezer_->busy()) // it moves the target, and puts it back
            return conflict("a squeeze is under way, and ends by itself: try again");
        if (auto set = care_->permit(whole_pages_of(put.target), put.time, *policy(guest).floor); !set)
            return control::Failure{400, std::move(set).error().message};
        return control::Done{};
    });
}

control::Reply VhostUserGuest::set_memory_policy(const control::MemoryPolicy& policy, BackEnd& guest) {
    if (guest.has_memory())
        if (auto valid = control::validate(policy, guest.memory().size()); !valid)
            return control::Failure{400, std::move(valid).error().message};
    options_.memory_policy = policy;
    return control::Done{};
}

control::MemoryPolicy VhostUserGuest::policy(BackEnd& guest) const {
    return guest.has_memory() ? with_floor(options_.memory_policy, guest.memory().size()) : options_.memory_policy;
}

/// Looks after the balloon that there is now.
void VhostUserGuest::take_care() {
    if (!session_ || care_)
        return;
    BackEnd& guest = session_->back_end();
    auto before_lapse = [this] {
        if (squeezer_)
            squeezer_->cancel("the host's policy has not renewed its permit");
    };
    auto tell = [this](const BalloonNews& news) {
        main_loop_.post([events = events_, news] { publish(*events, news); });
    };
    care_ = std::make_unique<BalloonCare>(thread_.loop(), guest.memory(), guest.balloon(), std::move(before_lapse),
                                          std::move(tell));
    tell_state(guest);
}

/// Tells those who listen, if the state is another than they know. The front-end's word on it comes between others, so
/// it is looked at when something else is.
void VhostUserGuest::tell_state(BackEnd& guest) {
    const control::VmState now = state(guest);
    if (std::exchange(told_state_, now) != now)
        main_loop_.post([events = events_, now] {
            if (events->heard())
                events->publish(print_event(control::StateEvent{now, ""}));
        });
}

control::VmState VhostUserGuest::state(BackEnd& guest) {
    return guest.active() ? control::VmState::running : control::VmState::not_started;
}

control::Pulse VhostUserGuest::pulse(BackEnd& guest) {
    tell_state(guest);
    control::Pulse pulse{.state = state(guest), .memory_policy = said(options_.memory_policy)};
    if (!guest.has_memory() || !care_)
        return pulse;
    pulse.size = guest.memory().size();
    pulse.resident = guest.memory().resident_at_most();
    add_balloon(pulse, guest.balloon(), *care_);
    return pulse;
}

void VhostUserGuest::squeeze(ByteCount keep, control::Server::Answer answer) {
    thread_.loop().post([this, keep, answer = std::move(answer)]() mutable {
        auto done = [this, answer = std::move(answer)](Result<SqueezeReport> report) mutable {
            control::Reply reply =
                report ? control::Reply(control::SqueezeStatus{.taken = report->taken,
                                                               .resident_before = report->resident_before,
                                                               .resident_after = report->resident_after,
                                                               .duration = report->duration,
                                                               .stopped_by = std::move(report->stopped_by)})
                       : control::Reply(conflict(std::move(report).error().message));
            main_loop_.post(
                [answer = std::move(answer), reply = std::move(reply)]() mutable { answer(std::move(reply)); });
        };
        if (!session_)
            return done(std::unexpected(Error{gone().message}));
        BackEnd& guest = session_->back_end();
        if (!guest.has_memory())
            return done(std::unexpected(Error{no_memory_yet().message}));
        if (!squeezer_)
            squeezer_ = std::make_unique<Squeezer>(thread_.loop(), guest.memory(), guest.balloon());
        squeezer_->start(keep, std::move(done));
    });
}

control::VmConfig VhostUserGuest::config(BackEnd& guest) {
    const balloon::BalloonConfig& balloon = options_.back_end.balloon;
    control::VmConfig config{.name = options_.name};
    config.machine.mem_size = guest.has_memory() ? guest.memory().size() : ByteCount{};
    config.machine.backing = Backing::memfd;
    config.balloon = control::BalloonConfig{.target = bytes_of(guest.balloon().target()),
                                            .deflate_on_oom = balloon.deflate_on_oom,
                                            .stats_polling_interval = options_.back_end.statistics_interval,
                                            .free_page_hinting = balloon.free_page_hinting,
                                            .free_page_reporting = balloon.free_page_reporting};
    config.memory_policy = options_.memory_policy;
    return config;
}

control::VmStatus VhostUserGuest::status(BackEnd& guest) {
    control::VmStatus status;
    status.name = options_.name;
    status.pid = options_.front_end.pid;
    status.state = state(guest);
    status.memory_policy = policy(guest);
    status.uptime =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - connected_);
    status.sandbox = options_.sandbox;
    status.memory.monitor_overhead = own_resident();
    if (guest.has_memory()) {
        status.memory.guest_size = guest.memory().size();
        status.memory.resident = guest.memory().resident();
    }
    add_transport(status, "balloon", guest.transport_counters());
    add_metrics(status, balloon::metrics_of(guest.counters()));
    add_balloon(status, guest.memory(), guest.balloon(), guest.counted_hints());
    if (care_)
        add_care(status, *care_);
    status.counters.push_back({"vhost_user_messages", "Messages of the front-end", session_->counters().messages, {}});
    status.counters.push_back({"vhost_user_refused_messages",
                               "Messages of the front-end answered with an error",
                               session_->counters().refused,
                               {}});
    return status;
}

} // namespace aerate
