#include "base/testing/other_user.hpp"
#include "base/testing/temporary_directory.hpp"
#include "migration/lease.hpp"
#include "migration/testing/lease_rules.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <memory>

namespace aerate::migration {
namespace {

struct LeaseFile : ::testing::Test {
    [[nodiscard]] FileLease open() const {
        auto lease = FileLease::open(path);
        EXPECT_TRUE(lease) << lease.error().message;
        return std::move(*lease);
    }
    [[nodiscard]] testing::OpenLease opener() const {
        return [this] { return std::make_unique<FileLease>(open()); };
    }
    TemporaryDirectory directory;
    std::string path = directory / "lease";
};

TEST_F(LeaseFile, TheFirstClaimOfASessionWinsForEver) {
    testing::expect_that_the_first_claim_wins_for_ever(opener());
}

TEST_F(LeaseFile, WhoSleptThroughALaterMigrationWinsNothing) {
    testing::expect_that_who_slept_through_a_later_move_wins_nothing(opener());
}

TEST_F(LeaseFile, OfManyWhoClaimAtOnceOneWins) {
    testing::expect_that_of_many_at_once_one_wins(opener());
}

TEST_F(LeaseFile, WhatIsNoLeaseIsRefused) {
    std::filesystem::create_symlink("/etc/passwd", directory / "link");
    EXPECT_FALSE(FileLease::open(directory / "link"));
    EXPECT_FALSE(FileLease::open(directory.path()));
    EXPECT_FALSE(FileLease::open(directory / "no/such"));
    (void)open();
    for (const std::uintmax_t length : {1U, 63U, 64U}) {
        // Cut, or with one byte changed.
        std::filesystem::resize_file(path, 64);
        if (length < 64) {
            std::filesystem::resize_file(path, length);
        } else {
            const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
            EXPECT_EQ(::pwrite(fd, "x", 1, 30), 1);
            ::close(fd);
        }
        EXPECT_FALSE(FileLease::open(path));
        std::filesystem::remove(path);
        (void)open();
    }
    std::ofstream(path) << "short";
    const auto cut = FileLease::open(path);
    ASSERT_FALSE(cut);
    EXPECT_EQ(cut.error().message, "cannot read the lease " + path + ": it ends too early, at 5");
    std::filesystem::remove(path);
    auto lease = open();
    const auto terms = *lease.terms();
    std::filesystem::remove(path);
    auto other = open();
    EXPECT_FALSE(other.claim(terms, Session::random(), Side::source)) << "another lease under the same name";
}

TEST_F(LeaseFile, ALeaseThatOthersCanWriteOrLockIsRefused) {
    (void)open();
    for (const mode_t mode : {0660U, 0620U, 0606U, 0602U, 0666U, 0644U}) {
        ASSERT_EQ(::chmod(path.c_str(), mode), 0);
        const auto refused = FileLease::open(path);
        ASSERT_FALSE(refused) << std::oct << mode;
        EXPECT_TRUE(refused.error().message.contains("chmod 600 " + path)) << refused.error().message;
    }
    ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
    (void)open();
    AERATE_NEEDS_ANOTHER_USER();
    ASSERT_EQ(::chown(path.c_str(), other_user, 0), 0);
    const auto foreign = FileLease::open(path);
    ASSERT_FALSE(foreign);
    EXPECT_TRUE(foreign.error().message.contains("belongs to user")) << foreign.error().message;
}

} // namespace
} // namespace aerate::migration
