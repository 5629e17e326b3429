#include "host/daemon.hpp"

#include "base/check.hpp"
#include "base/log.hpp"
#include "control/runtime_directory.hpp"
#include "policy/admission.hpp"
#include "policy/invariants.hpp"

#include <algorithm>
#include <utility>

namespace aerate::hostd {
namespace {

using std::chrono::milliseconds;

milliseconds clock_now() {
    return std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch());
}

/// What its host is told of a guest at once, rather than at the next tick. Statistics come all the time.
bool is_urgent(std::string_view event) {
    constexpr std::array urgent{std::string_view("state"),      std::string_view("target_reached"),
                                std::string_view("taken_back"), std::string_view("distress"),
                                std::string_view("stalls"),     std::string_view("permit_lapsed")};
    return std::ranges::find(urgent, event) != urgent.end();
}

/// Returns how much of the time one of the two counters has grown by.
policy::Permille share(std::chrono::microseconds before, std::chrono::microseconds now, milliseconds elapsed) {
    if (now <= before || elapsed <= milliseconds{})
        return {};
    return {std::min<std::uint64_t>(static_cast<std::uint64_t>((now - before).count()) / policy::count(elapsed), 1000)};
}

control::Failure no_such_vm() {
    return {404, "no VM of that name is known here; \"aerate host status\" lists those that are"};
}

} // namespace

Result<std::unique_ptr<Daemon>> Daemon::start(EventLoop& loop, Options options) {
    std::unique_ptr<Daemon> daemon(new Daemon(loop, std::move(options)));
    daemon->status_.dry_run = daemon->options_.configuration.dry_run;
    daemon->directory_ =
        TRY(VmDirectory::watch(loop, daemon->options_.directory, [self = daemon.get()] { self->directory_changed(); }));
    daemon->timer_ = loop.after(milliseconds(0), [self = daemon.get()] { self->look(); });
    return daemon;
}

milliseconds Daemon::now() const {
    return std::chrono::duration_cast<milliseconds>(Clock::now() - started_);
}

void Daemon::hurry() {
    if (std::exchange(hurried_, true) || looking_)
        return;
    const milliseconds wait = std::max(looked_ + rest - now(), milliseconds(0));
    timer_ = loop_.after(wait, [this] { look(); });
}

void Daemon::directory_changed() {
    changed_ = true;
    hurry();
}

/// Makes a monitor of each name that is new, and forgets those that have gone: a process that takes the name of a dead
/// one is asked anew.
void Daemon::roster() {
    const std::vector<std::string> names = directory_->names();
    std::erase_if(vms_, [&](const auto& entry) { return !std::ranges::binary_search(names, entry.first); });
    for (const std::string& name : names) {
        Vm& vm = vms_[name];
        if (!vm.monitor)
            vm.monitor = std::make_unique<Monitor>(loop_, name, control::socket_path(options_.directory, name).string(),
                                                   [this](std::string_view event) {
                                                       if (is_urgent(event))
                                                           hurry();
                                                   });
    }
}

void Daemon::look() {
    CHECK(!looking_);
    looking_ = true;
    hurried_ = false;
    const bool changed = std::exchange(changed_, false);
    looked_ = now();
    ++look_;
    roster();
    awaited_ = 1; // this call
    for (auto& [name, vm] : vms_) {
        Monitor& monitor = *vm.monitor;
        if (monitor.looking() || (monitor.gone() && !changed))
            continue;
        const bool waited_for = monitor.prompt();
        awaited_ += waited_for ? 1 : 0;
        monitor.look([this, look = look_, waited_for] {
            if (waited_for && look == look_)
                answered();
        });
    }
    timer_ = loop_.after(patience, [this] { decide(); });
    answered();
}

void Daemon::answered() {
    if (--awaited_ == 0 && looking_)
        timer_ = loop_.after(milliseconds(0), [this] { decide(); }); // not within a monitor's call
}

/// What was changed while the daemon ran counts before its configuration. REQUIRES: the monitor has said something.
Wishes Daemon::wishes_for(std::string_view name, const Vm& vm) const {
    const Configuration& configuration = options_.configuration;
    return wishes_of(*vm.monitor->pulse(), vm.changed.over(configuration.of(name)), configuration.defaults);
}

policy::Inputs Daemon::inputs_of(const HostReading& reading) {
    const auto& configuration = options_.configuration;
    const MemoryInfo& memory = reading.memory;
    policy::Inputs inputs{.now = now(),
                          .host = {.total = memory.total,
                                   .available = memory.available,
                                   .reserve = configuration.reserve.value_or(policy::default_reserve(memory.total))}};
    if (reading.pressure && pressure_) {
        const milliseconds elapsed = inputs.now - pressure_at_;
        inputs.host.some = share(pressure_->some, reading.pressure->some, elapsed);
        inputs.host.full = share(pressure_->full, reading.pressure->full, elapsed);
    }
    pressure_ = reading.pressure;
    pressure_at_ = inputs.now;
    for (const auto& [name, vm] : vms_) {
        const Monitor& monitor = *vm.monitor;
        if (!monitor.pulse() || monitor.gone())
            continue;
        inputs.guests.emplace(policy::VmName{name},
                              guest_of(*monitor.pulse(), wishes_for(name, vm), monitor.pulse_age(),
                                       monitor.can().pauses && monitor.answers()));
    }
    return policy::bounded(std::move(inputs));
}

