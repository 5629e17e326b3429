// Saving the hardware of a guest that stands still, and making it anew.
#include "machine/hardware.hpp"

#include <unistd.h>

#include <utility>

namespace aerate {

Result<state::SavedVm> Hardware::save() {
    state::SavedVm saved;
    saved.vm = TRY(vm_.save());
    const auto savable = TRY(SavableState::of(kvm_));
    for (const auto& vcpu : vcpus)
        saved.vcpus.push_back(TRY(vcpu->save(savable)));
    saved.serial = serial->save();
    saved.clock_register = rtc_.save();
    for (VirtioSlot& slot : slots)
        saved.transports.push_back({slot.name, slot.loop->call([&] { return slot.transport->save(); })});
    if (balloon != nullptr)
        saved.balloon = balloon_thread.loop().call([&] { return balloon->save(); });
    saved.disks = disks_;
    return saved;
}

Result<> Hardware::check_fits(const state::SavedVm& saved) const {
    if (saved.vcpus.size() != vcpus.size())
        return fail("the saved guest has {} vCPUs, its configuration says {}", saved.vcpus.size(), vcpus.size());
    for (const VcpuState& vcpu : saved.vcpus)
        TRY(check_cpu_features(vcpu.cpuid, vm_.supported_cpuid()));
    if (saved.transports.size() != slots.size())
        return fail("the saved guest has {} virtio devices, its configuration says {}", saved.transports.size(),
                    slots.size());
    for (std::size_t i = 0; i < slots.size(); ++i)
        if (saved.transports[i].name != slots[i].name)
            return fail("the saved guest has the device {} where its configuration has {}", saved.transports[i].name,
                        slots[i].name);
    if (saved.balloon.has_value() != (balloon != nullptr))
        return fail("the saved guest and its configuration do not agree on a balloon");
    if (saved.disks.size() != disks_.size())
        return fail("the saved guest has {} disks, its configuration says {}", saved.disks.size(), disks_.size());
    for (std::size_t i = 0; i < disks_.size(); ++i)
        if (saved.disks[i].id != disks_[i].id || saved.disks[i].size != disks_[i].size)
            return fail(
                "disk {} had {} bytes when the guest was saved, and has {} now: give the disk that belongs to it",
                saved.disks[i].id, saved.disks[i].size.value, disks_[i].size.value);
    return {};
}

Result<> Hardware::restore(const state::SavedVm& saved) {
    TRY(check_fits(saved));
    TRY(vm_.restore(saved.vm));
    for (std::size_t i = 0; i < vcpus.size(); ++i)
        TRY(vcpus[i]->restore(saved.vcpus[i]));
    // Devices rest until the machine goes on. Their interrupts come after the controllers that would lose them.
    for (VirtioSlot& slot : slots)
        slot.transport->pause([] {});
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const auto restored = slots[i].transport->restore(saved.transports[i].transport);
        if (!restored)
            return fail("device {}: {}", slots[i].name, restored.error().message);
    }
    if (saved.balloon)
        TRY(balloon->restore(*saved.balloon));
    for (VirtioSlot& slot : slots)
        slot.transport->repeat_interrupt();
    serial->restore(saved.serial);
    rtc_.restore(saved.clock_register);
    return {};
}

/// The other side may be another host, which sees what is on the disk and not what this one has yet to write.
void Hardware::share_disks() {
    for (const Block* block : blocks_) {
        (void)::fdatasync(block->image().fd());
        block->image().share();
    }
}

Result<> Hardware::disks_arrive() const {
    for (const Block* block : blocks_)
        TRY(block->image().arrive());
    return {};
}

void Hardware::take_back_disks() {
    for (const Block* block : blocks_)
        block->image().take_back();
}

} // namespace aerate
