#include "machine/arrival.hpp"

#include "machine/restore.hpp"

#include <utility>

namespace aerate {

Result<GuestMemory*> Arrival::prepare(const std::string& config, std::span<const MemoryRegion> regions) {
    config_ = TRY(place_.settle(TRY(control::parse_vm_config(config))));
    memory_ = TRY(GuestMemory::create(TRY(layout_of(config_, regions))));
    return &*memory_;
}

Result<> Arrival::load(std::span<const std::byte> state) {
    auto saved = TRY(state::decode(state));
    return place_.assemble(
        config_,
        SavedGuest{.memory = *std::exchange(memory_, std::nullopt), .state = std::move(saved), .shares_disks = true});
}

void Arrival::discard() {
    place_.discard();
    memory_.reset();
}

} // namespace aerate
