#include "base/testing/temporary_directory.hpp"
#include "confine/paths.hpp"
#include "confine/privileges.hpp"
#include "confine/testing/kernel_answers.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace aerate::confine {
namespace {

class Paths : public ::testing::Test {
protected:
    void SetUp() override {
        if (landlock_version() == 0)
            GTEST_SKIP() << "NOT TESTED: this kernel has no Landlock";
        for (const char* const name : {"named", "other", "open"})
            make(at(name));
        ASSERT_EQ(::mkdir(at("below").c_str(), 0700), 0);
        ASSERT_EQ(::mkdir(at("beside").c_str(), 0700), 0);
        make(at("below/file"));
    }
    static void make(const std::string& path) { ::close(::open(path.c_str(), O_CREAT | O_RDWR, 0600)); }
    [[nodiscard]] std::string at(const std::string& name) const { return directory_ / name; }
    /// Returns 0 or the error.
    static int opens(const std::string& path, int flags) { return ::open(path.c_str(), flags, 0600) >= 0 ? 0 : errno; }

    TemporaryDirectory directory_;
};

TEST_F(Paths, OnlyWhatIsNamedIsOpened) {
    EXPECT_EQ(testing::in_a_child([this] {
                  const int before = ::open(at("open").c_str(), O_RDWR);
                  const std::vector<Place> places{
                      {at("named"), Access::read}, {at("below"), Access::directory}, {at("not there"), Access::write}};
                  if (!give_up_new_privileges() || !allow_only(places))
                      ::_exit(1);
                  if (opens(at("named"), O_RDONLY) != 0 || opens(at("named"), O_RDWR) != EACCES)
                      ::_exit(2);
                  if (opens(at("other"), O_RDONLY) != EACCES || opens("/etc/passwd", O_RDONLY) != EACCES)
                      ::_exit(3);
                  if (opens(at("below/new"), O_CREAT | O_EXCL | O_RDWR) != 0 ||
                      opens(at("new"), O_CREAT | O_RDWR) != EACCES)
                      ::_exit(4);
                  if (::rename(at("below/new").c_str(), at("below/newer").c_str()) != 0 ||
                      ::rename(at("below/newer").c_str(), at("beside/newer").c_str()) == 0)
                      ::_exit(5);
                  if (::write(before, "x", 1) != 1 || opens(at("below/../other"), O_RDONLY) != EACCES)
                      ::_exit(6);
                  if (::symlink("../other", at("below/link").c_str()) == 0)
                      ::_exit(7);
                  if (opens(at("below"), O_TMPFILE | O_RDWR) != 0)
                      ::_exit(8);
              }),
              0);
}

TEST_F(Paths, SocketsAreMadeAndRemovedWhereThatIsAllowed) {
    EXPECT_EQ(testing::in_a_child([this] {
                  if (!give_up_new_privileges() || !allow_only({{at("below"), Access::sockets}}))
                      ::_exit(1);
                  const auto binds = [](const std::string& path) {
                      sockaddr_un address{};
                      address.sun_family = AF_UNIX;
                      std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
                      const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
                      return ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
                  };
                  if (!binds(at("below/socket")) || binds(at("beside/socket")))
                      ::_exit(2);
                  if (::unlink(at("below/socket").c_str()) != 0 || opens(at("below/file"), O_RDONLY) != EACCES)
                      ::_exit(3);
              }),
              0);
}

} // namespace
} // namespace aerate::confine
