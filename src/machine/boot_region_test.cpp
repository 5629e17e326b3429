// C4: kernel and initrd go along in a snapshot.
#include "base/testing/temporary_directory.hpp"
#include "base/testing/temporary_file.hpp"
#include "machine/boot_region.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

namespace aerate {
namespace {

using Bytes = std::vector<std::byte>;
using migration::Attachment;

const MemoryRegion ram{{0}, {2U << 20}};

/// A file's worth of bytes, some pages of zeros among them.
Bytes sample(std::size_t length, unsigned seed) {
    Bytes bytes(length);
    for (std::size_t i = 0; i < length; ++i)
        bytes[i] = i / 4096 % 3 == 1 ? std::byte{0} : static_cast<std::byte>(i * 7 + i / 4096 + seed);
    return bytes;
}

class BootRegion : public ::testing::TestWithParam<bool> {
protected:
    BootRegion() {
        EXPECT_EQ(::pwrite(kernel_file.fd(), kernel.data(), kernel.size(), 0), static_cast<ssize_t>(kernel.size()));
        EXPECT_EQ(::pwrite(initrd_file.fd(), initrd.data(), initrd.size(), 100), static_cast<ssize_t>(initrd.size()));
        if (GetParam())
            key.emplace(std::array<std::byte, 32>{std::byte{1}});
    }
    [[nodiscard]] std::vector<Attachment> attachments() const {
        return {{.kind = Attachment::Kind::kernel, .fd = kernel_file.fd(), .offset = {}, .length = {kernel.size()}},
                {.kind = Attachment::Kind::initrd, .fd = initrd_file.fd(), .offset = {100}, .length = {initrd.size()}}};
    }
    void write_full(std::span<const Attachment> from) {
        std::vector<MemoryRegion> regions{ram};
        const auto region = boot_region(from);
        if (region)
            regions.push_back(*region);
        auto writer = snapshot::Writer::create({.path = full, .regions = regions, .key = key});
        ASSERT_TRUE(writer) << writer.error().message;
        ASSERT_TRUE(!region || write_boot_region(*writer, from));
        ASSERT_TRUE(writer->add({{3}, {1}}, Bytes(4096, std::byte{9})));
        ASSERT_TRUE(std::move(*writer).finish("", {}));
    }
    static Bytes content(const BootFile& file) {
        Bytes bytes(file.length.value);
        EXPECT_TRUE(file.read(bytes));
        return bytes;
    }

    TemporaryDirectory directory;
    std::string full = directory / "full";
    Bytes kernel = sample((1U << 20) + 4096 * 5 + 17, 1);
    Bytes initrd = sample((3U << 20) + 1, 2);
    TemporaryFile kernel_file{0};
    TemporaryFile initrd_file{0};
    std::optional<snapshot::Key> key;
};

INSTANTIATE_TEST_SUITE_P(WithAndWithoutKey, BootRegion, ::testing::Bool());

TEST_P(BootRegion, C4_KernelAndInitrdComeBackThroughAChainOfDiffs) {
    write_full(attachments());
    const auto opened = snapshot::Snapshot::open(full, key);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ(ram_of(opened->regions()).size(), 1U);
    auto writer = snapshot::Writer::create(
        {.path = directory / "diff", .regions = opened->regions(), .key = key, .parent = opened->as_parent()});
    ASSERT_TRUE(writer && writer->add({{3}, {1}}, Bytes(4096, std::byte{8})));
    ASSERT_TRUE(std::move(*writer).finish("", {}));

    for (const std::string& path : {full, directory / "diff"}) {
        const auto snapshot = snapshot::Snapshot::open(path, key);
        ASSERT_TRUE(snapshot) << snapshot.error().message;
        const auto files = boot_files_of(*snapshot);
        ASSERT_TRUE(files && files->kernel && files->initrd) << path;
        EXPECT_TRUE(content(*files->kernel) == kernel) << path;
        EXPECT_TRUE(content(*files->initrd) == initrd) << path;
        const auto memory = snapshot->restore({.regions = {ram}, .backing = Backing::anonymous});
        ASSERT_TRUE(memory) << memory.error().message;
        EXPECT_EQ(memory->size(), ram.length) << "no guest has that region";
    }
}

TEST_P(BootRegion, C4_NothingComesFromASnapshotWithoutThem) {
    write_full({});
    const auto files = boot_files_of(*snapshot::Snapshot::open(full, key));
    ASSERT_TRUE(files);
    EXPECT_FALSE(files->kernel || files->initrd);
}

TEST_P(BootRegion, C4_WhatIsTooLargeStaysBehind) {
    const Attachment large{.kind = Attachment::Kind::kernel, .fd = -1, .offset = {}, .length = {3ULL << 30}};
    EXPECT_FALSE(boot_region(std::span(&large, 1)));
    EXPECT_FALSE(boot_region({}));
}

} // namespace
} // namespace aerate
