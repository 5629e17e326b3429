// What a jail's program tries, and what it may have done before the next start: docs/hostile-inputs.md.
#include "base/fd.hpp"
#include "confine/privileges.hpp"
#include "jail/cgroups.hpp"
#include "jail/inheritance.hpp"
#include "jail/occupants.hpp"
#include "jail/testing/jailed.hpp"

#include <fcntl.h>
#include <pty.h>
#include <sched.h>

#include <linux/keyctl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <filesystem>
#include <functional>
#include <thread>

namespace aerate::jail {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::Jails;
using testing::read_file;
using testing::write_file;

/// Returns the exit status of a process that does only that.
int in_a_process(const std::function<int()>& work) {
    const pid_t pid = ::fork();
    if (pid == 0)
        ::_exit(work());
    int status = 0;
    CHECK(::waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(JailHostileProgram, J21_ItTypesIntoNoTerminal) {
    EXPECT_EQ(in_a_process([] {
                  int outer = -1;
                  int terminal = -1;
                  termios settings{};
                  if (::openpty(&outer, &terminal, nullptr, nullptr, nullptr) != 0 ||
                      !confine::give_up_new_privileges() || !leave_terminal_alone())
                      return 1;
                  errno = 0;
                  constexpr std::array<unsigned long, 2> requests{TIOCSTI, TIOCSTI | 0xabcd'0000'0000'0000UL};
                  for (const unsigned long request : requests) // of which the kernel looks at the lower half
                      if (::syscall(SYS_ioctl, terminal, request, "x") == 0 || errno != EPERM)
                          return 2;
                  return ::tcgetattr(terminal, &settings) == 0 ? 0 : 3; // all else works
              }),
              0);
}

TEST(JailHostileProgram, J22_ItHasNoneOfTheLaunchersKeys) {
    const auto finds_the_key = [] {
        return ::syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "aerate-jail-test", 0) > 0;
    };
    const int found = in_a_process([&] {
        if (::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) < 0 ||
            ::syscall(SYS_add_key, "user", "aerate-jail-test", "secret", 6, KEY_SPEC_SESSION_KEYRING) < 0)
            return 77;
        if (!finds_the_key())
            return 1;
        return leave_keyring() && !finds_the_key() ? 0 : 2;
    });
    if (found == 77)
        GTEST_SKIP() << "NOT TESTED: this host lets us add no key";
    EXPECT_EQ(found, 0);
}

TEST(JailHostileProgram, J23_AJailRunsWhileAnyThreadIsInThereByWhateverRoot) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    jails.prepare_root();
    fs::create_directory(jails.root() + "/below");
    const FileDescriptor root(::open(jails.root().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_EQ(process_in(root.get()).value(), std::nullopt);
    for (const bool first_thread_ends : {false, true}) {
        std::array<int, 2> ends{};
        ASSERT_EQ(::pipe(ends.data()), 0);
        const pid_t pid = ::fork();
        if (pid == 0) {
            if (::chroot((jails.root() + (first_thread_ends ? "" : "/below")).c_str()) != 0)
                ::_exit(1);
            std::jthread other([&] {
                (void)!::write(ends[1], "!", 1);
                for (;;)
                    ::pause();
            });
            if (first_thread_ends)
                ::syscall(SYS_exit, 0); // this thread alone
            other.join();
        }
        char word = 0;
        ASSERT_EQ(::read(ends[0], &word, 1), 1);
        if (first_thread_ends) // which is some moments after the other has spoken
            while (fs::exists(fmt::format("/proc/{}/root/below", pid)))
                ::sched_yield();
        EXPECT_EQ(process_in(root.get()).value(), pid) << first_thread_ends;
        EXPECT_THAT(jails.start(jails.request()), HasSubstr("runs, as process"));
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        ::close(ends[0]);
        ::close(ends[1]);
    }
    fs::remove(jails.root() + "/below");
    EXPECT_EQ(jails.start(jails.request()), "");
}

TEST(JailHostileProgram, J24_NobodyElseOpensTheJailsDirectoryWhichWouldBeToLockIt) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    ASSERT_EQ(jails.start(jails.request()), "");
    struct stat status{};
    ASSERT_EQ(::stat((jails.of_program() + "/vm1").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0710U);
    EXPECT_EQ(status.st_uid, 0U);
    EXPECT_EQ(status.st_gid, testing::jailed_user) << "who calls the API as the jail's group gets in";
    ASSERT_EQ(::stat(jails.of_program().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0711U);
}

TEST(JailHostileProgram, J25_WhatItHasLeftInRunBarsNoStartAfterOneThatFailed) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    ASSERT_EQ(jails.start(jails.request()), "");
    jails.end_all();
    const std::string left = jails.root() + "/run/left";
    write_file(left, "a socket, say");
    ASSERT_EQ(::chown(left.c_str(), testing::jailed_user, testing::jailed_user), 0);
    EXPECT_EQ(jails.start(jails.request(),
                          [](Step step) {
                              if (step == Step::enter_root)
                                  ::kill(::getpid(), SIGKILL);
                          }),
              "killed");
    EXPECT_EQ(jails.start(jails.request()), "");
    EXPECT_EQ(read_file(left), "a socket, say");
}

TEST(JailHostileProgram, J26_ARootThatItHasOpenedToAllIsClosedAtTheNextStart) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    ASSERT_EQ(jails.start(jails.request()), "");
    jails.end_all();
    ASSERT_EQ(::chmod(jails.root().c_str(), 0777), 0); // its own
    EXPECT_EQ(jails.start(jails.request()), "");
    struct stat status{};
    ASSERT_EQ(::stat(jails.root().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0700U);
}

TEST(JailHostileProgram, J27_NoStandardStreamLeadsOutOfTheRoot) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    for (const int flags : {O_RDONLY | O_DIRECTORY, O_PATH})
        EXPECT_THAT(jails.start(jails.request(),
                                [&](Step step) {
                                    if (step == Step::close_descriptors)
                                        ::dup2(::open("/", flags), STDIN_FILENO);
                                }),
                    HasSubstr("leads out of the jail"));
}

TEST(JailHostileProgram, ACgroupThatAnEarlierJailHasLeftKeepsNoLimits) {
    AERATE_NEEDS_ROOT();
    Jails jails;
    Request request = jails.request();
    request.cgroup = {.parent = *CgroupPath::parse(fmt::format("aerate-test-left-{}", ::getpid())),
                      .settings = {*CgroupSetting::parse("pids.max=500")}};
    const auto there = Hierarchies::of_this_host().value();
    if (!there.v1.contains("pids") && !there.v1.empty())
        GTEST_SKIP() << "NOT TESTED: this host has no controller of pids";
    Cgroup cgroup = cgroups_of(request, there).value().front();
    if (const auto made = make(cgroup); !made)
        GTEST_SKIP() << "NOT TESTED: " << made.error().message;
    EXPECT_EQ(read_file(cgroup.path() + "/pids.max"), "500\n");
    cgroup.settings.clear();
    EXPECT_TRUE(make(cgroup));
    EXPECT_EQ(read_file(cgroup.path() + "/pids.max"), "max\n");
    EXPECT_TRUE(remove(cgroup));
    cgroup.name = cgroup.parents.back();
    cgroup.parents.pop_back();
    EXPECT_TRUE(remove(cgroup));
}

} // namespace
} // namespace aerate::jail
