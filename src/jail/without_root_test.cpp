// Jails of a user who is not root, in namespaces of users.
#include "jail/testing/jailed.hpp"

#include <grp.h>
#include <sched.h>

#include <sys/mount.h>
#include <sys/sysmacros.h>

#include <filesystem>

namespace aerate::jail {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::Jails;
using testing::read_file;

constexpr uid_t user = 65532; ///< of nobody here

/// Becomes a user who may open /dev/kvm, as Debian's group kvm may: by a node that only this process sees.
bool become_user(const std::string& place) {
    const std::string node = place + "/kvm";
    const bool opened = ::unshare(CLONE_NEWNS) == 0 &&
                        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                        ::mknod(node.c_str(), S_IFCHR, makedev(10, 232)) == 0 && ::chmod(node.c_str(), 0666) == 0 &&
                        ::mount(node.c_str(), "/dev/kvm", nullptr, MS_BIND, nullptr) == 0;
    return opened && ::setgroups(0, nullptr) == 0 && ::setresgid(user, user, user) == 0 &&
           ::setresuid(user, user, user) == 0 && ::prctl(PR_SET_DUMPABLE, 1) == 0; // as after execve(2)
}

/// Returns whether what `work` expects as that user holds.
template <typename Work>
bool holds_for_a_user(Work&& work) {
    const TemporaryDirectory place;
    const pid_t child = ::fork();
    if (child == 0) {
        if (!become_user(place.path()))
            ::_exit(2);
        std::forward<Work>(work)();
        ::_exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    int status = -1;
    return ::waitpid(child, &status, 0) == child && status == 0;
}

class JailWithoutRoot : public ::testing::Test {
protected:
    void SetUp() override {
        AERATE_NEEDS_ROOT(); // to become a user
        const pid_t child = ::fork();
        if (child == 0)
            ::_exit(::setresuid(user, user, user) == 0 && ::unshare(CLONE_NEWUSER) == 0 ? 0 : 1);
        int status = -1;
        ::waitpid(child, &status, 0);
        if (status != 0 || !fs::exists("/dev/kvm"))
            GTEST_SKIP() << "NOT TESTED: this host lets its users have no user namespaces, or has no /dev/kvm";
    }
};

TEST_F(JailWithoutRoot, ItsProgramIsOnItsOwn) {
    const bool held = holds_for_a_user([] {
        Jails jails;
        Request request = jails.request();
        request.new_pid_namespace = true;
        request.network = Network::its_own;
        ASSERT_EQ(jails.start(request), "");
        const std::string proc = fmt::format("/proc/{}", jails.pid_of());
        for (const std::string what : {"mnt", "pid", "net", "ipc", "uts", "cgroup", "user"})
            EXPECT_NE(fs::read_symlink(proc + "/ns/" + what), fs::read_symlink("/proc/self/ns/" + what)) << what;
        const std::string status = read_file(proc + "/status");
        for (const std::string which : {"CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"})
            EXPECT_THAT(status, HasSubstr(which + ":\t0000000000000000\n"));
        EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1\n"));
        EXPECT_THAT(status, HasSubstr("Uid:\t65532\t65532\t65532\t65532\n"));
        struct stat device{};
        EXPECT_EQ(::stat((proc + "/root/dev/kvm").c_str(), &device), 0);
        EXPECT_EQ(device.st_rdev, makedev(10, 232));
        EXPECT_TRUE(fs::is_regular_file(jails.root() + "/dev/kvm")); // that mount is the jail's alone
        EXPECT_THAT(jails.start(request), HasSubstr("runs, as process"));
    });
    EXPECT_TRUE(held);
}

TEST_F(JailWithoutRoot, KilledAtAnyStepItLeavesNothingBehind) {
    const bool held = holds_for_a_user([] {
        Jails jails;
        const Request request = jails.request();
        for (const Step at : plan(request, Caller::user)) {
            const std::string said = jails.start(request, [&](Step step) {
                if (step == at)
                    ::kill(::getpid(), SIGKILL);
            });
            EXPECT_THAT(said, ::testing::AnyOf("killed", HasSubstr("was ended before"))) << describe(at);
            ASSERT_EQ(jails.start(request), "") << describe(at);
            jails.end_all();
            EXPECT_FALSE(jail::remove(request).value()) << describe(at);
            EXPECT_FALSE(fs::exists(jails.of_program() + "/vm1")) << describe(at);
        }
    });
    EXPECT_TRUE(held);
}

TEST_F(JailWithoutRoot, NobodyElseIsBecome) {
    const bool held = holds_for_a_user([] {
        Jails jails;
        Request request = jails.request();
        request.user = 0;
        EXPECT_NE(jails.start(request), "");
        request = jails.request();
        request.network = Network::named;
        request.netns = "/proc/self/ns/net";
        EXPECT_THAT(jails.start(request), HasSubstr("only root may join it"));
    });
    EXPECT_TRUE(held);
}

TEST_F(JailWithoutRoot, WhoStandsForEverybodyElseHasNone) {
    const pid_t child = ::fork();
    if (child == 0)
        ::_exit(::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0 &&
                        [&] {
                            Jails own;
                            return own.start(own.request()).find("stands for everybody else") != std::string::npos;
                        }()
                    ? 0
                    : 1);
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

} // namespace
} // namespace aerate::jail
