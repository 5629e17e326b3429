// What another user, or the program of an earlier jail, may have prepared where a jail is made: docs/hostile-inputs.md.
#include "base/testing/other_user.hpp"
#include "jail/testing/jailed.hpp"

#include <fcntl.h>

#include <sys/sysmacros.h>

#include <filesystem>

namespace aerate::jail {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::Jails;
using testing::read_file;
using testing::write_file;

class JailHostilePlace : public ::testing::Test {
protected:
    void SetUp() override { AERATE_NEEDS_ROOT(); }

    /// Expects that the jail is refused for that reason, and that nothing was made at its place but what was there.
    void expect_refusal(const std::string& reason) { expect_refusal(jails_.request(), reason); }
    void expect_refusal(const Request& request, const std::string& reason) {
        EXPECT_THAT(jails_.start(request), HasSubstr(reason));
    }
    /// Somebody else's directory, which must stay as it is.
    std::string victim() {
        const std::string path = jails_ / "victim";
        fs::create_directory(path);
        write_file(path + "/file", "precious", 0600);
        return path;
    }
    void expect_victim_is_whole() {
        const std::string path = jails_ / "victim";
        EXPECT_EQ(std::distance(fs::directory_iterator(path), {}), 1);
        EXPECT_EQ(read_file(path + "/file"), "precious");
        for (const std::string& each : {path, path + "/file"}) {
            struct stat status{};
            EXPECT_EQ(::stat(each.c_str(), &status), 0);
            EXPECT_EQ(status.st_uid, 0U) << each;
        }
    }
    static void give_to_stranger(const std::string& path) {
        ASSERT_EQ(::lchown(path.c_str(), other_user, other_user), 0);
    }

