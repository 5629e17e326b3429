// A guest that arrives by migration: builds what it needs as it is told of it, on the thread that receives. The machine
// itself lives on the main loop, and is made and started there.
#pragma once

#include "control/vm_config.hpp"
#include "machine/hardware.hpp"
#include "migration/guest.hpp"

#include <functional>
#include <utility>

namespace aerate {

class Arrival final : public migration::DestinationGuest {
public:
    /// Each is called on the receiving thread and returns when it has happened.
    struct Place {
        /// The VM as it will be here: another name, other paths of disks. An error refuses the guest.
        std::function<Result<control::VmConfig>(control::VmConfig)> settle;
        /// Makes the machine around this memory, which moves there: before the guest stands still for it.
        std::function<Result<GuestMemory*>(const control::VmConfig&, GuestMemory)> assemble;
        /// The guest, which stands still. What could keep it from running fails here.
        std::function<Result<>(const state::SavedVm&)> load;
        std::function<Result<>()> run;
        std::function<void()> discard;
    };
    explicit Arrival(Place place)
        : place_(std::move(place)) {}

    Result<GuestMemory*> prepare(const std::string& config, std::span<const MemoryRegion>) override;
    Result<> load(std::span<const std::byte> state) override;
    Result<> run() override { return place_.run(); }
    void discard() override { place_.discard(); }

private:
    Place place_;
};

} // namespace aerate
