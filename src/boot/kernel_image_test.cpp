#include "boot/kernel_image.hpp"
#include "boot/memory_layout.hpp"
#include "boot/testing/pack.hpp"
#include "boot/testing/sample_kernel.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <random>

namespace aerate {
namespace {

using namespace literals;
using ::testing::AllOf;
using testing::Bytes;
using ::testing::HasSubstr;
using testing::put;
using testing::sample_bzimage;
using testing::sample_elf;

class KernelImage : public ::testing::Test {
protected:
    KernelImage()
        : memory_(*GuestMemory::create({.regions = *ram_regions(32_MiB)})) {}

    Result<LoadedKernel> load(const Bytes& image, KernelEntry entry = KernelEntry::automatic) {
        config_.entry = entry;
        return load_kernel_image(memory_, image, "sample", config_);
    }

    void expect_error(const Bytes& image, const char* expected, KernelEntry entry = KernelEntry::automatic) {
        const auto loaded = load(image, entry);
        ASSERT_FALSE(loaded) << expected;
        EXPECT_THAT(loaded.error().message,
                    AllOf(HasSubstr("cannot boot the kernel image sample"), HasSubstr(expected)));
    }

    template <typename T>
    T read(std::uint64_t address) {
        std::array<std::byte, sizeof(T)> bytes;
        EXPECT_TRUE(memory_.read({address}, bytes));
        return std::bit_cast<T>(bytes);
    }

    std::string text(std::uint64_t address) {
        std::string found;
        for (; read<char>(address) != 0 && found.size() < 100; ++address)
            found += read<char>(address);
        return found;
    }

