#include "base/testing/temporary_directory.hpp"
#include "control/json.hpp"
#include "machine/monitor_files.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <fstream>
#include <sstream>

namespace aerate {
namespace {

std::string content_of(const std::filesystem::path& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

TEST(MetricsFile, AppendsALineEachTime) {
    const TemporaryDirectory directory;
    MetricsFile metrics;
    EXPECT_TRUE(metrics.write({})); // there is no file: nothing happens
    ASSERT_TRUE(metrics.open(directory.path() / "metrics"));
    EXPECT_TRUE(metrics.write({}));
    EXPECT_TRUE(metrics.write({}));
    std::istringstream lines(content_of(directory.path() / "metrics"));
    unsigned count = 0;
    for (std::string line; std::getline(lines, line); ++count)
        EXPECT_TRUE(control::parse_json(line)) << line;
    EXPECT_EQ(count, 2U);
}

TEST(MetricsFile, AFifoThatNobodyReadsHoldsUpNobodyAndBreaksNoLine) {
    const TemporaryDirectory directory;
    const std::string path = directory.path() / "fifo";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    MetricsFile metrics;
    ASSERT_TRUE(metrics.open(path));
    control::VmStatus status;
    for (int i = 0; i < 200; ++i)
        status.counters.push_back(
            {"block_reads", "", 1, {{"device", "block:a_disk_with_a_name_" + std::to_string(i)}}});
    bool all_taken = true;
    for (int i = 0; i < 50; ++i) // some 10 KiB each: more than a FIFO holds
        all_taken = metrics.write(status).has_value() && all_taken;
    EXPECT_FALSE(all_taken);
    const FileDescriptor reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    std::string text;
    std::array<char, 4096> chunk;
    const auto drain = [&] {
        for (ssize_t got = 0; (got = ::read(reader.get(), chunk.data(), chunk.size())) > 0;)
            text.append(chunk.data(), static_cast<std::size_t>(got));
    };
    drain();
    EXPECT_TRUE(metrics.write(status)); // ends the line that was broken off
    drain();
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
        EXPECT_TRUE(control::parse_json(line)) << line.substr(0, 100);
}

/// A disk on which a file can have `most` bytes.
class FullDisk {
public:
    explicit FullDisk(rlim_t most) {
        EXPECT_EQ(::getrlimit(RLIMIT_FSIZE, &before_), 0);
        set({.rlim_cur = most, .rlim_max = before_.rlim_max});
    }
    FullDisk(const FullDisk&) = delete;
    ~FullDisk() {
        set(before_);
        (void)std::signal(SIGXFSZ, handler_);
    }

private:
    static void set(const rlimit& limit) { EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0); }
    rlimit before_{};
    void (*handler_)(int) = std::signal(SIGXFSZ, SIG_IGN);
};

TEST(MetricsFile, NothingThatWasCountedIsLostWithAFullDisk) {
    const auto reads = [](std::uint64_t count) {
        return control::VmStatus{.counters = {{"block_reads", "", count, {{"device", "block:root"}}}}};
    };
    for (const rlim_t room : {0U, 1U, 40U}) { // nothing of a line, or a part of it
        const TemporaryDirectory directory;
        MetricsFile metrics;
        ASSERT_TRUE(metrics.open(directory.path() / "metrics"));
        {
            const FullDisk disk(room);
            const auto refused = metrics.write(reads(3));
            ASSERT_FALSE(refused) << room;
            EXPECT_TRUE(refused.error().message.contains(directory / "metrics")) << refused.error().message;
            EXPECT_FALSE(metrics.write(reads(5)));
        }
        EXPECT_TRUE(metrics.write(reads(9)));
        std::istringstream lines(content_of(directory.path() / "metrics"));
        std::uint64_t sum = 0;
        for (std::string line; std::getline(lines, line);) {
            const auto json = control::parse_json(line);
            ASSERT_TRUE(json) << line;
            sum += (*json)["block"]["read_count"].get<std::uint64_t>();
        }
        EXPECT_EQ(sum, 9U) << room;
    }
}

TEST(MonitorFiles, WhatCannotBeOpenedIsSaid) {
    const auto log = set_up_log({.log_path = "/nowhere/log"}, "vm");
    ASSERT_FALSE(log);
    EXPECT_TRUE(log.error().message.contains("/nowhere/log"));
    EXPECT_FALSE(serial_output({.serial_out_path = "/nowhere/serial"}, {}));
    EXPECT_EQ(serial_output({}, {.kind = control::ConsoleKind::terminal})->kind, control::ConsoleKind::terminal);
}

TEST(MonitorFiles, ALimitOfSerialOutputIsKeptWhereverThatGoes) {
    const TemporaryDirectory directory;
    const control::TokenBucketConfig limit{.size = 4, .refill_time = std::chrono::hours(1)};
    const auto text = std::as_bytes(std::span(std::string_view("abcdef")));
    const auto file = serial_output({.serial_out_path = directory / "serial", .rate_limiter = limit}, {});
    ASSERT_TRUE(file);
    EXPECT_EQ(file->output->write(text), 6U);
    EXPECT_EQ(content_of(directory / "serial"), "abcd");
    EXPECT_EQ(file->output->dropped_bytes(), 2U);
    const auto given = serial_output({.rate_limiter = limit}, {.kind = control::ConsoleKind::terminal});
    EXPECT_EQ(given->kind, control::ConsoleKind::terminal);
    EXPECT_EQ(given->output->write(text), 6U);
    EXPECT_EQ(given->output->dropped_bytes(), 2U);
    const auto none = serial_output({.rate_limiter = control::TokenBucketConfig{}}, {});
    EXPECT_EQ(none->output->write(text), 6U);
    EXPECT_EQ(none->output->dropped_bytes(), 0U) << "a size of 0 is no limit";
}

} // namespace
} // namespace aerate
