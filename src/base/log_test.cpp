#include "base/log.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <string>

namespace aerate {
namespace {

/// A pipe in the place of standard error.
class Said {
public:
    Said()
        : own_(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)) {
        EXPECT_EQ(::pipe2(ends_.data(), O_CLOEXEC), 0);
        ::dup2(ends_[1], STDERR_FILENO);
    }
    ~Said() {
        ::dup2(own_.get(), STDERR_FILENO);
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    Said(const Said&) = delete;
    Said& operator=(const Said&) = delete;

    /// Returns what was said so far.
    [[nodiscard]] std::string all() const {
        ::fcntl(ends_[0], F_SETFL, O_NONBLOCK);
        std::array<char, 4096> bytes{};
        const ssize_t count = ::read(ends_[0], bytes.data(), bytes.size());
        return {bytes.data(), count > 0 ? static_cast<std::size_t>(count) : 0};
    }

private:
    FileDescriptor own_;
    std::array<int, 2> ends_{};
};

TEST(Log, SaysOnStandardErrorWhoSpeaksAndHowBadItIs) {
    const Said said;
    log::warning("{} of {} are gone", 2, 3);
    log::error("all");
    EXPECT_EQ(said.all(), "aerate: warning: 2 of 3 are gone\r\naerate: error: all\r\n");
}

TEST(Log, S9_EscapesWhatItIsGiven) {
    const Said said;
    log::info("a disk named {}", "\x1b[2J");
    EXPECT_EQ(said.all(), "aerate: info: a disk named \\x1b[2J\r\n");
}

TEST(Log, KeepsWhatIsBelowItsLevelToItself) {
    const Said said;
    log::debug("nobody asked");
    log::set_level(log::Level::error);
    log::warning("nor here");
    log::set_level(log::Level::off);
    log::error("nor here");
    log::set_level(log::Level::trace);
    log::debug("now");
    log::set_level(log::Level::info);
    EXPECT_EQ(said.all(), "aerate: debug: now\r\n");
}

} // namespace
} // namespace aerate
