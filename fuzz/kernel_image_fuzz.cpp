// Hostile kernel images. The input edits a valid one, so that every field is within reach at once: the first byte picks
// the image and how it is entered, then come edits of four bytes each: where, what, and how much is cut off.
#include "base/check.hpp"
#include "boot/kernel_image.hpp"
#include "boot/memory_layout.hpp"
#include "boot/testing/pack.hpp"
#include "boot/testing/sample_kernel.hpp"

#include <array>
#include <cstdint>
#include <span>

namespace aerate {
namespace {

testing::Bytes base_image(unsigned choice) {
    const auto elf = testing::sample_elf();
    switch (choice % 5) {
    case 0:
        return elf;
    case 1:
        return testing::sample_bzimage(testing::pack_lz4(elf));
    case 2:
        return testing::sample_bzimage(testing::pack_zstd(elf));
    case 3:
        return testing::sample_bzimage(testing::pack_xz(elf));
    default:
        return testing::sample_bzimage(testing::pack_gzip(elf));
    }
}

void edit(testing::Bytes& image, std::span<const std::uint8_t> edits) {
    for (; edits.size() >= 4 && !image.empty(); edits = edits.subspan(4)) {
        const std::size_t offset = edits[0] | std::size_t{edits[1]} << 8;
        if (edits[3] == 0xff)
            image.resize(offset % image.size());
        else
            image[offset % image.size()] = static_cast<std::byte>(edits[2]);
    }
}

} // namespace
} // namespace aerate

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace aerate;
    static auto memory = GuestMemory::create({.regions = *ram_regions(min_ram)});
    static const std::array images{base_image(0), base_image(1), base_image(2), base_image(3), base_image(4)};
    CHECK(memory.has_value());
    if (size == 0)
        return 0;
    auto image = images.at(data[0] % images.size());
    edit(image, std::span(data, size).subspan(1));
    const KernelConfig config{.kernel = {},
                              .initrd = {},
                              .command_line = "console=ttyS0",
                              .entry = static_cast<KernelEntry>(data[0] / images.size() % 3)};
    if (const auto loaded = load_kernel_image(*memory, image, "image", config)) {
        CHECK(memory->contains(loaded->instruction, ByteCount{1}));
    }
    return 0;
}
