#include "control/configuration.hpp"

#include <algorithm>
#include <utility>

namespace aerate::control {
namespace {

using Answer = std::optional<Reply>;

Failure refused(std::string message) {
    return Failure{400, std::move(message)};
}

class Configurator {
public:
    Configurator(VmConfig& config, VmState state)
        : config_(config)
        , started_(state != VmState::not_started)
        , state_(state) {}

    Answer operator()(const GetInstance&) { return Instance{config_.name, state_}; }
    Answer operator()(const GetVersion&) { return Version{}; }
    Answer operator()(const GetVmConfig&) { return config_; }
    Answer operator()(const GetMachineConfig&) { return config_.machine; }
    Answer operator()(const GetBalloon&) { return config_.balloon ? Answer(*config_.balloon) : no_balloon(); }

    Answer operator()(const PutMachineConfig& put) { return change_machine(put.config); }
    Answer operator()(const PatchMachineConfig& patch) {
        return change_machine(updated(config_.machine, patch.update));
    }
    Answer operator()(const PutBootSource& put) {
        return change([&](VmConfig& config) { config.boot = put.source; });
    }
    Answer operator()(const PutDrive& put) {
        return change([&](VmConfig& config) { put_drive(config, put.drive); });
    }
    Answer operator()(const PatchDrive& patch) {
        if (std::ranges::find(config_.drives, patch.update.drive_id, &Drive::drive_id) == config_.drives.end())
            return refused("the VM has no drive " + patch.update.drive_id);
        if (!patch.update.path_on_host && !patch.update.rate_limiter)
            return refused("drive: names nothing that would change");
        return after_start();
    }
    Answer operator()(const PutNetworkInterface& put) {
        if (put.interface.fd)
            return refused("network-interface.fd: is for aerate run --net fd=N: a request brings no descriptor");
        return change([&](VmConfig& config) {
            put_network_interface(config, put.interface);
            choose_mac_addresses(config);
        });
    }
    Answer operator()(const PatchNetworkInterface& patch) {
        const auto& all = config_.network_interfaces;
        if (std::ranges::find(all, patch.update.iface_id, &NetworkInterface::iface_id) == all.end())
            return refused("the VM has no network interface " + patch.update.iface_id);
        return after_start();
    }
    Answer operator()(const PutEntropy& put) {
        return change([&](VmConfig& config) { config.entropy = put.config; });
    }
    Answer operator()(const PutVsock& put) {
        return change([&](VmConfig& config) { config.vsock = put.config; });
    }
    Answer operator()(const PutCpuConfig& put) {
        return change([&](VmConfig& config) { config.cpu = put.config; });
    }
    Answer operator()(const PutMmdsConfig& put) {
        return change([&](VmConfig& config) { config.mmds = put.config; });
    }
    Answer operator()(const PutMmds&) { return std::nullopt; }
    Answer operator()(const PatchMmds&) { return std::nullopt; }
    Answer operator()(const GetMmds&) { return std::nullopt; }
    Answer operator()(const PutLogger&) { return before_start(); }
    Answer operator()(const PutMetrics&) {
        if (config_.monitor.metrics)
            return refused("metrics are written already");
        return before_start();
    }
    Answer operator()(const PutSerial&) { return before_start(); }
    Answer operator()(const PutBalloon& put) {
        return change([&](VmConfig& config) { config.balloon = put.config; });
    }