    Jails jails_;
};

TEST_F(JailHostilePlace, J2_AStrangersLinkOnTheWayToTheBaseIsNotFollowed) {
    const std::string shared = jails_ / "shared";
    fs::create_directory(shared);
    ASSERT_EQ(::chmod(shared.c_str(), 01777), 0);
    fs::create_directory_symlink(victim(), shared + "/base");
    Request request = jails_.request();
    request.base = shared + "/base/below";
    give_to_stranger(shared + "/base");
    expect_refusal(request, "belongs to the user 65534");
    expect_victim_is_whole();
    fs::remove(shared + "/base");
    fs::create_directory_symlink(jails_.base(), shared + "/base"); // the operator's own is
    request.base = shared + "/base";
    EXPECT_EQ(jails_.start(request), "");
}

TEST_F(JailHostilePlace, J3_ADirectoryOnTheWayThatEverybodyWritesToIsRefused) {
    const std::string open = jails_ / "open";
    fs::create_directories(open + "/base");
    Request request = jails_.request();
    request.base = open + "/base";
    for (const mode_t mode : {0777U, 0775U, 0757U}) {
        ASSERT_EQ(::chmod(open.c_str(), mode), 0);
        expect_refusal(request, "can be written to by others");
    }
    EXPECT_TRUE(fs::is_empty(open + "/base"));
}

TEST_F(JailHostilePlace, J4_ABaseOfAnotherUserIsRefused) {
    give_to_stranger(jails_.base());
    expect_refusal("belongs to the user 65534");
    EXPECT_TRUE(fs::is_empty(jails_.base()));
}

TEST_F(JailHostilePlace, J5_ALinkInPlaceOfTheProgramsDirectoryIsRefused) {
    fs::create_directory_symlink(victim(), jails_.of_program());
    expect_refusal("is a symbolic link");
    expect_victim_is_whole();
}

TEST_F(JailHostilePlace, J6_ALinkInPlaceOfTheJailsDirectoryIsRefused) {
    fs::create_directory(jails_.of_program());
    fs::create_directory_symlink(victim(), jails_.of_program() + "/vm1");
    expect_refusal("is a symbolic link");
    expect_victim_is_whole();
}

TEST_F(JailHostilePlace, J7_ALinkInPlaceOfTheRootIsRefused) {
    jails_.prepare_root();
    fs::remove(jails_.root());
    for (const std::string& target : {victim(), std::string("/"), std::string("..")}) {
        fs::create_directory_symlink(target, jails_.root());
        expect_refusal("is a symbolic link");
        fs::remove(jails_.root());
    }
    expect_victim_is_whole();
}

TEST_F(JailHostilePlace, J8_DirectoriesThatAStrangerPreparedAreRefused) {
    jails_.prepare_root();
    for (const std::string& path : {jails_.of_program(), jails_.of_program() + "/vm1", jails_.root()}) {
        give_to_stranger(path);
        expect_refusal("belongs to the user 65534");
        ASSERT_EQ(::chown(path.c_str(), 0, 0), 0);
        ASSERT_EQ(::chmod(path.c_str(), 0777), 0);
        expect_refusal("can be written to by others");
        ASSERT_EQ(::chmod(path.c_str(), 0755), 0);
    }
    EXPECT_TRUE(fs::is_empty(jails_.root()));
    EXPECT_EQ(jails_.start(jails_.request()), "");
}

TEST_F(JailHostilePlace, J9_AProgramThatIsNoFileIsRefused) {
    Request request = jails_.request();
    request.program = jails_.base();
    expect_refusal(request, "not a regular file");
    request.program = jails_ / "fifo";
    ASSERT_EQ(::mkfifo(request.program.c_str(), 0755), 0);
    expect_refusal(request, "not a regular file");
    request.program = "/dev/null";
    expect_refusal(request, "not a regular file");
    request.program = jails_ / "text";
    write_file(request.program, "text", 0644);
    expect_refusal(request, "not executable");
    EXPECT_TRUE(fs::is_empty(jails_.base()));
}

TEST_F(JailHostilePlace, J10_AProgramThatOthersCanChangeIsRefused) {
    ASSERT_EQ(::chmod(jails_.program().c_str(), 0775), 0);
    expect_refusal(jails_.program());
    ASSERT_EQ(::chmod(jails_.program().c_str(), 0755), 0);
    give_to_stranger(jails_.program());
    expect_refusal(jails_.program());
    EXPECT_TRUE(fs::is_empty(jails_.base()));
}

TEST_F(JailHostilePlace, J11_ALinkWhereTheProgramGoesIsReplaced) {
    jails_.prepare_root();
    fs::create_symlink(victim() + "/file", jails_.root() + "/idle");
    EXPECT_EQ(jails_.start(jails_.request()), "");
    EXPECT_EQ(read_file(jails_.root() + "/idle"), read_file(jails_.program()));
    expect_victim_is_whole();
}

TEST_F(JailHostilePlace, J12_ALinkWhereTheProcessNumberGoesIsReplaced) {
    jails_.prepare_root();
    fs::create_symlink(victim() + "/file", jails_.root() + "/idle.pid");
    EXPECT_EQ(jails_.start(jails_.request()), "");
    EXPECT_GT(jails_.pid_of(), 0);
    expect_victim_is_whole();
}

TEST_F(JailHostilePlace, J13_ALinkInPlaceOfTheDevicesDirectoryIsRefused) {
    jails_.prepare_root();
    fs::create_directory_symlink(victim(), jails_.root() + "/dev");
    expect_refusal("is a symbolic link");
    fs::remove(jails_.root() + "/dev");
    fs::create_directory(jails_.root() + "/dev");
    fs::create_directory_symlink(victim(), jails_.root() + "/dev/net");
    expect_refusal("is a symbolic link");
    expect_victim_is_whole();
}

TEST_F(JailHostilePlace, J13_ADirectoryThatTheProgramPutThereIsNotGivenToIt) {
    for (const std::string name : {"dev", "run"}) {
        jails_.prepare_root();
        fs::create_directory(jails_.root() + "/" + name); // the operator's, by another name before
        write_file(jails_.root() + "/" + name + "/secret", "precious", 0600);
        expect_refusal("/" + name + " has ");
        EXPECT_EQ(fs::file_size(jails_.root() + "/" + name + "/secret"), 8U);
        struct stat status{};
        ASSERT_EQ(::stat((jails_.root() + "/" + name).c_str(), &status), 0);
        EXPECT_EQ(status.st_uid, 0U);
        fs::remove_all(jails_.root());
    }
}

TEST_F(JailHostilePlace, J14_AnotherNameOfAFileWhereADeviceGoesIsReplaced) {
    jails_.prepare_root();
    fs::create_directory(jails_.root() + "/dev");
    fs::create_hard_link(victim() + "/file", jails_.root() + "/dev/kvm");
    EXPECT_EQ(jails_.start(jails_.request()), "");
    expect_victim_is_whole();
    struct stat node{};
    ASSERT_EQ(::stat((jails_.root() + "/dev/kvm").c_str(), &node), 0);
    EXPECT_TRUE(S_ISCHR(node.st_mode));
    EXPECT_EQ(node.st_rdev, makedev(10, 232));
    EXPECT_EQ(node.st_uid, testing::jailed_user);
    EXPECT_EQ(node.st_mode & 07777, 0600U);
}

TEST_F(JailHostilePlace, J15_ALinkInPlaceOfTheSocketsDirectoryIsRefused) {
    jails_.prepare_root();
    fs::create_directory_symlink(victim(), jails_.root() + "/run");
    expect_refusal("is a symbolic link");
    expect_victim_is_whole();
}

TEST_F(JailHostilePlace, J16_AJailIsStartedOnce) {
    const Request request = jails_.request();
    std::string second;
    EXPECT_EQ(jails_.start(request,
                           [&](Step step) {
                               if (step == Step::copy_program &&
                                   (second = jails_.start(request)).find("is being started") == std::string::npos)
                                   ::_exit(1);
                           }),
              "");
    expect_refusal("runs, as process");
    fs::remove(jails_.root() + "/idle.pid"); // what its program may do; it is not what is asked
    expect_refusal("runs, as process");
    EXPECT_THAT(jail::remove(request).error().message, HasSubstr("runs, as process"));
}

TEST_F(JailHostilePlace, J19_WhatIsNoNetworkNamespaceIsRefusedAtOnce) {
    Request request = jails_.request();
    request.network = Network::named;
    request.netns = jails_ / "fifo";
    ASSERT_EQ(::mkfifo(request.netns.c_str(), 0600), 0);
    expect_refusal(request, "is no network namespace");
    request.netns = "/proc/self/ns/mnt";
    expect_refusal(request, "is no network namespace");
    request.netns = jails_ / "none";
    expect_refusal(request, "cannot open");
    request.netns = "/proc/self/ns/net";
    EXPECT_EQ(jails_.start(request), "");
}

TEST_F(JailHostilePlace, J20_ARootThatIsExchangedMeanwhileIsNotUsed) {
    const std::string target = victim();
    const Request request = jails_.request();
    for (const Step at : plan(request, Caller::root)) {
        if (at <= Step::open_directories || at > Step::start_process)
            continue;
        const std::string moved = jails_ / fmt::format("moved-{}", static_cast<int>(at));
        const auto beginning = Jails::begin(request, [&](Step step) {
            if (step == at)
                ::raise(SIGSTOP);
        });
        int status = 0;
        ASSERT_EQ(::waitpid(beginning.launcher, &status, WUNTRACED), beginning.launcher);
        ASSERT_TRUE(WIFSTOPPED(status)) << describe(at);
        fs::rename(jails_.root(), moved);
        fs::create_directory_symlink(target, jails_.root());
        ::kill(beginning.launcher, SIGCONT);
        const std::string failed = jails_.finish(beginning, request);
        expect_victim_is_whole();
        // It is made where it was begun, or not at all: never elsewhere.
        EXPECT_TRUE(!failed.empty() || fs::exists(moved + "/idle")) << describe(at);
        if (const pid_t pid = std::atoi(read_file(moved + "/idle.pid").c_str()); failed.empty() && pid > 0)
            ::kill(pid, SIGKILL);
        fs::remove(jails_.root());
    }
}

} // namespace
} // namespace aerate::jail
