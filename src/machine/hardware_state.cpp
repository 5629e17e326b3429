// Saving the hardware of a guest that is stopped, and making it anew.
#include "base/check.hpp"
#include "base/host.hpp"
#include "base/log.hpp"
#include "machine/hardware.hpp"

#include <fcntl.h>

#include <algorithm>
#include <utility>

namespace aerate {

Result<state::SavedVm> Hardware::save() {
    CHECK(loop_.owned_here());
    state::SavedVm saved;
    saved.vm = TRY(vm_.save());
    const auto savable = TRY(SavableState::of(kvm_));
    for (const auto& vcpu : vcpus)
        saved.vcpus.push_back(TRY(vcpu->save(savable)));
    saved.serial = serial->save();
    saved.clock_register = rtc_.save();
    saved.keyboard = keyboard->save();
    saved.devices = aerate::save(slots);
    return saved;
}

Result<> Hardware::check_fits(const state::SavedVm& saved) const {
    if (saved.vcpus.size() != vcpus.size())
        return fail("the saved guest has {} vCPUs, its configuration says {}", saved.vcpus.size(), vcpus.size());
    for (const VcpuState& vcpu : saved.vcpus)
        TRY(check_cpu_features(vcpu.cpuid, vm_.supported_cpuid()));
    return aerate::check_fits(slots, saved.devices);
}

Result<> Hardware::restore(const state::SavedVm& saved, ClockAfterRestore after) {
    CHECK(loop_.owned_here());
    TRY(check_fits(saved));
    for (const std::string& record : saved.skipped)
        log::warning("the saved state has a record {} that this monitor does not know: it is ignored", record);
    const auto forward = TRY(vm_.restore(saved.vm, after));
    for (std::size_t i = 0; i < vcpus.size(); ++i)
        TRY(vcpus[i]->restore(saved.vcpus[i], forward));
    clock.look_at(vcpus);
    // Their interrupts come after the controllers that would lose them.
    TRY(aerate::restore(slots, saved.devices));
    serial->restore(saved.serial);
    rtc_.restore(saved.clock_register);
    keyboard->restore(saved.keyboard);
    return {};
}

Result<std::vector<Hardware::Disk>> Hardware::duplicate_disks() const {
    std::vector<Disk> disks;
    for (const Block* block : blocks_) {
        if (!block->image().writes_image())
            continue;
        disks.push_back({.fd = host::descriptor([&] { return ::fcntl(block->image().fd(), F_DUPFD_CLOEXEC, 0); }),
                         .path = block->image().path()});
        if (!disks.back().fd.valid())
            return fail_errno("cannot duplicate the descriptor of disk {}", disks.back().path);
    }
    return disks;
}

Result<> Hardware::disks_are_whole() const {
    CHECK(loop_.owned_here());
    for (const Block* block : blocks_) {
        const DiskImage& image = block->image();
        if (image.layer() != nullptr && image.layer()->written())
            return fail("{} ({}): the guest has written to it, and what it wrote is kept nowhere else and ends with "
                        "this VM: a snapshot or a move of the guest would lose it. Give a guest that is to be saved or "
                        "moved a disk of its own (cp --reflink=auto)",
                        image.label(), image.path());
    }
    return {};
}

/// Syncs, then hands over: the other side may be another host, which sees what is on the disk and not what this one has
/// yet to write.
Result<> Hardware::hand_over_disks() const {
    CHECK(loop_.owned_here());
    for (const Block* block : blocks_)
        if (auto handed = block->image().hand_over(); !handed) {
            take_back_disks();
            return handed;
        }
    return {};
}

Result<> Hardware::disks_arrive() const {
    CHECK(loop_.owned_here());
    for (const Block* block : blocks_)
        TRY(block->image().arrive());
    return {};
}

Result<> Hardware::change_disk(const control::Drive& drive, std::shared_ptr<const DiskImage> image) {
    CHECK(loop_.owned_here());
    const auto found = std::ranges::find(blocks_, "block:" + drive.drive_id, &Block::name);
    CHECK(found != blocks_.end());
    return (*found)->change_image(std::move(image), engine_kind(drive));
}

void Hardware::take_back_disks() const {
    CHECK(loop_.owned_here());
    for (const Block* block : blocks_)
        if (auto back = block->image().take_back(); !back)
            log::error("{}: the guest runs, but the lock of its disk does not show it", back.error().message);
}

} // namespace aerate
