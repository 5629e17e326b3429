#include "vhost_user/shared_file.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/mman.h>

namespace aerate::vhost_user {
namespace {

TEST(SharedFile, V9_ADirtyLogOfHugePagesIsRefused) {
    FileDescriptor file(::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB));
    if (!file.valid())
        GTEST_SKIP() << "this kernel has no huge pages";
    ASSERT_EQ(::ftruncate(file.get(), 2 << 20), 0);
    const auto mapped = SharedFile::map("dirty log", std::move(file), {}, ByteCount{4096}, ByteCount{1 << 20});
    ASSERT_FALSE(mapped);
    EXPECT_NE(mapped.error().message.find("huge pages"), std::string::npos) << mapped.error().message;
}

} // namespace
} // namespace aerate::vhost_user
