// What a private disk costs: to open one over an image of 10 GiB, on the host's disk, and for each request.
//
// TMPDIR says where, and with that which way is taken: a clone where its file system can share blocks (XFS, Btrfs),
// else what was written over the image. The label of each line says which it was.
#include "base/check.hpp"
#include "base/testing/temporary_directory.hpp"
#include "block/disk_image.hpp"

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <array>
#include <random>
#include <string>
#include <vector>

namespace aerate {
namespace {

constexpr std::uint64_t disk_size = 10ULL << 30;
constexpr std::uint64_t mib = 1U << 20;

/// An image of 10 GiB with a MiB of data in every 40, so that there is something to share.
const std::string& image_path() {
    static const TemporaryDirectory directory;
    static const std::string path = [] {
        std::string name = directory / "image";
        const FileDescriptor fd(::open(name.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
        CHECK(fd.valid() && ::ftruncate(fd.get(), disk_size) == 0);
        std::vector<std::byte> data(mib);
        std::mt19937 random(1);
        for (std::byte& byte : data)
            byte = static_cast<std::byte>(random());
        for (std::uint64_t offset = 0; offset < disk_size; offset += 40 * mib)
            CHECK(::pwrite(fd.get(), data.data(), data.size(), static_cast<off_t>(offset)) == mib);
        CHECK(::fsync(fd.get()) == 0);
        return name;
    }();
    return path;
}

enum Kind : std::int64_t { plain, private_disk };

DiskImage open(std::int64_t kind) {
    auto image = DiskImage::open({.path = image_path(), .is_private = kind == private_disk});
    CHECK(image.has_value());
    return std::move(*image);
}

const char* label(const DiskImage& image) {
    return image.layer() == nullptr ? "the image itself" : image.layer()->cloned() ? "clone" : "written over";
}

void transfer(IoEngine& engine, IoOperation operation) {
    std::uint64_t left = 0;
    for (const iovec& buffer : operation.buffers)
        left += buffer.iov_len;
    iovec rest = operation.buffers.front();
    while (left > 0) {
        operation.buffers = {&rest, 1};
        engine.submit(operation, 0);
        CHECK(engine.flush());
        pollfd waits{.fd = engine.completion_fd(), .events = POLLIN, .revents = 0};
        CHECK(::poll(&waits, 1, -1) == 1);
        engine.acknowledge();
        const auto done = engine.take_completion();
        CHECK(done && done->result > 0);
        const auto bytes = static_cast<std::uint64_t>(done->result);
        operation.offset += bytes;
        rest = {static_cast<std::byte*>(rest.iov_base) + bytes, rest.iov_len - bytes};
        left -= bytes;
    }
}

void open_and_close(benchmark::State& state) {
    (void)image_path();
    for (auto _ : state) {
        const DiskImage image = open(state.range(0));
        state.SetLabel(label(image));
    }
}
BENCHMARK(open_and_close)->Arg(plain)->Arg(private_disk)->Unit(benchmark::kMillisecond);

/// Returns what the layer takes of the host's disk: of a clone, whose file counts what it shares, what its file system
/// has less of than `free_before`.
double taken_mib(const PrivateLayer& layer, std::uint64_t free_before) {
    CHECK(::syncfs(layer.fd()) == 0);
    struct stat status{};
    struct statvfs all{};
    CHECK(::fstat(layer.fd(), &status) == 0 && ::fstatvfs(layer.fd(), &all) == 0);
    const std::int64_t bytes = layer.cloned() ? static_cast<std::int64_t>(free_before - all.f_bfree * all.f_frsize)
                                              : static_cast<std::int64_t>(status.st_blocks) * 512;
    return static_cast<double>(bytes) / mib;
}

/// A fresh private disk gets 100 MiB, half of it over data of the image, and discards them.
void write_and_discard(benchmark::State& state) {
    std::vector<std::byte> data(mib, std::byte{0x5a});
    iovec buffer{data.data(), data.size()};
    for (auto _ : state) {
        state.PauseTiming();
        struct statvfs before{};
        CHECK(::statvfs(image_path().c_str(), &before) == 0);
        const std::uint64_t free_before = before.f_bfree * before.f_frsize;
        state.ResumeTiming();
        const DiskImage image = open(private_disk);
        auto engine = *image.make_engine(IoEngineKind::io_uring, 4);
        for (std::uint64_t i = 0; i < 100; ++i)
            transfer(*engine, {.kind = IoOperation::Kind::write, .buffers = {&buffer, 1}, .offset = i * 20 * mib});
        CHECK(::fdatasync(image.layer()->fd()) == 0);
        state.PauseTiming();
        state.counters["MiB_written"] = taken_mib(*image.layer(), free_before);
        for (std::uint64_t i = 0; i < 100; ++i)
            CHECK(::fallocate(image.layer()->fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(i * 20 * mib), mib) == 0);
        state.counters["MiB_discarded"] = taken_mib(*image.layer(), free_before);
        state.SetLabel(label(image));
        state.ResumeTiming();
    }
}
BENCHMARK(write_and_discard)->Unit(benchmark::kMillisecond)->Iterations(1);

/// Again and again: what is not in the host's page cache at first soon is. A clone has pages of its own there.
void read_4_kib(benchmark::State& state) {
    const DiskImage image = open(state.range(0));
    auto engine = *image.make_engine(IoEngineKind::io_uring, 4);
    std::vector<std::byte> data(4096);
    iovec buffer{data.data(), data.size()};
    std::mt19937_64 random(2);
    for (auto _ : state)
        transfer(*engine, {.kind = IoOperation::Kind::read,
                           .buffers = {&buffer, 1},
                           .offset = random() % 256 * 40 * mib + random() % 256 * 4096});
    state.SetLabel(label(image));
}
BENCHMARK(read_4_kib)->Arg(plain)->Arg(private_disk)->Unit(benchmark::kMicrosecond);

} // namespace
} // namespace aerate