    Answer operator()(const PatchBalloon& patch) {
        if (!config_.balloon)
            return no_balloon();
        VmConfig changed = config_;
        changed.balloon->target = patch.target;
        if (auto valid = validate(changed); !valid)
            return refused(std::move(valid).error().message);
        if (started_)
            return std::nullopt;
        config_ = std::move(changed);
        return Done{};
    }
    Answer operator()(const PatchBalloonStatistics& patch) {
        if (!config_.balloon)
            return no_balloon();
        auto& interval = config_.balloon->stats_polling_interval;
        if (!started_) {
            interval = patch.polling_interval;
            return Done{};
        }
        // The statistics queue is there or not from the moment when the driver negotiated it.
        if ((interval.count() == 0) != (patch.polling_interval.count() == 0))
            return refused("balloon.stats_polling_interval_s: statistics cannot be turned on or off after the start");
        return std::nullopt;
    }
    Answer operator()(const GetBalloonStatistics&) {
        if (!config_.balloon)
            return no_balloon();
        if (config_.balloon->stats_polling_interval.count() == 0)
            return refused("balloon statistics are off: set stats_polling_interval_s before the start");
        return after_start();
    }
    Answer operator()(const StartHinting&) { return hinting(); }
    Answer operator()(const Sweep&) { return hinting(); }
    Answer operator()(const Squeeze&) { return config_.balloon ? after_start() : no_balloon(); }
    Answer operator()(const TakeSnapshot& take) {
        if (take.quiet && started_ && state_ != VmState::paused)
            return refused("the VM runs, and PUT /snapshot/create takes a VM that is paused: PATCH /vm first, or PUT "
                           "/aerate/snapshot, which takes one that runs");
        // With its memory in a file of its own it can have all that the guest has, as Firecracker's.
        if (take.diff && take.memory_path.empty() && !config_.machine.track_dirty_pages)
            return refused("the guest's writes have not been tracked, so a diff cannot be taken: set "
                           "track_dirty_pages before the start or when a snapshot is loaded, or take a full snapshot "
                           "with it first");
        return take.sweep ? hinting() : after_start();
    }
    Answer operator()(const Migrate& migrate) { return migrate.sweep ? hinting() : after_start(); }
    Answer operator()(const GetMigration&) { return std::nullopt; }
    Answer operator()(const CancelMigration&) { return std::nullopt; }
    Answer operator()(const LoadSnapshot&) {
        if (started_)
            return refused("a snapshot can be loaded only before the VM is started: restore it as another VM");
        // All but the name comes with the snapshot, so there would be two answers (Firecracker refuses that as well).
        VmConfig nameless = config_;
        nameless.name.clear();
        nameless.monitor = {};
        if (nameless != VmConfig{} && nameless != default_vm_config() && nameless != firecracker_vm_config(""))
            return refused("a snapshot brings its own configuration: load it into a VM that was not configured");
        return std::nullopt;
    }
    Answer operator()(const GetHintingStatus&) { return hinting(); }
    Answer operator()(const StopHinting&) { return hinting(); }

    Answer operator()(const InstanceStart&) {
        if (started_)
            return refused("the VM is already started");
        if (!config_.boot)
            return refused("there is no kernel to start: PUT /boot-source first");
        if (auto valid = validate(config_); !valid)
            return refused(std::move(valid).error().message);
        return std::nullopt;
    }
    Answer operator()(const FlushMetrics&) { return after_start(); }
    Answer operator()(const SetPaused&) { return after_start(); }
    Answer operator()(const SendCtrlAltDel&) {
        if (state_ == VmState::paused)
            return refused("the VM is paused and would not notice its power button: resume it first");
        return after_start();
    }
    Answer operator()(const Stop& stop) { return stop.how == Stop::How::kill ? Answer() : (*this)(SendCtrlAltDel{}); }
    Answer operator()(const GetStatus&) { return std::nullopt; }
    Answer operator()(const GetMetrics&) { return std::nullopt; }
    Answer operator()(const GetPulse&) { return std::nullopt; }
    Answer operator()(const GetEvents&) { return std::nullopt; }
    Answer operator()(const GetMemoryMap&) { return after_start(); }
    /// Counts from now on, whenever that is: nothing of the VM is made by it.
    Answer operator()(const PutMemoryPolicy& put) {
        if (auto valid = validate(put.policy, config_.machine.mem_size); !valid)
            return refused(std::move(valid).error().message);
        config_.memory_policy = put.policy;
        return Done{};
    }
    Answer operator()(const PutPermit&) { return config_.balloon ? after_start() : no_balloon(); }

private:
    Answer before_start() const {
        if (started_)
            return refused("this can be set only before the VM is started");
        return std::nullopt;
    }
    template <typename Change>
    Answer change(Change apply) {
        if (auto late = before_start())
            return late;
        VmConfig changed = config_;
        apply(changed);
        if (auto made = make_paths_absolute(changed); !made)
            return refused(std::move(made).error().message);
        if (auto valid = validate(changed); !valid)
            return refused(std::move(valid).error().message);
        config_ = std::move(changed);
        return Done{};
    }
    Answer change_machine(MachineConfig machine) {
        const bool plain_cpu = std::exchange(machine.plain_cpu, false);
        return change([&](VmConfig& config) {
            config.machine = machine;
            if (plain_cpu)
                config.cpu.reset();
        });
    }
    Answer after_start() const {
        if (!started_)
            return refused("the VM is not started: PUT /actions {\"action_type\": \"InstanceStart\"} first");
        return std::nullopt;
    }
    Answer hinting() const {
        if (!config_.balloon)
            return no_balloon();
        if (!config_.balloon->free_page_hinting)
            return refused("free page hinting is off: set free_page_hinting before the start");
        return after_start();
    }
    static Answer no_balloon() { return refused("the VM has no balloon: PUT /balloon before the start"); }

    VmConfig& config_;
    bool started_;
    VmState state_;
};

} // namespace

std::optional<Reply> configure(VmConfig& config, VmState state, const Request& request) {
    return std::visit(Configurator(config, state), request);
}

} // namespace aerate::control
