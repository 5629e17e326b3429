// The freeze in the small: the shipping code of protocol/freeze.hpp on the main loop, devices on loops of their own,
// vCPU threads, and a guest that resets its devices when it likes. Orders and answers are posts: they come in order,
// and as late as they like.
#pragma once

#include "protocol/freeze.hpp"
#include "prove/trace.hpp"

#include <array>
#include <cstdint>
#include <string_view>

namespace aerate::prove {

/// What others do, or what we did, to show what it costs.
enum class FreezeFault : std::uint8_t {
    none,
    stale_answer,     ///< an answer counts for whatever order is the last one
    vcpus_first,      ///< vCPUs are told to stop together with the devices
    device_forgotten, ///< a device that was reset while it rested is not resumed
    resume_lost,      ///< a release is heard only once the guest rests
    deadline_half,    ///< after the deadline the devices stay paused
    deadline_goes_on, ///< after the deadline the claimants are refused, and the guest comes to rest all the same
};

constexpr std::string_view name_of(FreezeFault fault) {
    switch (fault) {
    case FreezeFault::none:
        return "none";
    case FreezeFault::stale_answer:
        return "stale-answer";
    case FreezeFault::vcpus_first:
        return "vcpus-first";
    case FreezeFault::device_forgotten:
        return "device-forgotten";
    case FreezeFault::resume_lost:
        return "resume-lost";
    case FreezeFault::deadline_half:
        return "deadline-half";
    case FreezeFault::deadline_goes_on:
        return "deadline-goes-on";
    }
    return "";
}

struct FreezeSetting {
    std::uint8_t devices = 2;
    std::uint8_t vcpus = 2;
    std::uint8_t claims = 3;   ///< that are made, by whichever claimant
    bool hangs = false;        ///< the first device completes nothing from then on
    bool born_at_rest = false; ///< restored: the vCPUs begin with the order to pause
    bool dies = false;         ///< the guest may crash, or be ended
    FreezeFault fault = FreezeFault::none;
};

/// `Action::page` says which device, vCPU or claimant.
enum class FreezeAction : std::uint8_t {
    claim,
    release,
    give_away,
    deadline,
    crash,
    end,
    device_hears,  ///< the device's loop carries out the next order
    device_answer, ///< the main loop hears that it rests
    device_late,   ///< the same, of an order before the last
    vcpu_hears,
    vcpu_answer,
    vcpu_late,
    submit,   ///< a vCPU gives the device a buffer
    complete, ///< the device is through with it
    reset,    ///< a vCPU resets the device
    drive,    ///< and sets it up again
};

class FreezeModel {
public:
    static constexpr Verdict when_nothing_is_possible = Verdict::stuck;
    static constexpr std::size_t max_parts = 2;
    static constexpr std::size_t max_orders = 3; ///< that a device's loop has not heard

    struct Order {
        bool pauses = false;
        protocol::OrderNumber number;
    };
    /// What one part has on its way to the main loop: the last answer, and whether there are older ones.
    struct Answers {
        bool any = false;
        bool older = false;
        protocol::OrderNumber last;
    };
    struct Device {
        std::array<Order, max_orders> orders{};
        std::uint8_t order_count = 0;
        bool driven = true;  ///< between DRIVER_OK and reset
        bool busy = false;   ///< holds a buffer of the guest's
        bool paused = false; ///< the transport listens to no kick
        bool deaf = false;   ///< the device itself takes no buffer
        bool owes = false;   ///< an answer, when its buffers are back
        protocol::OrderNumber owed;
        Answers answers;
    };
    struct Vcpu {
        Order order;         ///< an atomic: the last one
        bool stands = false; ///< by `heard`
        Order heard;
        Answers answers;
    };
    struct State {
        protocol::Freeze freeze;
        std::array<Device, max_parts> devices{};
        std::array<Vcpu, max_parts> vcpus{};
        protocol::Claims unanswered;
        bool deadline = false;
        protocol::OrderNumber deadline_order;
        std::uint8_t claims_left = 0;
    };

    explicit FreezeModel(const FreezeSetting& setting)
        : setting_(setting) {}

    [[nodiscard]] State initial() const;
    [[nodiscard]] Actions actions(const State&) const;
    Verdict apply(State&, Action) const;
    [[nodiscard]] bool finished(const State&) const;
    [[nodiscard]] std::uint64_t fingerprint(const State&) const;

private:
    void tell(State&, protocol::FreezeEvent) const;
    void carry_out(State&, const protocol::FreezeEffect&) const;
    void add_device_actions(const State&, std::uint8_t index, Actions&) const;
    void order_devices(State&, bool pauses) const;
    void order_vcpus(State&, bool pauses) const;
    void hear(Device&) const;
    [[nodiscard]] Verdict judge(const State&) const;
    [[nodiscard]] bool settled(const State&) const;
    [[nodiscard]] bool a_vcpu_runs(const State&) const;

    FreezeSetting setting_;
};

} // namespace aerate::prove
