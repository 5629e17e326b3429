// A disk that is private over an image that others share: by a clone of the image, and by what was written over it.
#include "base/testing/refusing_host.hpp"
#include "base/testing/temporary_directory.hpp"
#include "block/testing/block_test.hpp"
#include "block/testing/block_wire.hpp"
#include "block/testing/cloning_directory.hpp"

#include <gmock/gmock.h>

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace aerate {
namespace {

using namespace testing;
using ::testing::HasSubstr;

std::vector<std::byte> random_bytes(std::size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::byte> bytes(size);
    std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random()); });
    return bytes;
}

std::vector<std::byte> contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

void write_file(const std::string& path, const std::vector<std::byte>& bytes) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

std::uint64_t allocated(int fd) {
    struct stat status{};
    EXPECT_EQ(::fstat(fd, &status), 0);
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

/// No file of this process can be made longer, nor be written beyond that, for as long as it lives.
class FileSizeLimit {
public:
    explicit FileSizeLimit(rlim_t bytes) {
        EXPECT_EQ(::getrlimit(RLIMIT_FSIZE, &before_), 0);
        const rlimit now{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
        EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &now), 0);
    }
    FileSizeLimit(const FileSizeLimit&) = delete;
    FileSizeLimit& operator=(const FileSizeLimit&) = delete;
    ~FileSizeLimit() {
        EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &before_), 0);
        ::signal(SIGXFSZ, handler_);
    }

private:
    rlimit before_{};
    sighandler_t handler_ = ::signal(SIGXFSZ, SIG_IGN);
};

class PrivateDisk : public BlockTest {
protected:
    static constexpr std::uint64_t size = 1283ULL * 512; // no multiple of a page, nor of a block of a file system

    void SetUp() override {
        if (GetParam().clones) {
            auto made = CloningDirectory::create();
            if (!made)
                GTEST_SKIP() << made.error().message;
            cloning.emplace(std::move(*made));
        }
        path = cloning ? cloning->path() + "/base" : directory / "base";
        write_file(path, original);
        image = open();
        if (!image)
            return;
        if (!cloning && image->layer()->cloned()) {
            elsewhere = "/dev/shm";
            image = open();
        }
        ASSERT_EQ(image->layer()->cloned(), GetParam().clones);
        start();
    }
    void TearDown() override { EXPECT_TRUE(IsSkipped() || contents(path) == original) << "the image was written"; }

    std::shared_ptr<const DiskImage> open() {
        auto opened = DiskImage::open({.path = path, .is_private = true, .private_directory = elsewhere});
        EXPECT_TRUE(opened) << opened.error().message;
        return opened ? std::make_shared<DiskImage>(std::move(*opened)) : nullptr;
    }
    void start() {
        device.reset();
        auto engine = make_engine(image->layer()->fd());
        if (!engine)
            GTEST_SKIP() << engine.error().message;
        device = std::make_unique<Block>(loop, fake.memory(), image,
                                         make_private_engine(*std::move(engine), *image->layer(), Block::queue_size),
                                         "private");
        features = virtio::FeatureSet{device->offered_features().bits | GetParam().ring.bits};
        activate();
    }
    std::byte write(std::uint64_t sector, std::span<const std::byte> data) {
        return request({readable(Header{out, 0, sector}), readable(data), writable(1)});
    }
    /// The whole disk, as the guest reads it.
    std::vector<std::byte> disk() {
        EXPECT_EQ(request({readable(Header{in, 0, 0}), writable(100), writable(static_cast<std::uint32_t>(size - 100)),
                           writable(1)}),
                  ok);
        return {last.bytes.begin(), last.bytes.end() - 1};
    }

    TemporaryDirectory directory;
    std::optional<CloningDirectory> cloning;
    std::string path;
    std::string elsewhere;
    std::vector<std::byte> original = random_bytes(size, 1);
    std::shared_ptr<const DiskImage> image;
};

std::string setup_name(const ::testing::TestParamInfo<Setup>& setup) {
    const std::array names{"io_uring", "blocking", "unkind"};
    return std::string(names.at(static_cast<std::size_t>(setup.param.engine))) +
           (setup.param.clones ? "_clone" : "_overlay");
}

INSTANTIATE_TEST_SUITE_P(
    Ways, PrivateDisk,
    ::testing::Values(Setup{Engine::io_uring, split_ring}, Setup{Engine::blocking, packed_ring_with_events},
                      Setup{Engine::unkind, split_ring}, Setup{Engine::io_uring, packed_ring, true},
                      Setup{Engine::blocking, split_ring, true}, Setup{Engine::unkind, split_ring_with_events, true}),
    setup_name);

TEST_P(PrivateDisk, TheGuestReadsTheImageAndWhatItHasWrittenOverIt) {
    EXPECT_TRUE(disk() == original);
    auto model = original;
    for (const auto& [sector, count] : {std::pair{0U, 1U}, {7U, 2U}, {9U, 8U}, {64U, 65U}, {1282U, 1U}}) {
        const auto data = random_bytes(count * 512ULL, sector + 2);
        ASSERT_EQ(write(sector, data), ok);
        std::ranges::copy(data, model.begin() + sector * 512);
    }
    EXPECT_EQ(request({readable(Header{flush, 0, 0}), writable(1)}), ok);
    EXPECT_TRUE(disk() == model);
}

