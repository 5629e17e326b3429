#include "confine/filter.hpp"
#include "confine/testing/kernel_answers.hpp"

#include <gmock/gmock.h>

#include <array>
#include <string>

namespace aerate::confine {
namespace {

using ::testing::HasSubstr;
using testing::in_a_child;

constexpr auto own = std::to_array<Rule>({
    {SYS_ioctl, request(0xae80)},
    {SYS_ioctl, requests_of('f')},
    {SYS_socket, argument_is(0, AF_UNIX)},
    {.call = SYS_openat, .refusal = EACCES},
    {SYS_openat, lacks(2, O_ACCMODE | O_CREAT)},
    {SYS_fsync},
});
constexpr ThreadKind kind{.name = "test", .calls = {own, every_thread}, .starts = {}};
constexpr std::array<const ThreadKind*, 1> started{&kind};
constexpr ThreadKind starter{.name = "starter", .calls = {every_thread}, .starts = started};

class Filter : public ::testing::Test {
protected:
    void SetUp() override {
        if (!testing::filters_can_be_tried)
            GTEST_SKIP() << "a sanitizer makes calls of its own";
    }
    static void confine_child() {
        if (!give_up_new_privileges() || !say_refused_calls() || !install(compile(kind)))
            ::_exit(100);
    }
};

TEST(Rules, AnArgumentIsCheckedByItsLowerHalf) {
    EXPECT_EQ(answer_to(kind, {SYS_ioctl, {3, 0xae80}}).verdict, Verdict::allowed);
    EXPECT_EQ(answer_to(kind, {SYS_ioctl, {3, 0xae81}}).verdict, Verdict::fatal);
    EXPECT_EQ(answer_to(kind, {SYS_ioctl, {3, 0xc0606610}}).verdict, Verdict::allowed) << "another request of a type";
    EXPECT_EQ(answer_to(kind, {SYS_socket, {AF_UNIX}}).verdict, Verdict::allowed);
    EXPECT_EQ(answer_to(kind, {SYS_socket, {AF_INET}}).verdict, Verdict::fatal);
    EXPECT_EQ(answer_to(kind, {SYS_openat, {0, 0, O_RDONLY | O_CLOEXEC}}).verdict, Verdict::allowed);
    EXPECT_EQ(answer_to(kind, {SYS_openat, {0, 0, O_RDWR}}), (Answer{Verdict::refused_with_error, EACCES}));
    EXPECT_EQ(answer_to(kind, {SYS_mmap, {0, 0, PROT_READ | PROT_EXEC}}).verdict, Verdict::fatal);
    EXPECT_EQ(answer_to(kind, {SYS_tgkill, {static_cast<std::uint32_t>(::getpid())}}).verdict, Verdict::allowed);
    EXPECT_EQ(answer_to(kind, {SYS_tgkill, {1}}).verdict, Verdict::fatal);
    EXPECT_EQ(answer_to(kind, {SYS_execve}).verdict, Verdict::fatal);
}

TEST(Rules, WhoStartsAThreadMayDoWhatItDoes) {
    EXPECT_EQ(answer_to(starter, {SYS_fsync}).verdict, Verdict::allowed);
    EXPECT_EQ(answer_to(starter, {SYS_fdatasync}).verdict, Verdict::fatal);
}

TEST(Rules, AreWrittenInWords) {
    const std::string text = describe(kind);
    EXPECT_THAT(text, HasSubstr("\n  ioctl: argument 1 & 0xff00 is 0x6600, or argument 1 is 0x5401"));
    EXPECT_THAT(text, HasSubstr("\n  fsync\n"));
    EXPECT_THAT(text, HasSubstr("\n  openat: argument 2 & 0x43 is 0x0; else fails with error 13\n"));
}

TEST_F(Filter, TheKernelAnswersEveryCallByTheRules) {
    testing::expect_answers_by_rule(kind);
    testing::expect_answers_by_rule(starter);
}

TEST_F(Filter, ArgumentsAreChecked) {
    EXPECT_EQ(in_a_child([] {
                  confine_child();
                  const bool closed = ::syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0) >= 0;
                  const bool refused = ::syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR) < 0 && errno == EACCES;
                  const bool read = ::syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY) >= 0;
                  ::_exit(closed && refused && read ? 0 : 1);
              }),
              0);
    const int status = in_a_child([] {
        confine_child();
        ::syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    });
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << status;
}

TEST_F(Filter, ARefusedCallEndsTheProcessWithItsNameAndTheThreads) {
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    const int status = in_a_child([&] {
        ::dup2(pipe[1], STDERR_FILENO);
        ::prctl(PR_SET_NAME, "vcpu7");
        confine_child();
        ::syscall(SYS_execve, "/bin/true", nullptr, nullptr);
        ::_exit(1);
    });
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << status;
    ::close(pipe[1]);
    std::array<char, 1024> said{};
    EXPECT_GT(::read(pipe[0], said.data(), said.size() - 1), 0);
    ::close(pipe[0]);
    EXPECT_THAT(said.data(), HasSubstr("the thread 'vcpu7' made the system call execve (59)"));
}

TEST_F(Filter, CallsByOtherTablesEndTheProcess) {
    const int x32 = in_a_child([] {
        confine_child();
        ::syscall(0x40000000 | SYS_getpid);
    });
    EXPECT_TRUE(WIFSIGNALED(x32) && WTERMSIG(x32) == SIGSYS) << x32;
    // The child's exit status says that the machine has no such calls at all.
    const int i386 = in_a_child([] {
        std::signal(SIGSEGV, [](int) { ::_exit(7); });
        confine_child();
        long number = 20; // getpid
        asm volatile("int $0x80" : "+a"(number) : : "memory");
    });
    EXPECT_TRUE((WIFSIGNALED(i386) && WTERMSIG(i386) == SIGSYS) || (WIFEXITED(i386) && WEXITSTATUS(i386) == 7)) << i386;
}

} // namespace
} // namespace aerate::confine
