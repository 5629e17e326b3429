#include "block/image_format.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace aerate {
namespace {

using namespace std::string_view_literals;

struct Format {
    std::string_view name;
    std::string_view magic;
    std::size_t offset = 0;
};

// From the probe functions of QEMU's block drivers. A fixed VHD is a raw disk with its mark at the end.
constexpr std::array formats{
    Format{"qcow2", "QFI\xfb\0\0\0\2"sv},
    Format{"qcow2", "QFI\xfb\0\0\0\3"sv},
    Format{"qcow", "QFI\xfb\0\0\0\1"sv},
    Format{"qed", "QED\0"sv},
    Format{"vmdk", "KDMV"sv},
    Format{"vmdk", "COWD"sv},
    Format{"vmdk", "# Disk DescriptorFile"sv},
    Format{"vdi", "\x7f\x10\xda\xbe"sv, 64},
    Format{"vhdx", "vhdxfile"sv},
    Format{"vpc", "conectix"sv},
    Format{"parallels", "WithoutFreeSpace"sv},
    Format{"parallels", "WithouFreSpacExt"sv},
};

} // namespace

std::string_view foreign_format(std::span<const std::byte> beginning) {
    for (const Format& format : formats)
        if (beginning.size() >= format.offset + format.magic.size() &&
            std::ranges::equal(std::as_bytes(std::span(format.magic)),
                               beginning.subspan(format.offset, format.magic.size())))
            return format.name;
    return {};
}

} // namespace aerate