TEST_P(PrivateDisk, WhatIsDiscardedReadsAsZeroAndFreesTheLayer) {
    constexpr std::uint64_t page = 4096; // of the host's file system, whose holes have no other size
    const auto data = random_bytes(80 * page, 4);
    ASSERT_EQ(write(0, data), ok);
    const std::uint64_t before = allocated(image->layer()->fd());
    // Over what was written, and over what is the image's.
    ASSERT_EQ(request({readable(Header{discard, 0, 0}), readable(std::array{Range{8, 63 * 8, 0}, Range{1000, 100, 0}}),
                       writable(1)}),
              ok);
    ASSERT_EQ(request({readable(Header{write_zeroes, 0, 0}), readable(Range{1200, 3, 1}), writable(1)}), ok);
    auto model = original;
    std::ranges::copy(data, model.begin());
    for (const auto& [sector, count] : {std::pair{8, 63 * 8}, {1000, 100}, {1200, 3}})
        std::fill_n(model.begin() + sector * 512L, count * 512L, std::byte{0});
    EXPECT_TRUE(disk() == model);
    EXPECT_LE(allocated(image->layer()->fd()) + 63 * page, before);
}

// Many in flight, which never overlap, since their order would be the disk's choice.
TEST_P(PrivateDisk, RandomRequestsAgreeWithAModel) {
    std::mt19937 random(static_cast<unsigned>(GetParam().engine) + 31);
    auto model = original;
    struct Pending {
        std::uint64_t first;
        std::uint64_t end;
        std::vector<std::byte> expected; ///< of a read
    };
    std::map<std::uint32_t, Pending> pending;
    const auto finish = [&](const FakeUsed& used) {
        ASSERT_FALSE(used.bytes.empty());
        ASSERT_EQ(used.bytes.back(), ok);
        const Pending& done = pending.at(used.token);
        if (!done.expected.empty()) {
            ASSERT_TRUE(std::ranges::equal(std::span(used.bytes).first(used.bytes.size() - 1), done.expected))
                << done.first;
        }
        pending.erase(used.token);
    };
    for (unsigned added = 0; added < 1200;) {
        const std::uint64_t count = 1 + random() % (random() % 8 == 0 ? 300 : 20);
        const std::uint64_t first = random() % (size / 512 - count + 1);
        const bool overlaps = std::ranges::any_of(
            pending, [&](const auto& entry) { return first < entry.second.end && entry.second.first < first + count; });
        if (overlaps || queue->free_slots() < 8 || random() % 5 == 0) {
            kick();
            loop.context().run_for(1ms);
            while (const auto used = queue->take_used())
                ASSERT_NO_FATAL_FAILURE(finish(*used));
            continue;
        }
        const auto at = std::span(model).subspan(first * 512, count * 512);
        const auto length = static_cast<std::uint32_t>(count * 512);
        const std::uint32_t half = length / 2 / 3 * 3;
        Pending next{first, first + count, {}};
        std::uint32_t token = 0;
        switch (random() % 5) {
        case 0:
        case 1: {
            const auto data = random_bytes(length, static_cast<unsigned>(random()));
            std::ranges::copy(data, at.begin());
            token = queue->add({readable(Header{out, 0, first}), readable(std::span(data).first(half)),
                                readable(std::span(data).subspan(half)), writable(1)});
            break;
        }
        case 2:
        case 3:
            next.expected.assign(at.begin(), at.end());
            token = queue->add({readable(Header{in, 0, first}), writable(half), writable(length - half), writable(1)});
            break;
        default:
            std::ranges::fill(at, std::byte{0});
            token = queue->add({readable(Header{random() % 2 == 0 ? discard : write_zeroes, 0, 0}),
                                readable(Range{first, static_cast<std::uint32_t>(count), 0}), writable(1)});
            break;
        }
        pending[token] = std::move(next);
        ++added;
        if (random() % 3 == 0)
            kick();
    }
    kick();
    while (!pending.empty()) {
        const auto used = wait_used();
        ASSERT_TRUE(used);
        ASSERT_NO_FATAL_FAILURE(finish(*used));
    }
    EXPECT_TRUE(disk() == model);
}

TEST_P(PrivateDisk, AWriteThatFailsLeavesWhatWasThere) {
    {
        const FileSizeLimit limit(unkind == nullptr ? 1024 : RLIM_INFINITY);
        if (unkind != nullptr)
            unkind->full = true;
        EXPECT_EQ(write(3, random_bytes(6 * 512, 5)), io_error);
    }
    EXPECT_TRUE(disk() == original);
    if (unkind != nullptr)
        unkind->full = false;
    const auto data = random_bytes(6 * 512, 6);
    EXPECT_EQ(write(3, data), ok);
    auto model = original;
    std::ranges::copy(data, model.begin() + 3 * 512);
    EXPECT_TRUE(disk() == model);
}