    GuestMemory memory_;
    KernelConfig config_{.kernel = {}, .initrd = {}, .command_line = "console=ttyS0", .entry = {}};
};

class InitrdFile {
public:
    explicit InitrdFile(std::size_t size)
        : path_(::testing::TempDir() + "initrd." + std::to_string(::getpid())) {
        std::ofstream file(path_, std::ios::binary);
        for (std::size_t i = 0; i < size; ++i)
            file.put(static_cast<char>('a' + i % 26));
        file.close();
        file_ = *BootFile::open(path_, "initrd");
    }
    ~InitrdFile() { ::unlink(path_.c_str()); }
    [[nodiscard]] const BootFile* file() const { return &file_; }

private:
    std::string path_;
    BootFile file_;
};

TEST_F(KernelImage, ElfIsLoadedAndEnteredByPvh) {
    const auto loaded = load(sample_elf());
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_EQ(loaded->protocol, LoadedKernel::Protocol::pvh);
    EXPECT_EQ(loaded->instruction, GuestAddress{testing::sample_entry});
    EXPECT_EQ(loaded->boot_data, layout::start_info);
    EXPECT_EQ(text(testing::sample_segment), "first page");
    EXPECT_EQ(text(testing::sample_segment + 0x2000), "last page");
    EXPECT_EQ(text(layout::command_line.value), "console=ttyS0");
}

// Offsets are those of struct hvm_start_info.
TEST_F(KernelImage, PvhStartInfoTellsOfMemoryAndInitrd) {
    const InitrdFile initrd(10000);
    config_.initrd = initrd.file();
    ASSERT_TRUE(load(sample_elf()));
    const std::uint64_t info = layout::start_info.value;
    EXPECT_EQ(read<std::uint32_t>(info), 0x336ec578U);
    EXPECT_EQ(read<std::uint32_t>(info + 4), 1U);
    ASSERT_EQ(read<std::uint32_t>(info + 12), 1U) << "one module";
    const auto module = read<std::uint64_t>(info + 16);
    const auto start = read<std::uint64_t>(module);
    EXPECT_EQ(start, ((32U << 20) - 10000) & ~0xfffU) << "as high as it can be";
    EXPECT_EQ(read<std::uint64_t>(module + 8), 10000U);
    EXPECT_EQ(read<char>(start + 9999), static_cast<char>('a' + 9999 % 26));
    EXPECT_EQ(read<std::uint64_t>(info + 24), layout::command_line.value);
    EXPECT_EQ(read<std::uint64_t>(info + 32), layout::acpi_tables.value);
    const auto map = read<std::uint64_t>(info + 40);
    EXPECT_EQ(read<std::uint32_t>(info + 48), 3U);
    EXPECT_EQ(read<std::uint64_t>(map + 2 * 24), layout::high_memory.value);
    EXPECT_EQ(read<std::uint64_t>(map + 2 * 24 + 8), 31U << 20);
    EXPECT_EQ(read<std::uint32_t>(map + 2 * 24 + 16), 1U);
}

TEST_F(KernelImage, BzImageIsLoadedByTheLinuxProtocol) {
    const InitrdFile initrd(5000);
    config_.initrd = initrd.file();
    const auto loaded = load(sample_bzimage(testing::pack_lz4(sample_elf())), KernelEntry::bzimage);
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_EQ(loaded->protocol, LoadedKernel::Protocol::linux64);
    EXPECT_EQ(loaded->instruction, GuestAddress{0x400200});
    const auto params = read<boot_params>(layout::boot_params.value);
    EXPECT_EQ(+params.hdr.header, 0x53726448U);
    EXPECT_EQ(+params.hdr.type_of_loader, 0xff);
    EXPECT_EQ(+params.hdr.cmd_line_ptr, layout::command_line.value);
    EXPECT_EQ(+params.hdr.ramdisk_size, 5000U);
    EXPECT_EQ(+params.hdr.ramdisk_image, ((32U << 20) - 5000) & ~0xfffU);
    EXPECT_EQ(+params.acpi_rsdp_addr, layout::acpi_tables.value);
    ASSERT_EQ(+params.e820_entries, 3);
    EXPECT_EQ(+params.e820_table[2].addr, layout::high_memory.value);
    EXPECT_EQ(+params.e820_table[1].type, 2U);
    EXPECT_EQ(read<std::uint32_t>(0x400000 + testing::sample_payload_offset), 0x184c2102U);
    // The last 2 MiB of the 4 GiB that are mapped to themselves.
    EXPECT_EQ(read<std::uint64_t>(layout::page_tables.value + 6 * 4096 - 8), 0xffe00083U);
}

TEST_F(KernelImage, AutomaticEntersTheKernelInsideABzImage) {
    for (const auto& payload : {testing::pack_lz4(sample_elf()), testing::pack_zstd(sample_elf()),
                                testing::pack_xz(sample_elf()), testing::pack_gzip(sample_elf())}) {
        memory_ = *GuestMemory::create({.regions = *ram_regions(32_MiB)});
        const auto loaded = load(sample_bzimage(payload));
        ASSERT_TRUE(loaded) << loaded.error().message;
        EXPECT_EQ(loaded->protocol, LoadedKernel::Protocol::pvh);
        EXPECT_EQ(text(testing::sample_segment), "first page");
    }
}

TEST_F(KernelImage, AutomaticLeavesToTheGuestWhatCannotBeUnpacked) {
    Bytes lzo(4096);
    testing::put_text(lzo, 0, "\x89LZO");
    const auto image = sample_bzimage(lzo);
    const auto loaded = load(image);
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_EQ(loaded->protocol, LoadedKernel::Protocol::linux64);
    expect_error(image, "compressed with lzo", KernelEntry::pvh);
}

TEST_F(KernelImage, AutomaticLeavesKernelsWithoutPvhToTheGuest) {
    auto elf = sample_elf();
    put(elf, 0x21c, std::uint32_t{17}); // another note
    expect_error(elf, "no PVH entry point");
    const auto loaded = load(sample_bzimage(testing::pack_lz4(elf)));
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_EQ(loaded->protocol, LoadedKernel::Protocol::linux64);
}

TEST_F(KernelImage, ZeroPagesAreNotWritten) {
    memory_.write_log().start();
    ASSERT_TRUE(load(sample_elf()));
    PageBitmap written(memory_.address_space());
    memory_.write_log().take(written);
    EXPECT_TRUE(written.test({testing::sample_segment >> page_shift}));
    EXPECT_FALSE(written.test({(testing::sample_segment >> page_shift) + 1}));
    EXPECT_TRUE(written.test({(testing::sample_segment >> page_shift) + 2}));
}

TEST_F(KernelImage, OtherFilesAreExplained) {
    expect_error({}, "neither a bzImage nor an ELF file");
    expect_error(Bytes(5000, std::byte{'x'}), "neither a bzImage nor an ELF file");
    expect_error(sample_elf(), "it is an ELF file", KernelEntry::bzimage);
    EXPECT_THAT(BootFile::open("/nonexistent", "kernel image").error().message,
                HasSubstr("kernel image /nonexistent: it cannot be opened: No such file"));
    EXPECT_THAT(BootFile::open("/dev/null", "kernel image").error().message, HasSubstr("not a regular file"));
}

TEST_F(KernelImage, CommandLineLongerThanTheKernelTakesIsRefused) {
    config_.command_line = std::string(2048, 'x');
    expect_error(sample_elf(), "has 2048 characters, this kernel accepts 2047");
    expect_error(sample_bzimage(testing::pack_lz4(sample_elf())), "accepts 2047", KernelEntry::bzimage);
    config_.command_line.pop_back();
    EXPECT_TRUE(load(sample_elf()));
}

TEST_F(KernelImage, InitrdThatDoesNotFitIsRefused) {
    const InitrdFile initrd(31U << 20);
    config_.initrd = initrd.file();
    expect_error(sample_elf(), "does not fit into guest memory");
}

TEST_F(KernelImage, CutOffElfIsAnErrorAtEveryLength) {
    const auto elf = sample_elf();
    for (std::size_t size = 0; size < elf.size(); ++size)
        EXPECT_FALSE(load(Bytes(elf.begin(), elf.begin() + static_cast<std::ptrdiff_t>(size)))) << size;
}

TEST_F(KernelImage, CutOffBzImageIsAnErrorAtEveryLength) {
    const auto image = sample_bzimage(testing::pack_lz4(sample_elf()));
    for (std::size_t size = 0; size + 16 < image.size(); ++size)
        for (const auto entry : {KernelEntry::bzimage, KernelEntry::pvh})
            EXPECT_FALSE(load(Bytes(image.begin(), image.begin() + static_cast<std::ptrdiff_t>(size)), entry)) << size;
}

struct Lie {
    std::size_t offset;
    std::uint64_t value;
    unsigned width;
};

void tell(Bytes& image, const Lie& lie) {
    std::memcpy(image.data() + lie.offset, &lie.value, lie.width);
}

TEST_F(KernelImage, ElfFieldsThatLieAreErrors) {
    constexpr std::size_t segment = sizeof(Elf64_Ehdr);
    constexpr std::uint64_t huge = ~0ULL;
    for (const auto& lie : {
             Lie{18, EM_AARCH64, 2}, // machine
             Lie{4, ELFCLASS32, 1},
             Lie{offsetof(Elf64_Ehdr, e_phentsize), 1, 2},
             Lie{offsetof(Elf64_Ehdr, e_phnum), 0, 2},
             Lie{offsetof(Elf64_Ehdr, e_phnum), 0xffff, 2},
             Lie{offsetof(Elf64_Ehdr, e_phoff), huge, 8},
             Lie{offsetof(Elf64_Ehdr, e_phoff), huge - 60, 8},
             Lie{segment + offsetof(Elf64_Phdr, p_offset), huge - 0x100, 8},
             Lie{segment + offsetof(Elf64_Phdr, p_filesz), huge, 8},
             Lie{segment + offsetof(Elf64_Phdr, p_filesz), 0x3001, 8},
             Lie{segment + offsetof(Elf64_Phdr, p_memsz), 0x2fff, 8},
             Lie{segment + offsetof(Elf64_Phdr, p_memsz), huge, 8},
             Lie{segment + offsetof(Elf64_Phdr, p_memsz), 32U << 20, 8},
             Lie{segment + offsetof(Elf64_Phdr, p_paddr), 0, 8},         // over the boot data
             Lie{segment + offsetof(Elf64_Phdr, p_paddr), 0xe0000, 8},   // over the ACPI tables
             Lie{segment + offsetof(Elf64_Phdr, p_paddr), 32U << 20, 8}, // beyond RAM
             Lie{segment + offsetof(Elf64_Phdr, p_paddr), huge - 0xfff, 8},
             Lie{0x224, 0x204000, 4}, // the entry, just above the segment
             Lie{0x224, 0x8000, 4},
             Lie{0x214, 0xffffffff, 4}, // note sizes
             Lie{0x218, 0xfffffffe, 4},
             Lie{0x200, 0xfffffff0, 4},
         }) {
        auto elf = sample_elf();
        tell(elf, lie);
        EXPECT_FALSE(load(elf)) << "offset " << lie.offset << " value " << lie.value;
    }
}

TEST_F(KernelImage, BzImageFieldsThatLieAreErrors) {
    const auto field = [](std::size_t offset) { return 0x1f1 + offset; };
    for (const auto& lie : {
             Lie{field(offsetof(setup_header, boot_flag)), 0, 2},
             Lie{field(offsetof(setup_header, version)), 0x20b, 2},
             Lie{field(offsetof(setup_header, xloadflags)), 0, 2},
             Lie{field(offsetof(setup_header, loadflags)), 0, 1},
             Lie{field(offsetof(setup_header, setup_sects)), 255, 1},
             Lie{field(offsetof(setup_header, syssize)), 0xffffffff, 4},
             Lie{field(offsetof(setup_header, payload_offset)), 0xffffffff, 4},
             Lie{field(offsetof(setup_header, payload_length)), 0xffffffff, 4},
             Lie{field(offsetof(setup_header, init_size)), 0xffffffff, 4},
             Lie{field(offsetof(setup_header, pref_address)), 0, 8},
             Lie{field(offsetof(setup_header, pref_address)), ~0ULL, 8},
             Lie{field(offsetof(setup_header, pref_address)), ~0ULL - 0x80000, 8},
             Lie{field(offsetof(setup_header, pref_address)), 32U << 20, 8},
             Lie{field(offsetof(setup_header, cmdline_size)), 3, 4},
         }) {
        auto image = sample_bzimage(testing::pack_lz4(sample_elf()));
        tell(image, lie);
        EXPECT_FALSE(load(image, KernelEntry::bzimage)) << "offset " << lie.offset << " value " << lie.value;
    }
}

TEST_F(KernelImage, InitrdStaysBelowTheKernelsLimit) {
    const InitrdFile initrd(4096);
    config_.initrd = initrd.file();
    auto image = sample_bzimage(testing::pack_lz4(sample_elf()));
    put(image, 0x1f1 + offsetof(setup_header, initrd_addr_max), std::uint32_t{0xffffff});
    ASSERT_TRUE(load(image, KernelEntry::bzimage));
    EXPECT_EQ(+read<boot_params>(layout::boot_params.value).hdr.ramdisk_image, 0xfff000U);
    put(image, 0x1f1 + offsetof(setup_header, initrd_addr_max), std::uint32_t{0});
    expect_error(image, "does not fit", KernelEntry::bzimage);
}

TEST_F(KernelImage, SpoiledImagesNeverDoHarm) {
    const auto elf = sample_elf();
    const auto bzimage = sample_bzimage(testing::pack_lz4(elf));
    std::mt19937 random(3);
    for (int i = 0; i < 3000; ++i) {
        auto image = i % 2 == 0 ? elf : bzimage;
        const std::size_t start = i % 2 == 0 ? 0 : 0x1f0; // where the fields are
        for (unsigned spoils = 1 + random() % 4; spoils > 0; --spoils)
            image[start + random() % 0xb0] = static_cast<std::byte>(random());
        image.resize(image.size() - (random() % 4 == 0 ? random() % image.size() : 0));
        for (const auto entry : {KernelEntry::automatic, KernelEntry::bzimage, KernelEntry::pvh}) {
            const auto loaded = load(image, entry);
            if (loaded) {
                EXPECT_TRUE(memory_.contains(loaded->instruction, ByteCount{1}));
            }
        }
    }
}

} // namespace
} // namespace aerate
