#include "machine/vcpu_thread.hpp"

#include "base/check.hpp"
#include "base/host.hpp"
#include "base/overloaded.hpp"
#include "machine/threads.hpp"

#include <linux/kvm.h>

#include <utility>
#include <variant>

namespace aerate {

VcpuThread::VcpuThread(std::unique_ptr<Vcpu> vcpu, const PioBus& ports, const MmioBus& mmio, Hooks hooks)
    : vcpu_(std::move(vcpu))
    , ports_(ports)
    , mmio_(mmio)
    , hooks_(std::move(hooks)) {}

VcpuThread::~VcpuThread() {
    if (thread_.joinable())
        stop();
}

Result<> VcpuThread::start() {
    CHECK(!thread_.joinable());
    thread_ = TRY(host::start_thread(aerate::vcpu_thread, fmt::format("vcpu{}", vcpu_->index()),
                                     [this](const std::stop_token&) { serve(); }));
    return {};
}

template <typename Hook>
void VcpuThread::post(Hook hook) {
    hooks_.loop->post([alive = std::weak_ptr(alive_), hook = std::move(hook)]() mutable {
        if (!alive.expired())
            hook();
    });
}

// The order is stored before the kick and read after every return from the guest, so none is missed.
void VcpuThread::give(protocol::OrderNumber number, Order order) {
    order_.store({.number = number, .order = order});
    order_.notify_one();
    if (order != Order::run)
        vcpu_->request_stop();
}

void VcpuThread::pause(protocol::OrderNumber number) {
    give(number, Order::pause);
}
void VcpuThread::resume(protocol::OrderNumber number) {
    give(number, Order::run);
}
void VcpuThread::stop() {
    give(order_.load().number, Order::stop);
}

void VcpuThread::rest(std::chrono::microseconds time) {
    rest_.store(time.count());
    vcpu_->request_stop();
}

void VcpuThread::serve() {
    for (;;) {
        const NumberedOrder given = order_.load();
        switch (given.order) {
        case Order::stop:
            post([this] { hooks_.left(); });
            return;
        case Order::wait:
            order_.wait(given);
            break;
        case Order::pause:
            settle();
            post([this, number = given.number] { hooks_.paused(number); });
            order_.wait(given);
            vcpu_->notify_clock_paused();
            break;
        case Order::run:
            if (ended_)
                order_.wait(given);
            else if (const std::int64_t time = rest_.exchange(0); time > 0)
                std::this_thread::sleep_for(std::chrono::microseconds(time));
            else
                ended_ = !run_once();
            break;
        }
    }
}

/// Completes the last exit. KVM completes an exit that was served when the vCPU is entered again; before that the
/// registers are not the ones to save (Documentation/virt/kvm/api.rst, note below KVM_EXIT_IO). An instruction may take
/// several exits.
void VcpuThread::settle() {
    while (!settled_ && !ended_) {
        vcpu_->interrupt_next_run();
        ended_ = !run_once();
    }
}

bool VcpuThread::run_once() {
    auto exit = vcpu_->run();
    if (!exit) {
        end({GuestEnd::Kind::crash, exit.error().message});
        return false;
    }
    settled_ = std::holds_alternative<Interrupted>(*exit);
    return std::visit(Overloaded{
                          [](const Interrupted&) { return true; },
                          [&](const PortRead& access) {
                              for (std::size_t at = 0; at < access.data.size(); at += access.width)
                                  ports_.read(Port{access.port}, access.data.subspan(at, access.width));
                              return true;
                          },
                          [&](const PortWrite& access) {
                              for (std::size_t at = 0; at < access.data.size(); at += access.width)
                                  ports_.write(Port{access.port}, access.data.subspan(at, access.width));
                              return true;
                          },
                          [&](const MmioRead& access) {
                              mmio_.read(access.address, access.data);
                              return true;
                          },
                          [&](const MmioWrite& access) {
                              mmio_.write(access.address, access.data);
                              return true;
                          },
                          [](const Halted&) { return true; },
                          [&](const ShutDown&) {
                              // What Linux does as its last resort to reboot (reboot=triple), and what a guest that
                              // lost its way does.
                              end({GuestEnd::Kind::reset, "triple fault"});
                              return false;
                          },
                          [&](const SystemEvent& event) {
                              const bool reset = event.type == KVM_SYSTEM_EVENT_RESET;
                              const bool off = event.type == KVM_SYSTEM_EVENT_SHUTDOWN;
                              end({reset ? GuestEnd::Kind::reset
                                   : off ? GuestEnd::Kind::power_off
                                         : GuestEnd::Kind::crash,
                                   fmt::format("KVM system event {}", event.type)});
                              return false;
                          },
                          [&](Failed& failed) {
                              end({GuestEnd::Kind::crash, std::move(failed.reason)});
                              return false;
                          },
                      },
                      *exit);
}

void VcpuThread::end(GuestEnd reason) {
    post([this, reason = std::move(reason)]() mutable { hooks_.ended(std::move(reason)); });
}

} // namespace aerate
