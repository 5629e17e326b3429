#include "machine/arrival.hpp"

#include "machine/restore.hpp"

namespace aerate {

Result<GuestMemory*> Arrival::prepare(const std::string& config, std::span<const MemoryRegion> regions) {
    const auto here = TRY(place_.settle(TRY(control::parse_vm_config(config))));
    return place_.assemble(here, TRY(GuestMemory::create(TRY(layout_of(here, regions)))));
}

Result<> Arrival::load(std::span<const std::byte> state) {
    return place_.load(TRY(state::decode(state)));
}

} // namespace aerate
