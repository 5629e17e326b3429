// A machine of 2 MiB, or more, that runs a handful of instructions in 32-bit protected mode. Works with any /dev/kvm
// that can be opened, instruction emulation included.
#pragma once

#include "kvm/vm.hpp"
#include "memory/guest_memory.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

namespace aerate::testing {

struct TinyGuest {
    static constexpr GuestAddress code{0x10000};
    static constexpr MemoryRegion region{{0}, {2U << 20}};

    static Result<TinyGuest> create(std::span<const std::uint8_t> program, unsigned vcpus = 1,
                                    DirtyMethod method = DirtyMethod::eager_bitmap,
                                    std::vector<MemoryRegion> regions = {region}) {
        auto kvm = TRY(Kvm::open());
        auto memory = TRY(GuestMemory::create({.regions = std::move(regions)}));
        auto vm = TRY(Vm::create(kvm, vcpus, method));
        TRY(vm.map(memory.regions()));
        if (!memory.write(code, std::as_bytes(program)))
            return fail("the program is too long");
        std::vector<std::unique_ptr<Vcpu>> processors;
        for (unsigned index = 0; index < vcpus; ++index)
            processors.push_back(TRY(vm.create_vcpu(index)));
        TRY(processors.front()->enter(ProtectedModeEntry{.instruction = code, .start_info = {0x1234}}));
        return TinyGuest{std::move(kvm), std::move(memory), std::move(vm), std::move(processors)};
    }

    Vcpu& vcpu() { return *vcpus.front(); }

    Kvm kvm;
    GuestMemory memory;
    Vm vm;
    std::vector<std::unique_ptr<Vcpu>> vcpus;
};

/// Returns why no guest can be made here; empty when one can.
inline std::string why_no_kvm() {
    const auto kvm = Kvm::open();
    return kvm ? std::string() : kvm.error().message;
}

class WithKvm : public ::testing::Test {
protected:
    void SetUp() override {
        if (const auto reason = why_no_kvm(); !reason.empty())
            GTEST_SKIP() << "NOT TESTED, no guest can be made here: " << reason;
    }
};

} // namespace aerate::testing
