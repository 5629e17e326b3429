#include "kvm/testing/tiny_guest.hpp"
#include "kvm/vm.hpp"

#include <sys/resource.h>

#include <array>
#include <atomic>

namespace aerate {
namespace {

using testing::TinyGuest;
using Program = std::vector<std::uint8_t>;

struct KvmVm : testing::WithKvm {};

template <typename Kind>
Kind expect_exit(Vcpu& vcpu) {
    const auto exit = vcpu.run();
    if (!exit) {
        ADD_FAILURE() << exit.error().message;
        return {};
    }
    if (const auto* failed = std::get_if<Failed>(&*exit))
        ADD_FAILURE() << failed->reason;
    const auto* kind = std::get_if<Kind>(&*exit);
    EXPECT_NE(kind, nullptr) << "exit kind " << exit->index();
    return kind != nullptr ? *kind : Kind{};
}

TEST_F(KvmVm, PortsAreWrittenAndRead) {
    auto guest = TinyGuest::create(Program{
        0xb0, 0x5a,             // mov al, 0x5a
        0xe6, 0x42,             // out 0x42, al
        0x66, 0xba, 0x01, 0x06, // mov dx, 0x601
        0xed,                   // in eax, dx
        0x66, 0xef,             // out dx, ax
        0xf4,                   // hlt
    });
    ASSERT_TRUE(guest) << guest.error().message;
    const auto write = expect_exit<PortWrite>(guest->vcpu());
    EXPECT_EQ(write.port, 0x42);
    ASSERT_EQ(write.data.size(), 1U);
    EXPECT_EQ(write.data[0], std::byte{0x5a});

    const auto read = expect_exit<PortRead>(guest->vcpu());
    EXPECT_EQ(read.port, 0x601);
    EXPECT_EQ(read.width, 4);
    ASSERT_EQ(read.data.size(), 4U);
    std::ranges::fill(read.data, std::byte{0x77});

    const auto answer = expect_exit<PortWrite>(guest->vcpu());
    EXPECT_EQ(answer.width, 2);
    ASSERT_EQ(answer.data.size(), 2U);
    EXPECT_EQ(answer.data[1], std::byte{0x77});
}

TEST_F(KvmVm, MmioOutsideRamIsWrittenAndRead) {
    auto guest = TinyGuest::create(Program{
        0xc7, 0x05, 0x10, 0x00, 0x00, 0xd0, 0x44, 0x33, 0x22, 0x11, // mov dword [0xd0000010], 0x11223344
        0xa1, 0x20, 0x00, 0x00, 0xd0,                               // mov eax, [0xd0000020]
        0xe6, 0x42,                                                 // out 0x42, al
    });
    ASSERT_TRUE(guest) << guest.error().message;
    const auto write = expect_exit<MmioWrite>(guest->vcpu());
    EXPECT_EQ(write.address, GuestAddress{0xd0000010});
    ASSERT_EQ(write.data.size(), 4U);
    EXPECT_EQ(write.data[3], std::byte{0x11});
    const auto read = expect_exit<MmioRead>(guest->vcpu());
    EXPECT_EQ(read.address, GuestAddress{0xd0000020});
    ASSERT_EQ(read.data.size(), 4U);
    read.data[0] = std::byte{0x99};
    EXPECT_EQ(expect_exit<PortWrite>(guest->vcpu()).data[0], std::byte{0x99});
}

TEST_F(KvmVm, IoEventSignalsWithoutAnExit) {
    auto guest = TinyGuest::create(Program{
        0xc7, 0x05, 0x50, 0x00, 0x00, 0xd0, 0x02, 0x00, 0x00, 0x00, // mov dword [0xd0000050], 2
        0xc7, 0x05, 0x50, 0x00, 0x00, 0xd0, 0x01, 0x00, 0x00, 0x00, // mov dword [0xd0000050], 1
        0xe6, 0x42,                                                 // out 0x42, al
    });
    ASSERT_TRUE(guest) << guest.error().message;
    const auto two = EventFd::create();
    ASSERT_TRUE(two);
    ASSERT_TRUE(guest->vm.connect_io_event({.address = {0xd0000050}, .length = 4, .value = 2}, *two));
    EXPECT_EQ(expect_exit<MmioWrite>(guest->vcpu()).data[0], std::byte{1}) << "another value, so not connected";
    EXPECT_TRUE(two->drain());
    expect_exit<PortWrite>(guest->vcpu());
}

// IOAPIC line 5 is set up as vector 0x20 for local APIC 0, then the guest sleeps until it comes.
TEST_F(KvmVm, InterruptReachesTheGuestThroughTheIoApic) {
    const Program program{
        0x0f, 0x01, 0x1d, 0x00, 0x08, 0x01, 0x00,                   // lidt [0x10800]
        0x0f, 0x01, 0x15, 0x10, 0x08, 0x01, 0x00,                   // lgdt [0x10810]
        0xbc, 0x00, 0x00, 0x02, 0x00,                               // mov esp, 0x20000
        0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0x00, 0x00, // mov dword [0xfee000f0], 0x1ff: APIC on
        0xc7, 0x05, 0x00, 0x00, 0xc0, 0xfe, 0x1a, 0x00, 0x00, 0x00, // mov dword [IOREGSEL], 0x10 + 2 * 5
        0xc7, 0x05, 0x10, 0x00, 0xc0, 0xfe, 0x20, 0x00, 0x00, 0x00, // mov dword [IOWIN], 0x20
        0xe6, 0x41,                                                 // out 0x41, al: ready
        0xfb,                                                       // sti
        0xf4,                                                       // hlt
        0xeb, 0xfd,                                                 // jmp to the hlt
    };
    const Program handler{0xb0, 0x20, 0xe6, 0x42, 0xf4}; // mov al, 0x20; out 0x42, al; hlt
    auto guest = TinyGuest::create(program);
    ASSERT_TRUE(guest) << guest.error().message;
    const auto store = [&](std::uint64_t address, std::uint64_t value) {
        ASSERT_TRUE(guest->memory.write({address}, std::as_bytes(std::span(&value, 1))));
    };
    ASSERT_TRUE(guest->memory.write({0x11000}, std::as_bytes(std::span(handler))));
    store(0x10800, 0x10900ULL << 16 | 0x7ff);         // IDT at 0x10900
    store(0x10810, 0x10880ULL << 16 | 0x1f);          // GDT at 0x10880
    store(0x10890, 0x00cf9b000000ffff);               // selector 0x10: flat code
    store(0x10898, 0x00cf93000000ffff);               // selector 0x18: flat data
    store(0x10900 + 0x20 * 8, 0x00018e0000101000ULL); // interrupt gate to 0x10:0x11000
    const auto event = EventFd::create();
    ASSERT_TRUE(event);
    ASSERT_TRUE(guest->vm.connect_interrupt(*event, 5));

    EXPECT_EQ(expect_exit<PortWrite>(guest->vcpu()).port, 0x41);
    event->signal();
    EXPECT_EQ(expect_exit<PortWrite>(guest->vcpu()).port, 0x42);
}

TEST_F(KvmVm, StopEndsASleepingGuestFromAnotherThread) {
    auto guest = TinyGuest::create(Program{0xf4, 0xeb, 0xfd}); // hlt for ever, interrupts off
    ASSERT_TRUE(guest) << guest.error().message;
    std::jthread stopper([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        guest->vcpu().request_stop();
    });
    expect_exit<Interrupted>(guest->vcpu());
}

// Any process of the same user can have them all queued.
TEST_F(KvmVm, S4_StopEndsASleepingGuestThoughTheHostQueuesNoMoreSignals) {
    auto guest = TinyGuest::create(Program{0xf4, 0xeb, 0xfd}); // hlt for ever, interrupts off
    ASSERT_TRUE(guest) << guest.error().message;
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_SIGPENDING, &before), 0);
    const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_SIGPENDING, &none), 0);
    std::jthread stopper([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        guest->vcpu().request_stop();
    });
    expect_exit<Interrupted>(guest->vcpu());
    EXPECT_EQ(::setrlimit(RLIMIT_SIGPENDING, &before), 0);
}

