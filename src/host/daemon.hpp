// Carries out the host's memory policy: finds the VMs, asks all of them at once how they are, has the law decide, and
// tells each what was decided. Keeps nothing but its configuration: what it asks for ends by itself when it does, and
// what it knows it reads from the monitors.
//
//     directory, pressure, timer, events ──▶ look() ──▶ every monitor answers, or 200 ms are over ──▶ decide()
//
// On the loop's thread.
#pragma once

#include "host/cgroups.hpp"
#include "host/configuration.hpp"
#include "host/decision_log.hpp"
#include "host/history_log.hpp"
#include "host/host_memory.hpp"
#include "host/monitor.hpp"
#include "host/recorder.hpp"
#include "host/service.hpp"
#include "host/status_of.hpp"
#include "host/vm_directory.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace aerate::hostd {

class Daemon final : public Service {
public:
    /// Reads the host's memory: HostMemory, or a test's.
    using ReadHost = std::function<Result<HostReading>()>;
    struct Options {
        Configuration configuration{};
        std::filesystem::path directory{};
        ReadHost read_host{};
        std::optional<Recorder> recorder{};
        std::optional<Cgroups> cgroups{};
    };
    /// How long one tick waits for monitors: one that hangs costs the others no more, and that once.
    static constexpr std::chrono::milliseconds patience{200};
    /// Nothing makes it look sooner after a look, whatever monitors and the kernel tell.
    static constexpr std::chrono::milliseconds rest{50};

    /// Begins to look. Fails if the directory cannot be watched.
    [[nodiscard]] static Result<std::unique_ptr<Daemon>> start(EventLoop&, Options);

    /// Looks as soon as it may: something has happened.
    void hurry();

    [[nodiscard]] const control::HostStatus& status() const override { return status_; }
    [[nodiscard]] History history() const override { return history_.history(); }
    [[nodiscard]] std::expected<Decisions, control::Failure> decisions(std::string_view name) const override;
    [[nodiscard]] std::expected<control::Done, control::Failure> change(std::string_view name,
                                                                        const PolicyChange&) override;
    [[nodiscard]] AdmissionAnswer admit(const AdmissionQuestion&) override;
    [[nodiscard]] Listener on_tick(std::function<void()>) override;

private:
    using Clock = std::chrono::steady_clock;
    /// What is kept of a VM while it is there.
    struct Vm {
        std::unique_ptr<Monitor> monitor;
        PolicyChange changed{}; ///< by change()
        DecisionLog log{};
        ByteCount taken{};
        ByteCount given{};
        std::optional<VmCgroup> cgroup{};
        bool stays_out = false; ///< the kernel did not let it into a cgroup of its own
    };

    Daemon(EventLoop& loop, Options options)
        : loop_(loop)
        , options_(std::move(options)) {}

    void directory_changed();
    void roster();
    void look();
    void answered();
    void decide();
    [[nodiscard]] Wishes wishes_for(std::string_view name, const Vm&) const;
    [[nodiscard]] policy::Inputs inputs_of(const HostReading&);
    void act(const policy::Decisions&);
    void adopt(const std::string& name, Vm&) const;
    void publish(const HostReading&, const policy::Decisions&);
    void tell_listeners();
    [[nodiscard]] VmView view_of(const Vm&) const;
    [[nodiscard]] std::chrono::milliseconds now() const;

    EventLoop& loop_;
    Options options_;
    std::unique_ptr<VmDirectory> directory_;
    std::map<std::string, Vm, std::less<>> vms_;
    Clock::time_point started_ = Clock::now();
    bool looking_ = false;
    unsigned awaited_ = 0; ///< answers that this look waits for
    std::uint64_t look_ = 0;
    bool hurried_ = false;
    bool changed_ = false; ///< the directory: dead monitors may have been replaced
    std::chrono::milliseconds looked_{};
    Subscription timer_;
    std::optional<Pressure> pressure_;
    std::chrono::milliseconds pressure_at_{};
    policy::State state_{};
    policy::Inputs inputs_{};
    control::HostStatus status_{};
    HistoryLog history_;
    std::vector<std::weak_ptr<std::function<void()>>> listeners_;
};

} // namespace aerate::hostd