void Daemon::decide() {
    looking_ = false;
    const auto reading = options_.read_host();
    if (!reading) {
        static log::GuestLogLimit limit;
        if (limit.allow())
            log::error("host: nothing is done: {}", reading.error().message);
        timer_ = loop_.after(policy::next_look(policy::Level::plenty), [this] { look(); });
        return;
    }
    inputs_ = inputs_of(*reading);
    const milliseconds before = state_.looked.value_or(inputs_.now - milliseconds(1000));
    const milliseconds elapsed =
        std::clamp<milliseconds>(policy::since(before, inputs_.now), milliseconds(1), std::chrono::minutes(1));
    const policy::Decisions decisions = policy::step(state_, inputs_);
    const auto broken = policy::broken_invariant(state_, inputs_, decisions, elapsed);
    if (broken) {
        static log::GuestLogLimit limit;
        if (limit.allow())
            log::error("host: nothing is done, for the decisions break a rule, which is a bug: {}{}{}", broken->rule,
                       broken->vm.value.empty() ? "" : ", of ", broken->vm.value);
    } else if (!options_.configuration.dry_run) {
        act(decisions);
    }
    if (options_.recorder)
        options_.recorder->add({inputs_, decisions});
    publish(*reading, decisions);
    if (hurried_) {
        hurried_ = false;
        hurry();
    } else {
        timer_ = loop_.after(decisions.next_look, [this] { look(); });
    }
    tell_listeners();
}

void Daemon::act(const policy::Decisions& decisions) {
    for (const auto& [name, decision] : decisions.guests) {
        Vm& vm = vms_.find(name.value)->second;
        const policy::Guest& guest = inputs_.guests.at(name);
        vm.monitor->carry_out(decision, inputs_.now);
        vm.taken += decision.taken;
        vm.given += decision.given;
        adopt(name.value, vm);
        if (vm.cgroup) {
            vm.cgroup->protect(guest.floor);
            vm.cgroup->brake(decisions.level == policy::Level::critical, guest.resident);
        }
    }
}

/// A process that serves the balloons of several VMs belongs to none of them.
void Daemon::adopt(const std::string& name, Vm& vm) const {
    const auto& traits = vm.monitor->traits();
    if (vm.cgroup || vm.stays_out || !options_.cgroups || !traits || !traits->whole_vm)
        return;
    auto adopted = options_.cgroups->adopt(name, traits->pid);
    vm.stays_out = !adopted;
    if (adopted)
        vm.cgroup.emplace(*std::move(adopted));
    else
        log::info("host: {} has no cgroup of its own: {}", name, adopted.error().message);
}

VmView Daemon::view_of(const Vm& vm) const {
    const Monitor& monitor = *vm.monitor;
    VmView view{.state = monitor.pulse()->state,
                .pid = monitor.traits() ? monitor.traits()->pid : 0,
                .answers = monitor.answers(),
                .taken = vm.taken,
                .given = vm.given};
    if (vm.cgroup) {
        view.cgroup = vm.cgroup->path();
        if (const auto pressure = vm.cgroup->pressure())
            view.stalled = pressure->some;
    }
    return view;
}

void Daemon::publish(const HostReading& reading, const policy::Decisions& decisions) {
    status_.now = clock_now();
    status_.host = host_of(inputs_.host, decisions.level, reading);
    status_.vms.clear();
    for (const auto& [name, decision] : decisions.guests) {
        Vm& vm = vms_.find(name.value)->second;
        status_.vms.push_back(vm_of(inputs_, state_, name, decision, decisions.level, view_of(vm)));
        if (const auto& traits = vm.monitor->traits(); traits && traits->whole_vm)
            status_.host.monitors += traits->overhead;
        vm.log.add(decision_of(inputs_, state_, name, decision, decisions.level, status_.now));
    }
    add_up(status_);
    history_.add(status_);
}

std::expected<Decisions, control::Failure> Daemon::decisions(std::string_view name) const {
    const auto found = vms_.find(name);
    if (found == vms_.end() || !found->second.monitor->pulse())
        return std::unexpected(no_such_vm());
    return found->second.log.decisions();
}

std::expected<control::Done, control::Failure> Daemon::change(std::string_view name, const PolicyChange& wish) {
    const auto found = vms_.find(name);
    if (found == vms_.end() || !found->second.monitor->pulse())
        return std::unexpected(no_such_vm());
    Vm& vm = found->second;
    const Pulse& pulse = *vm.monitor->pulse();
    if (wish.floor && *wish.floor > pulse.size)
        return std::unexpected(control::Failure{400, fmt::format("memory_floor_mib: is {}, and the VM has {} MiB",
                                                                 wish.floor->value >> 20, pulse.size.value >> 20)});
    vm.changed = wish.over(vm.changed);
    const Wishes now = wishes_for(name, vm);
    vm.monitor->keep({.floor = now.floor, .shares = now.shares, .priority = now.priority});
    return control::Done{};
}

AdmissionAnswer Daemon::admit(const AdmissionQuestion& question) {
    const policy::Admission admission = policy::admit(
        state_, inputs_, {.size = question.size, .floor = question.floor, .need = question.need}, ByteCount{});
    return {.fits = !admission.refused,
            .words = policy::words(admission),
            .missing = admission.missing,
            .floors = admission.floors,
            .need = admission.need,
            .above = admission.above,
            .freeable = admission.freeable};
}

Service::Listener Daemon::on_tick(std::function<void()> f) {
    auto listener = std::make_shared<std::function<void()>>(std::move(f));
    listeners_.push_back(listener);
    return listener;
}

void Daemon::tell_listeners() {
    std::erase_if(listeners_, [](const auto& listener) { return listener.expired(); });
    const auto all = listeners_; // one may come or go meanwhile
    for (const auto& weak : all)
        if (const auto listener = weak.lock())
            (*listener)();
}

} // namespace aerate::hostd
