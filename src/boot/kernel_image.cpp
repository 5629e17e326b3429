#include "boot/kernel_image.hpp"

#include "boot/bzimage.hpp"
#include "boot/elf_image.hpp"
#include "boot/initrd.hpp"
#include "boot/memory_layout.hpp"
#include "boot/payload.hpp"
#include "boot/pvh.hpp"

#include <algorithm>
#include <memory>
#include <optional>

namespace aerate {
namespace {

using Bytes = std::span<const std::byte>;

constexpr ByteCount largest_image{1ULL << 29};

Result<void> write_command_line(GuestMemory& memory, const std::string& text, std::size_t kernel_limit) {
    const std::size_t limit = std::min<std::size_t>(kernel_limit, layout::command_line_limit.value - 1);
    if (text.size() > limit)
        return fail("the kernel command line has {} characters, this kernel accepts {}", text.size(), limit);
    if (text.find('\0') != std::string::npos)
        return fail("the kernel command line contains a zero byte");
    if (!memory.write(layout::command_line, std::as_bytes(std::span(text.c_str(), text.size() + 1))))
        return fail("there is no guest memory for the command line at {:#x}", layout::command_line.value);
    return {};
}

Result<std::optional<LoadedInitrd>> load_optional_initrd(GuestMemory& memory, const BootFile* file,
                                                         GuestAddress kernel_end, GuestAddress limit) {
    if (file == nullptr)
        return std::optional<LoadedInitrd>{};
    return TRY(load_initrd(memory, *file, kernel_end, limit));
}

Result<LoadedKernel> boot_by_pvh(GuestMemory& memory, Bytes elf, const KernelConfig& config) {
    const auto image = TRY(load_elf(memory, elf));
    TRY(write_command_line(memory, config.command_line, command_line_max));
    const auto initrd = TRY(load_optional_initrd(memory, config.initrd, image.end, layout::hole_start));
    TRY(write_start_info(memory, initrd));
    return LoadedKernel{LoadedKernel::Protocol::pvh, image.entry, layout::start_info};
}

Result<LoadedKernel> boot_by_linux64(GuestMemory& memory, const BzImage& image, const KernelConfig& config) {
    const auto placed = TRY(place_bzimage(memory, image));
    TRY(write_command_line(memory, config.command_line, image.header.cmdline_size));
    const auto initrd = TRY(load_optional_initrd(memory, config.initrd, placed.end, initrd_limit(image)));
    TRY(write_linux_boot_data(memory, image, initrd));
    return LoadedKernel{LoadedKernel::Protocol::linux64, placed.entry, layout::boot_params};
}

Result<LoadedKernel> load_bzimage(GuestMemory& memory, Bytes bytes, const KernelConfig& config) {
    const auto image = TRY(parse_bzimage(bytes));
    if (config.entry == KernelEntry::bzimage)
        return boot_by_linux64(memory, image, config);
    const auto elf = unpack_payload(image.payload);
    if (!elf && config.entry == KernelEntry::pvh)
        return std::unexpected(elf.error());
    if (elf && (config.entry == KernelEntry::pvh || has_pvh_entry(elf->view())))
        return boot_by_pvh(memory, elf->view(), config);
    return boot_by_linux64(memory, image, config);
}

Result<LoadedKernel> load_any(GuestMemory& memory, Bytes image, const KernelConfig& config) {
    if (is_elf(image)) {
        if (config.entry == KernelEntry::bzimage)
            return fail("it is an ELF file, and kernel entry 'bzimage' was requested");
        return boot_by_pvh(memory, image, config);
    }
    if (is_bzimage(image))
        return load_bzimage(memory, image, config);
    return fail("it is neither a bzImage nor an ELF file: give it the file that a distribution installs as "
                "/boot/vmlinuz, or a vmlinux built with CONFIG_PVH=y");
}

} // namespace

Result<LoadedKernel> load_kernel_image(GuestMemory& memory, Bytes image, std::string_view name,
                                       const KernelConfig& config) {
    auto loaded = load_any(memory, image, config);
    if (!loaded)
        return fail_because(std::move(loaded).error(), "cannot boot the kernel image {}", name);
    return loaded;
}

Result<LoadedKernel> load_kernel(GuestMemory& memory, const KernelConfig& config) {
    const BootFile& file = *config.kernel;
    if (file.length > largest_image)
        return fail("the kernel image {} has {} MiB: no kernel is that large", file.path, file.length.value >> 20);
    const auto bytes = std::make_unique_for_overwrite<std::byte[]>(file.length.value);
    const std::span image(bytes.get(), file.length.value);
    TRY(file.read(image));
    return load_kernel_image(memory, image, file.path, config);
}

} // namespace aerate
