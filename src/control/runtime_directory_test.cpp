#include "base/testing/temporary_directory.hpp"
#include "control/runtime_directory.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/stat.h>

#include <cstdlib>

namespace aerate::control {
namespace {

namespace fs = std::filesystem;

TEST(RuntimeDirectory, H6_VmNamesAreNamesNotPaths) {
    for (const auto* name : {"web1", "a", "A.b-c_9", "0"})
        EXPECT_TRUE(validate_vm_name(name)) << name;
    EXPECT_TRUE(validate_vm_name(std::string(64, 'a')));
    EXPECT_FALSE(validate_vm_name(std::string(65, 'a')));
    for (const auto* name : {"", ".", "..", ".hidden", "a/b", "../a", "a b", "a\n", "ä", "a*"})
        EXPECT_FALSE(validate_vm_name(name)) << name;
    EXPECT_FALSE(validate_vm_name(std::string_view("a\0b", 3)));
}

TEST(RuntimeDirectory, IsMadeForUsAlone) {
    const TemporaryDirectory parent;
    ASSERT_TRUE(secure_directory(parent.path() / "own"));
    EXPECT_EQ(fs::status(parent.path() / "own").permissions(), fs::perms::owner_all);
    EXPECT_TRUE(secure_directory(parent.path() / "own"));
    EXPECT_FALSE(secure_directory(parent.path() / "missing" / "own"));
}

TEST(RuntimeDirectory, H2_UnsafeDirectoriesAreRefused) {
    const TemporaryDirectory parent;
    const fs::path real = parent.path() / "real";
    ASSERT_TRUE(secure_directory(real));
    fs::create_directory_symlink(real, parent.path() / "link");
    EXPECT_FALSE(secure_directory(parent.path() / "link"));

    for (const mode_t mode : {0777U, 01777U, 0755U, 0770U, 0701U}) {
        ASSERT_EQ(::chmod(real.c_str(), mode), 0);
        const auto result = secure_directory(real);
        ASSERT_FALSE(result) << std::oct << mode;
        EXPECT_NE(result.error().message.find("chmod 700"), std::string::npos);
    }

    if (::geteuid() == 0) {
        ASSERT_EQ(::chmod(real.c_str(), 0700), 0);
        ASSERT_EQ(::chown(real.c_str(), 65534, 65534), 0);
        EXPECT_FALSE(secure_directory(real));
    }
}

TEST(RuntimeDirectory, ListsTheSocketsByName) {
    const TemporaryDirectory directory;
    for (const auto* file : {"b.sock", "a.sock", ".x.sock", "c.txt", "d e.sock"})
        ASSERT_NE(::mknod((directory.path() / file).c_str(), S_IFREG | 0600, 0), -1);
    EXPECT_EQ(list_vms(directory.path()), (std::vector<std::string>{"a", "b"}));
    EXPECT_TRUE(list_vms(directory.path() / "none").empty());
}

TEST(RuntimeDirectory, TheEnvironmentChoosesIt) {
    ::setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
    ::unsetenv("AERATE_RUNTIME_DIR");
    EXPECT_EQ(runtime_directory(), "/run/user/1/aerate");
    ::setenv("AERATE_RUNTIME_DIR", "/here", 1);
    EXPECT_EQ(runtime_directory(), "/here");
    ::unsetenv("AERATE_RUNTIME_DIR");
    ::unsetenv("XDG_RUNTIME_DIR");
    EXPECT_EQ(runtime_directory(),
              ::geteuid() == 0 ? std::string("/run/aerate") : fmt::format("/tmp/aerate-{}", ::geteuid()));
}

} // namespace
} // namespace aerate::control
