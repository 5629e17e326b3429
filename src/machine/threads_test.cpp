// Every kind of thread makes every system call, under the filter that it has; and the rules are those that somebody has
// looked at.
#include "confine/testing/kernel_answers.hpp"
#include "machine/threads.hpp"

#include <gtest/gtest.h>

namespace aerate {
namespace {

std::vector<const confine::ThreadKind*> all_kinds() {
    return testing::kinds_started_by(main_thread);
}

TEST(Threads, TheKernelAnswersEveryCallOfEachKindByItsRules) {
    if (!testing::filters_can_be_tried)
        GTEST_SKIP() << "a sanitizer makes calls of its own";
    for (const confine::ThreadKind* const kind : all_kinds())
        testing::expect_answers_by_rule(*kind);
}

TEST(Threads, TheRulesAreThoseThatWereLookedAt) {
    testing::expect_rules_as_in(AERATE_SAMPLES "/thread_calls.txt", all_kinds());
}

/// What an attacker wants, from a thread that a guest talks to.
TEST(Threads, NoKindReachesBeyondItsProcess) {
    using confine::Verdict;
    for (const confine::ThreadKind* const kind : all_kinds()) {
        for (const long call : {SYS_execve,
                                SYS_execveat,
                                SYS_fork,
                                SYS_vfork,
                                SYS_ptrace,
                                SYS_process_vm_readv,
                                SYS_process_vm_writev,
                                SYS_unshare,
                                SYS_setns,
                                SYS_mount,
                                SYS_pivot_root,
                                SYS_chroot,
                                SYS_bpf,
                                SYS_keyctl,
                                SYS_add_key,
                                SYS_perf_event_open,
                                SYS_init_module,
                                SYS_kexec_load,
                                SYS_setuid,
                                SYS_setresuid,
                                SYS_pidfd_getfd,
                                SYS_open_by_handle_at,
                                SYS_mknod,
                                SYS_mknodat,
                                SYS_symlink,
                                SYS_chmod,
                                SYS_chown,
                                SYS_personality,
                                SYS_tkill})
            EXPECT_EQ(confine::answer_to(*kind, {.number = call}).verdict, Verdict::fatal)
                << kind->name << ": " << confine::name_of_call(call);
        EXPECT_NE(confine::answer_to(*kind, {SYS_clone, {CLONE_NEWUSER}}).verdict, Verdict::allowed) << kind->name;
        EXPECT_NE(confine::answer_to(*kind, {SYS_clone, {CLONE_VM | CLONE_THREAD | CLONE_NEWNET}}).verdict,
                  Verdict::allowed)
            << kind->name;
        EXPECT_NE(confine::answer_to(*kind, {SYS_clone, {CLONE_VFORK | CLONE_VM}}).verdict, Verdict::allowed)
            << kind->name;
        EXPECT_EQ(confine::answer_to(*kind, {SYS_mmap, {0, 0, PROT_EXEC}}).verdict, Verdict::fatal) << kind->name;
        EXPECT_EQ(confine::answer_to(*kind, {SYS_mprotect, {0, 0, PROT_EXEC}}).verdict, Verdict::fatal) << kind->name;
        for (const int family : {AF_NETLINK, AF_PACKET, AF_VSOCK, AF_ALG})
            EXPECT_EQ(confine::answer_to(*kind, {SYS_socket, {static_cast<std::uint32_t>(family)}}).verdict,
                      Verdict::fatal)
                << kind->name;
    }
}

/// Those that work on what a guest gives them open no file and make no connection.
TEST(Threads, TheGuestsOwnThreadsOpenNothing) {
    using confine::Verdict;
    for (const confine::ThreadKind* const kind : {&vcpu_thread, &balloon_thread, &net_thread, &prefetch_thread}) {
        for (const long call : {SYS_openat, SYS_open, SYS_openat2, SYS_socket, SYS_connect, SYS_clone, SYS_unlink,
                                SYS_io_uring_setup, SYS_memfd_create})
            EXPECT_NE(confine::answer_to(*kind, {.number = call}).verdict, Verdict::allowed)
                << kind->name << ": " << confine::name_of_call(call);
    }
    EXPECT_EQ(confine::answer_to(vcpu_thread, {SYS_ioctl, {0, static_cast<std::uint32_t>(KVM_SET_USER_MEMORY_REGION)}})
                  .verdict,
              Verdict::fatal);
}

} // namespace
} // namespace aerate
