#include "kvm/dirty_ring.hpp"

#include "base/check.hpp"
#include "base/host.hpp"
#include "base/log.hpp"
#include "kvm/ioctl.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <csignal>
#include <utility>

namespace aerate {
namespace {

class SignalsBlocked {
public:
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        CHECK(::pthread_sigmask(SIG_SETMASK, &all, &before_) == 0);
    }
    ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

private:
    sigset_t before_{};
};

} // namespace

DirtyRings::~DirtyRings() {
    for (const auto entries : mapped_)
        ::munmap(entries.data(), entries.size_bytes());
}

Result<void> DirtyRings::add(int vcpu_fd) {
    constexpr auto offset = static_cast<off_t>(KVM_DIRTY_LOG_PAGE_OFFSET * page_size.value);
    void* const area = host::map(nullptr, DirtyRing::length.value, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd, offset);
    if (area == MAP_FAILED)
        return fail_errno("cannot map a vCPU's dirty ring");
    mapped_.emplace_back(static_cast<kvm_dirty_gfn*>(area), DirtyRing::length.value / sizeof(kvm_dirty_gfn));
    rings_.emplace_back(mapped_.back());
    return {};
}

Result<void> DirtyRings::begin(std::span<const MemorySlot> slots) {
    PageBitmap nothing;
    (void)take(nothing);
    const std::scoped_lock lock(mutex_);
    slots_.assign(slots.begin(), slots.end());
    PageCount address_space{};
    for (const MemorySlot& slot : slots_)
        address_space = std::max(address_space, PageCount{frames_of(slot).end().value});
    written_ = TRY(PageBitmap::create(address_space));
    return {};
}

bool DirtyRings::take(PageBitmap& into) {
    const std::scoped_lock lock(mutex_);
    harvest();
    if (auto done = reset(); !done)
        log::error("cannot determine which pages the guest wrote: {}", done.error().message);
    written_.move_into(into);
    return std::exchange(complete_, true);
}

Result<void> DirtyRings::make_room() {
    const std::scoped_lock lock(mutex_);
    harvest();
    if (std::ranges::any_of(rings_, &DirtyRing::overrun))
        return fail("this host's KVM overran its dirty ring, and cannot go on with it: track writes by a bitmap here");
    return reset();
}

void DirtyRings::harvest() {
    const auto record = [this](std::uint32_t id, std::uint64_t offset) {
        // Its upper half is the address space: 1 in system management mode, which has no slots here.
        const auto slot = std::ranges::find(slots_, SlotId{id}, &MemorySlot::id);
        if (slot != slots_.end() && offset < frames_of(*slot).count.value)
            written_.set({{frames_of(*slot).first.value + offset}, {1}});
        else
            complete_ = false;
    };
    for (DirtyRing& ring : rings_) {
        harvested_ += ring.harvest(record);
        complete_ = complete_ && !ring.overrun();
    }
}

/// Resets the rings. A signal would end that early, without an error. Other things that count as one to the kernel, as
/// work for io_uring, cannot be blocked, so it says how many entries it did.
Result<void> DirtyRings::reset() {
    constexpr unsigned patience = 100;
    const SignalsBlocked blocked;
    for (unsigned tries = 0; harvested_ > 0 && tries < patience; ++tries) {
        const auto done = call_kvm(vm_fd_, KVM_RESET_DIRTY_RINGS, "KVM_RESET_DIRTY_RINGS");
        if (done)
            harvested_ -= std::min(harvested_, static_cast<std::uint64_t>(*done));
        complete_ = complete_ && harvested_ == 0;
        if (!done)
            return std::unexpected(done.error());
    }
    if (harvested_ > 0)
        return fail("KVM_RESET_DIRTY_RINGS leaves {} entries", std::exchange(harvested_, 0));
    return {};
}

Result<void> DirtyRingLog::start() {
    TRY(vm_.dirty_rings()->begin(vm_.slots()));
    armed_ = true;
    return vm_.set_dirty_logging(DirtyLogging::on);
}

Result<void> DirtyRingLog::stop() {
    return vm_.set_dirty_logging(DirtyLogging::off);
}

/// Collects and arms the rings: nothing else protects every page. What is written in between is read afterwards.
Result<void> DirtyRingLog::arm_everything() {
    TRY(vm_.set_dirty_logging(DirtyLogging::off));
    return vm_.set_dirty_logging(DirtyLogging::on);
}

void DirtyRingLog::take(PageBitmap& into) {
    if (vm_.dirty_rings()->take(into) && armed_)
        return;
    for (const MemorySlot& slot : vm_.slots())
        into.set(frames_of(slot));
    auto armed = arm_everything();
    if (!armed)
        log::error("cannot log what the guest writes, assuming that it writes everything: {}", armed.error().message);
    armed_ = armed.has_value();
}

} // namespace aerate
