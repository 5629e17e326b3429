// What the kernel answers to every system call of a thread of some kind, under the filter that such a thread has.
#pragma once

#include "base/testing/sanitized.hpp"
#include "confine/calls.hpp"
#include "confine/filter.hpp"
#include "confine/privileges.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <linux/audit.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace aerate::testing {

/// Runs `work` in a child, whose exit status or signal it returns as waitpid(2) does.
template <typename Work>
int in_a_child(Work&& work) {
    const pid_t child = ::fork();
    if (child == 0) {
        work();
        ::_exit(0);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
}

namespace detail {

constexpr int let_through = 4000; // no error of the kernel's
inline volatile std::sig_atomic_t trapped = 0;

/// Holds for what would end the child, and for what no filter sees: the traps of user-space probes, 335 and 336, are
/// the kernel's own and raise SIGILL elsewhere (linux/kernel/seccomp.c, seccomp_uprobe_exception).
constexpr bool cannot_be_tried(std::size_t number) {
    return number == SYS_rt_sigreturn || number == SYS_exit_group || number == 335 || number == 336;
}

/// Answers every call with an error of its own, so that none is carried out, but for what the child itself needs.
/// The stricter answer of two filters counts, and of two errors that of the later filter (seccomp(2)): installed first,
/// this one shows what another lets through.
inline std::vector<sock_filter> answer_to_all() {
    const auto allow = [](std::vector<sock_filter>& program, long call) {
        program.push_back({BPF_JMP | BPF_K | BPF_JEQ, 0, 1, static_cast<std::uint32_t>(call)});
        program.push_back({BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW});
    };
    std::vector<sock_filter> program{{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)}};
    for (const long call : {SYS_seccomp, SYS_rt_sigreturn, SYS_exit_group})
        allow(program, call);
    program.push_back({BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | let_through});
    return program;
}

} // namespace detail

/// Returns the answer to each number from 0 on, all arguments being 0. What a child cannot try, since it would be gone,
/// is answered by the rules.
inline std::vector<confine::Answer> kernel_answers(const confine::ThreadKind& kind) {
    const auto count = static_cast<std::size_t>(confine::named_calls() + 16);
    const std::size_t size = count * sizeof(int);
    int* const shared =
        static_cast<int*>(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    const auto filter = confine::compile(kind);
    const int status = in_a_child([&] {
        struct sigaction action{};
        action.sa_handler = [](int) { detail::trapped = 1; };
        if (::sigaction(SIGSYS, &action, nullptr) != 0 || !confine::give_up_new_privileges() ||
            !confine::install(detail::answer_to_all()) || !confine::install(filter))
            ::_exit(1);
        for (std::size_t number = 0; number < count; ++number) {
            if (detail::cannot_be_tried(number))
                continue;
            detail::trapped = 0;
            const long result = ::syscall(static_cast<long>(number), 0L, 0L, 0L, 0L, 0L, 0L);
            shared[number] = detail::trapped != 0 ? -1 : result < 0 ? errno : 0;
        }
    });
    EXPECT_EQ(status, 0) << kind.name;
    std::vector<confine::Answer> answers;
    for (std::size_t number = 0; number < count; ++number) {
        if (detail::cannot_be_tried(number))
            answers.push_back(confine::answer_to(kind, {.number = static_cast<long>(number)}));
        else if (shared[number] == -1)
            answers.push_back({});
        else if (shared[number] == detail::let_through)
            answers.push_back({.verdict = confine::Verdict::allowed});
        else
            answers.push_back({confine::Verdict::refused_with_error, shared[number]});
    }
    ::munmap(shared, size);
    return answers;
}

/// Expects of the kernel what the rules say, call by call.
inline void expect_answers_by_rule(const confine::ThreadKind& kind) {
    const auto answers = kernel_answers(kind);
    for (std::size_t number = 0; number < answers.size(); ++number)
        EXPECT_EQ(answers[number], confine::answer_to(kind, {.number = static_cast<long>(number)}))
            << kind.name << ": " << confine::name_of_call(static_cast<long>(number)) << " (" << number << ")";
}

/// Returns a kind, and those that its threads start, and so on.
inline std::vector<const confine::ThreadKind*> kinds_started_by(const confine::ThreadKind& first) {
    std::vector<const confine::ThreadKind*> kinds{&first};
    for (std::size_t i = 0; i < kinds.size(); ++i)
        for (const confine::ThreadKind* const started : kinds[i]->starts)
            if (std::ranges::find(kinds, started) == kinds.end())
                kinds.push_back(started);
    return kinds;
}

/// Expects the rules in words to be those of a file, which is written anew with AERATE_RENEW_SAMPLES=1.
inline void expect_rules_as_in(const std::string& path, const std::vector<const confine::ThreadKind*>& kinds) {
    std::string rules;
    for (const confine::ThreadKind* const kind : kinds)
        rules += confine::describe(*kind) + "\n";
    if (std::getenv("AERATE_RENEW_SAMPLES") != nullptr)
        std::ofstream(path) << rules;
    std::ifstream file(path);
    const std::string kept{std::istreambuf_iterator<char>(file), {}};
    EXPECT_EQ(rules, kept) << "if that is meant, write " << path << " with AERATE_RENEW_SAMPLES=1, and look at it";
}

/// Holds where a filter can be tried: not with a sanitizer, whose own calls come in between.
inline constexpr bool filters_can_be_tried = !sanitized;

} // namespace aerate::testing
