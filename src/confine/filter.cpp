#include "confine/filter.hpp"

#include "confine/rules.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <span>
#include <string_view>

namespace aerate::confine {
namespace {

constexpr std::uint32_t x32_bit = 0x40000000; // __X32_SYSCALL_BIT, linux/arch/x86/include/uapi/asm/unistd.h

constexpr sock_filter load(std::size_t offset) {
    return {.code = BPF_LD | BPF_W | BPF_ABS, .jt = 0, .jf = 0, .k = static_cast<std::uint32_t>(offset)};
}
constexpr sock_filter answer(std::uint32_t action) {
    return {.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = action};
}
/// Skips so many instructions where what is loaded is, or is not, the value.
constexpr sock_filter jump(unsigned how, std::uint32_t value, std::size_t where_true, std::size_t where_false) {
    return {.code = static_cast<std::uint16_t>(BPF_JMP | BPF_K | how),
            .jt = static_cast<std::uint8_t>(where_true),
            .jf = static_cast<std::uint8_t>(where_false),
            .k = value};
}
constexpr sock_filter keep_bits(std::uint32_t mask) {
    return {.code = BPF_ALU | BPF_AND | BPF_K, .jt = 0, .jf = 0, .k = mask};
}

/// Appends what decides about a call whose number it is: an answer in each case.
void append_decision(std::vector<sock_filter>& program, const CallRules& rules) {
    if (rules.always)
        return program.push_back(answer(SECCOMP_RET_ALLOW));
    for (const Check& check : rules.checks) {
        // The lower half comes first: x86-64 is little-endian.
        program.push_back(load(offsetof(seccomp_data, args) + check.argument * sizeof(std::uint64_t)));
        program.push_back(keep_bits(check.mask));
        program.push_back(
            jump(BPF_JEQ, check.own_process ? static_cast<std::uint32_t>(::getpid()) : check.value, 0, 1));
        program.push_back(answer(SECCOMP_RET_ALLOW));
    }
    program.push_back(
        answer(rules.refusal != 0 ? SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(rules.refusal) : SECCOMP_RET_TRAP));
}

void append(std::vector<sock_filter>& program, const std::vector<sock_filter>& more) {
    program.insert(program.end(), more.begin(), more.end());
}

constexpr sock_filter skip(std::size_t instructions) {
    return {.code = BPF_JMP | BPF_JA, .jt = 0, .jf = 0, .k = static_cast<std::uint32_t>(instructions)};
}

/// Returns what decides about a call whose number is loaded, and may be any, in as many steps as a search by halves
/// takes. The kernel tries each number when a filter is installed, to remember those that are always allowed
/// (seccomp_cache_prepare): one after the other, that would be most of what confinement costs.
std::vector<sock_filter> search(std::span<const CallRules> calls) {
    constexpr std::size_t few = 3;
    std::vector<sock_filter> program;
    if (calls.size() > few) {
        const std::size_t half = calls.size() / 2;
        const auto lower = search(calls.first(half));
        program.push_back(jump(BPF_JGE, static_cast<std::uint32_t>(calls[half].number), 0, 1));
        program.push_back(skip(lower.size())); // which may be further than a conditional jump goes
        append(program, lower);
        append(program, search(calls.subspan(half)));
        return program;
    }
    for (const CallRules& rules : calls) {
        std::vector<sock_filter> decision;
        append_decision(decision, rules);
        program.push_back(jump(BPF_JEQ, static_cast<std::uint32_t>(rules.number), 1, 0));
        program.push_back(skip(decision.size()));
        append(program, decision);
    }
    program.push_back(answer(SECCOMP_RET_TRAP));
    return program;
}

long seccomp(unsigned operation, unsigned flags, void* argument) {
    return ::syscall(SYS_seccomp, operation, flags, argument);
}

/// A message without allocation, for the signal handler.
class ShortText {
public:
    void add(std::string_view text) {
        for (const char c : text)
            if (length_ < text_.size())
                text_[length_++] = c;
    }
    void add(unsigned long number) {
        std::array<char, 20> digits;
        std::size_t first = digits.size();
        do
            digits[--first] = static_cast<char>('0' + number % 10);
        while ((number /= 10) != 0);
        add(std::string_view(digits).substr(first));
    }
    void write() const { (void)!::write(STDERR_FILENO, text_.data(), length_); }

private:
    std::array<char, 512> text_;
    std::size_t length_ = 0;
};

void on_refused_call(int, siginfo_t* info, void*) {
    std::array<char, 16> thread{};
    ::prctl(PR_GET_NAME, thread.data());
    ShortText text;
    text.add("aerate: the thread '");
    text.add(std::string_view(thread.data()));
    text.add("' made the system call ");
    text.add(name_of_call(info->si_syscall).empty() ? "of that number, " : name_of_call(info->si_syscall));
    text.add(" (");
    text.add(static_cast<unsigned long>(static_cast<unsigned>(info->si_syscall)));
    text.add("), which its confinement does not allow: the process ends. If the guest is not to blame this is an error "
             "of Aerate: please report it; until then --sandbox=off runs without.\n");
    text.write();
    // By the signal itself, so that whoever waits for this process sees what it was.
    std::signal(SIGSYS, SIG_DFL);
    sigset_t it;
    sigemptyset(&it);
    sigaddset(&it, SIGSYS);
    ::pthread_sigmask(SIG_UNBLOCK, &it, nullptr);
    ::syscall(SYS_tgkill, ::getpid(), ::gettid(), SIGSYS);
    ::_exit(128 + SIGSYS);
}

} // namespace

std::vector<sock_filter> compile(const ThreadKind& kind) {
    std::vector<sock_filter> program{
        load(offsetof(seccomp_data, arch)), jump(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0), answer(SECCOMP_RET_KILL_PROCESS),
        load(offsetof(seccomp_data, nr)),   jump(BPF_JGE, x32_bit, 0, 1),           answer(SECCOMP_RET_KILL_PROCESS),
    };
    auto calls = gather(kind);
    std::ranges::sort(calls, {}, &CallRules::number);
    append(program, search(calls));
    return program;
}

Result<> install(const std::vector<sock_filter>& filter) {
    if (filter.size() > BPF_MAXINSNS)
        return fail("a filter of {} instructions is longer than the kernel takes", filter.size());
    // The kernel reads it only; its type knows no const.
    sock_fprog program{.len = static_cast<unsigned short>(filter.size()),
                       .filter = const_cast<sock_filter*>(filter.data())};
    if (seccomp(SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
        return fail_errno("the kernel does not take a seccomp filter");
    return {};
}

Result<> filters_are_there() {
    for (std::uint32_t action :
         std::to_array<std::uint32_t>({SECCOMP_RET_TRAP, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ERRNO}))
        if (seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action) != 0)
            return fail_errno("this kernel has no seccomp filters");
    return {};
}

Result<> say_refused_calls() {
    struct sigaction action{};
    action.sa_sigaction = on_refused_call;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    if (::sigaction(SIGSYS, &action, nullptr) != 0)
        return fail_errno("cannot handle SIGSYS");
    return {};
}

} // namespace aerate::confine