TEST_F(KvmVm, StopBeforeRunIsNotLost) {
    auto guest = TinyGuest::create(Program{0xeb, 0xfe}); // jmp to itself
    ASSERT_TRUE(guest) << guest.error().message;
    guest->vcpu().request_stop();
    expect_exit<Interrupted>(guest->vcpu());
}

TEST_F(KvmVm, StopCompletesTheExitThatWasServed) {
    auto guest = TinyGuest::create(Program{0xe4, 0x42, 0xe6, 0x43}); // in al, 0x42; out 0x43, al
    ASSERT_TRUE(guest) << guest.error().message;
    expect_exit<PortRead>(guest->vcpu()).data[0] = std::byte{0x31};
    guest->vcpu().request_stop();
    expect_exit<Interrupted>(guest->vcpu());
    const auto registers = guest->vcpu().registers();
    ASSERT_TRUE(registers);
    EXPECT_EQ(registers->rip, TinyGuest::code.value + 2);
    EXPECT_EQ(registers->rax & 0xff, 0x31U);
    EXPECT_EQ(expect_exit<PortWrite>(guest->vcpu()).data[0], std::byte{0x31});
}

TEST_F(KvmVm, SecondaryCpusWaitUntilTheyAreAskedFor) {
    auto guest = TinyGuest::create(Program{0xe6, 0x42}, 2);
    ASSERT_TRUE(guest) << guest.error().message;
    std::jthread stopper([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        guest->vcpus[1]->request_stop();
    });
    expect_exit<Interrupted>(*guest->vcpus[1]);
    expect_exit<PortWrite>(guest->vcpu());
}

