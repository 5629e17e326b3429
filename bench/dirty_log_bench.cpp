// What it costs to know which pages a guest writes, for each DirtyMethod: to start and stop, to take the log (all pages
// written, none, one in a hundred), and what a page's write costs the guest untracked, for the first time after the
// start and for the first time after a take. Medians of several rounds; the methods take turns. A program of its own,
// because each figure needs the one before it.
//
//     dirty_log_bench [MIB] [ROUNDS]
#include "kvm/dirty_log.hpp"
#include "kvm/vm.hpp"
#include "memory/guest_memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace aerate {
namespace {

using namespace literals;

constexpr GuestAddress code{0x10000};
constexpr GuestAddress area{2 << 20};

constexpr auto program = std::to_array<std::uint8_t>({
    0x40,             // inc eax
    0x89, 0x07,       // mov [edi], eax
    0x01, 0xd7,       // add edi, edx
    0x49, 0x75, 0xf8, // dec ecx; jnz to the inc
    0xe6, 0x42,       // out 0x42, al
});

struct Guest {
    GuestMemory memory;
    Vm vm;
    std::unique_ptr<Vcpu> vcpu;

    static Result<std::unique_ptr<Guest>> create(const Kvm& kvm, ByteCount size, DirtyMethod method) {
        auto memory = TRY(GuestMemory::create({.regions = {{{0}, size}}}));
        auto guest = std::make_unique<Guest>(std::move(memory), TRY(Vm::create(kvm, 1, method)));
        TRY(guest->vm.set_memory_region(SlotId{0}, guest->memory.regions().front()));
        if (!guest->memory.write(code, std::as_bytes(std::span(program))))
            return fail("no room for the program");
        guest->vcpu = TRY(guest->vm.create_vcpu(0));
        return guest;
    }

    /// Writes one page, then the one `stride` pages on, and so forth.
    Result<void> write(PageCount pages, PageCount stride) {
        TRY(vcpu->enter(ProtectedModeEntry{.instruction = code, .start_info = {}}));
        auto registers = TRY(vcpu->registers());
        registers.rcx = pages.value;
        registers.rdx = bytes_of(stride).value;
        registers.rdi = area.value;
        TRY(vcpu->set_registers(registers));
        for (;;) {
            const Exit exit = TRY(vcpu->run());
            if (std::holds_alternative<PortWrite>(exit))
                return {};
            if (!std::holds_alternative<Interrupted>(exit))
                return fail("the guest left its way: exit {}", exit.index());
        }
    }
};

constexpr std::array rows{"start", "take, all written", "take, none written",       "take, 1 % written",
                          "stop",  "write, untracked",  "write, first after start", "write, first after a take"};
constexpr std::size_t writes_begin = 5;
using Figures = std::map<std::string, std::vector<double>>; ///< microseconds

template <typename F>
Result<void> timed(std::vector<double>& into, F&& f) {
    const auto begin = std::chrono::steady_clock::now();
    TRY(f());
    into.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
    return {};
}

Result<void> round(Guest& guest, DirtyLog& log, Figures& figures) {
    const PageCount all{guest.memory.address_space().value - frame_of(area).value};
    const PageCount few{all.value / 100};
    PageBitmap taken(guest.memory.address_space());
    const auto take = [&] {
        taken.clear_all();
        log.take(taken);
        return Result<void>();
    };
    const auto write_all = [&] { return guest.write(all, 1_pages); };

    TRY(write_all()); // the host has every page now
    TRY(timed(figures["write, untracked"], write_all));
    TRY(timed(figures["start"], [&] { return log.start(); }));
    TRY(timed(figures["write, first after start"], write_all));
    TRY(take());
    TRY(timed(figures["write, first after a take"], write_all));
    TRY(timed(figures["take, all written"], take));
    if (taken.count() < all)
        return fail("only {} of {} pages were logged", taken.count().value, all.value);
    TRY(timed(figures["take, none written"], take));
    if (taken.count() > PageCount{16})
        fmt::print(stderr, "{} pages were logged of a guest that was stopped\n", taken.count().value);
    TRY(guest.write(few, PageCount{100}));
    TRY(timed(figures["take, 1 % written"], take));
    return timed(figures["stop"], [&] { return log.stop(); });
}

std::string median(std::vector<double> values, double divisor) {
    std::ranges::sort(values);
    return fmt::format("{:.4g} ({:.4g} to {:.4g})", values[values.size() / 2] / divisor, values.front() / divisor,
                       values.back() / divisor);
}

Result<void> measure(ByteCount size, int rounds) {
    constexpr std::array methods{DirtyMethod::eager_bitmap, DirtyMethod::manual_bitmap,
                                 DirtyMethod::manual_bitmap_sliced, DirtyMethod::ring};
    const auto kvm = TRY(Kvm::open());
    std::map<DirtyMethod, Figures> figures;
    for (int number = 0; number < rounds; ++number) {
        for (const DirtyMethod method : methods) {
            if (auto offered = check_offered(kvm, method); !offered) {
                fmt::print("{}: {}\n", name_of(method), offered.error().message);
                continue;
            }
            const auto guest = TRY(Guest::create(kvm, size, method));
            const auto log = make_dirty_log(guest->vm, guest->memory);
            if (auto done = round(*guest, *log, figures[method]); !done)
                fmt::print("{}: {}\n", name_of(method), done.error().message);
        }
    }
    const double gib = static_cast<double>(size.value) / static_cast<double>((1_GiB).value);
    const double pages = static_cast<double>(whole_pages_of(size - 2_MiB).value);
    fmt::print("{} MiB, {} rounds: median (least to most); us a GiB of guest, ns a page written\n", size.value >> 20,
               rounds);
    for (const auto& [method, measured] : figures) {
        fmt::print("\n{}\n", name_of(method));
        for (std::size_t row = 0; row < rows.size(); ++row)
            if (const auto found = measured.find(rows.at(row)); found != measured.end())
                fmt::print("  {:26} {} {}\n", rows.at(row),
                           median(found->second, row < writes_begin ? gib : pages / 1000),
                           row < writes_begin ? "us/GiB" : "ns/page");
    }
    return {};
}

} // namespace
} // namespace aerate

int main(int count, char** arguments) {
    const std::uint64_t mib = count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 256;
    const int rounds = count > 2 ? std::atoi(arguments[2]) : 5;
    if (mib < 4 || mib % 2 != 0 || rounds < 1) {
        fmt::print(stderr, "dirty_log_bench [MIB] [ROUNDS]: an even number from 4 on, and one from 1 on\n");
        return 2;
    }
    const auto measured = aerate::measure(aerate::ByteCount{mib << 20}, rounds);
    if (!measured)
        fmt::print(stderr, "{}\n", measured.error().message);
    return measured ? 0 : 1;
}
