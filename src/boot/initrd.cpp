#include "boot/initrd.hpp"

#include <algorithm>

namespace aerate {

Result<LoadedInitrd> load_initrd(GuestMemory& memory, const BootFile& file, GuestAddress kernel_end,
                                 GuestAddress limit) {
    if (file.length.value == 0)
        return fail("the initrd {} is empty", file.path);
    const std::uint64_t end = std::min(limit.value, memory.regions().front().guest.length.value);
    if (end <= kernel_end.value || file.length.value > end - kernel_end.value)
        return fail(
            "the initrd {} of {} MiB does not fit into guest memory above the kernel, which ends at {} MiB: give "
            "the guest more memory",
            file.path, (file.length.value >> 20) + 1, kernel_end.value >> 20);
    const GuestAddress start = address_of(frame_of({end - file.length.value}));
    const auto place = memory.span(start, file.length);
    if (start < kernel_end || !place)
        return fail("the initrd {} does not fit into guest memory above the kernel: give the guest more memory",
                    file.path);
    TRY(file.read(*place));
    memory.wrote(start, file.length);
    return LoadedInitrd{start, file.length};
}

} // namespace aerate