TEST_F(KvmVm, TripleFaultIsAShutDown) {
    auto guest = TinyGuest::create(Program{0x0f, 0x0b}); // ud2, without an IDT
    ASSERT_TRUE(guest) << guest.error().message;
    expect_exit<ShutDown>(guest->vcpu());
}

TEST_F(KvmVm, PvhEntryStateIsAsTheAbiSays) {
    auto guest = TinyGuest::create(Program{0xf4});
    ASSERT_TRUE(guest) << guest.error().message;
    const auto registers = guest->vcpu().registers();
    const auto special = guest->vcpu().special_registers();
    ASSERT_TRUE(registers && special);
    EXPECT_EQ(registers->rbx, 0x1234U);
    EXPECT_EQ(registers->rflags, 2U);
    EXPECT_EQ(special->cr0 & 0x80000001, 1U);
    EXPECT_EQ(special->cr4, 0U);
    EXPECT_EQ(special->efer, 0U);
    EXPECT_EQ(special->cs.db, 1);
    EXPECT_EQ(special->cs.limit, 0xffffffffU);
}

TEST_F(KvmVm, LongModeRuns) {
    auto guest = TinyGuest::create(Program{
        0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // mov rax, 0x1122334455667788
        0x48, 0xc1, 0xe8, 0x38,                                     // shr rax, 56
        0xe6, 0x42,                                                 // out 0x42, al
    });
    ASSERT_TRUE(guest) << guest.error().message;
    const auto store = [&](std::uint64_t address, std::uint64_t value) {
        ASSERT_TRUE(guest->memory.store<std::uint64_t>({address}, value));
    };
    store(0x1000, 0x2003);
    store(0x2000, 0x3003);
    store(0x3000, 0x83);
    ASSERT_TRUE(guest->vcpu().enter(LongModeEntry{
        .instruction = TinyGuest::code, .boot_params = {0x7000}, .page_table = {0x1000}, .gdt = {0x4000}}));
    EXPECT_EQ(guest->vcpu().registers()->rsi, 0x7000U);
    EXPECT_EQ(expect_exit<PortWrite>(guest->vcpu()).data[0], std::byte{0x11});
}

TEST_F(KvmVm, MapsALargeRegionInSeveralSlots) {
    const auto kvm = Kvm::open();
    auto vm = Vm::create(*kvm, 1);
    ASSERT_TRUE(vm) << vm.error().message;
    constexpr std::uint64_t gib = 1ULL << 30;
    const auto memory = GuestMemory::create({.regions = {{{0}, {gib}}, {{4 * gib}, {36 * gib}}}});
    ASSERT_TRUE(memory) << memory.error().message;
    const auto mapped = vm->map(memory->regions());
    ASSERT_TRUE(mapped) << mapped.error().message;
    ASSERT_EQ(vm->slots().size(), 4U);
    const std::byte* const high = memory->regions().back().host;
    for (std::uint64_t i = 1; i < 4; ++i) {
        EXPECT_EQ(vm->slots()[i].memory.guest.start, GuestAddress{4 * gib + (i - 1) * Vm::largest_slot.value});
        EXPECT_EQ(vm->slots()[i].memory.host, high + (i - 1) * Vm::largest_slot.value);
    }
    EXPECT_EQ(vm->slots().back().memory.guest.length, ByteCount{4 * gib});
}

TEST_F(KvmVm, RefusesARegionThatOverlapsAnother) {
    auto guest = TinyGuest::create(Program{0xf4});
    ASSERT_TRUE(guest) << guest.error().message;
    const auto result = guest->vm.set_memory_region(SlotId{1}, guest->memory.regions().front());
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().message.find("cannot map 2 MiB of guest memory at 0x0"), std::string::npos);
}

} // namespace
} // namespace aerate