TEST_P(PrivateDisk, OutlivesTheDeviceAsTheVmDoes) {
    const auto data = random_bytes(1024, 7);
    ASSERT_EQ(write(11, data), ok);
    start(); // the guest has reset itself
    auto model = original;
    std::ranges::copy(data, model.begin() + 11 * 512);
    EXPECT_TRUE(disk() == model);
}

TEST_P(PrivateDisk, KnowsWhetherItWasWritten) {
    EXPECT_TRUE(disk() == original);
    EXPECT_EQ(request({readable(Header{flush, 0, 0}), writable(1)}), ok);
    EXPECT_FALSE(image->layer()->written());
    ASSERT_EQ(request({readable(Header{discard, 0, 0}), readable(Range{8, 8, 0}), writable(1)}), ok);
    EXPECT_TRUE(image->layer()->written());
}

TEST_P(PrivateDisk, EachHasItsOwnAndNobodyWritesTheImage) {
    ASSERT_EQ(write(0, random_bytes(512, 8)), ok);
    const auto first = std::exchange(image, open());
    start();
    EXPECT_TRUE(disk() == original);
    EXPECT_TRUE(DiskImage::open({.path = path, .read_only = true}));
    const auto writer = DiskImage::open({.path = path});
    ASSERT_FALSE(writer);
    EXPECT_THAT(writer.error().message, HasSubstr("in use by another"));
    EXPECT_FALSE(image->writes_image());
    EXPECT_TRUE(image->sync() && image->hand_over() && image->take_back() && image->arrive());
}

TEST(PrivateDiskOpen, LeavesNoNameBehind) {
    const TemporaryDirectory directory;
    const TemporaryDirectory other;
    write_file(directory / "base", random_bytes(4096, 9));
    const auto beside = DiskImage::open({.path = directory / "base", .is_private = true});
    ASSERT_TRUE(beside) << beside.error().message;
    const auto there =
        DiskImage::open({.path = directory / "base", .is_private = true, .private_directory = other.path()});
    ASSERT_TRUE(there) << there.error().message;
    EXPECT_EQ(directory.files(), 1U);
    EXPECT_EQ(other.files(), 0U);
    EXPECT_EQ(there->label(), "disk, private in " + other.path().string());
}

TEST(PrivateDiskOpen, SaysWhereItCannotBeKept) {
    const TemporaryDirectory directory;
    const std::string base = directory / "base";
    write_file(base, random_bytes(4096, 9));
    const auto nowhere = DiskImage::open({.path = base, .is_private = true, .private_directory = directory / "none"});
    ASSERT_FALSE(nowhere);
    EXPECT_THAT(nowhere.error().message, HasSubstr("cannot keep in " + directory.path().string() + "/none"));
    const auto beside = DiskImage::open({.path = "/proc/self/exe", .is_private = true});
    ASSERT_FALSE(beside) << "nothing can be made in /proc";
    const auto writer = DiskImage::open({.path = base});
    ASSERT_TRUE(writer);
    const auto shared = DiskImage::open({.path = base, .is_private = true});
    ASSERT_FALSE(shared);
    EXPECT_THAT(shared.error().message, HasSubstr("in use by another"));
}

TEST(PrivateDiskOpen, IsKeptBelowTheGrantedDirectoryThatTheImageIsIn) {
    const TemporaryDirectory directory;
    const TemporaryDirectory outside;
    std::filesystem::create_directory(directory / "images");
    write_file(directory / "images/base", random_bytes(4096, 9));
    const auto granted = GrantedDirectory::open(directory.path());
    ASSERT_TRUE(granted);
    EXPECT_TRUE(DiskImage::open({.path = directory / "images/base", .is_private = true, .within = &*granted}));
    write_file(directory / "base", random_bytes(4096, 9));
    EXPECT_TRUE(DiskImage::open({.path = directory / "base", .is_private = true, .within = &*granted}));
    write_file(outside / "base", random_bytes(4096, 9));
    std::filesystem::create_directory_symlink(outside.path(), directory / "link");
    EXPECT_FALSE(DiskImage::open({.path = directory / "link/base", .is_private = true, .within = &*granted}));
}

TEST(PrivateDiskOpen, TheHostMayRefuseAnyPartOfIt) {
    const TemporaryDirectory directory;
    write_file(directory / "base", random_bytes(4096, 9));
    for (std::uint64_t nth = 1;; ++nth) {
        const RefusingHost host(nth, RefusingHost::For::once);
        const auto image = DiskImage::open({.path = directory / "base", .is_private = true});
        if (!host.refused()) {
            EXPECT_TRUE(image) << image.error().message;
            EXPECT_GT(nth, 3U) << "the image twice, the directory, the layer, and its map unless it is a clone";
            break;
        }
        EXPECT_FALSE(image);
    }
}

} // namespace
} // namespace aerate
