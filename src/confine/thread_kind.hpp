// What the threads of one kind may ask the kernel for: a description without effects, which a subsystem keeps beside
// the code that makes the calls.
//
//     inline constexpr auto vcpu_calls = std::to_array<confine::Rule>({{SYS_ioctl, confine::request(KVM_RUN)}});
//     inline constexpr confine::ThreadKind vcpu_thread{.name = "vcpu", .calls = {vcpu_calls, confine::every_thread}};
//
//     thread_ = TRY(host::start_thread(vcpu_thread, "vcpu0", work));
//
// filter.hpp makes of it what the kernel runs at each call, confinement.hpp installs that.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace aerate::confine {

/// What an argument must be: (argument & mask) == value. The lower 32 bits of it, which are all that the kernel looks
/// at in those that are checked here.
struct Check {
    unsigned argument = 0;
    std::uint32_t mask = 0; ///< 0: it may be anything
    std::uint32_t value = 0;
    bool own_process = false; ///< the value is this process's ID
    bool operator==(const Check&) const = default;
};

struct Rule {
    long call;
    Check check{};
    /// 0: the call is carried out. Else it fails with this, whatever its arguments are, unless another rule allows it:
    /// for what a library tries and can do without.
    int refusal = 0;
};

[[nodiscard]] constexpr Check argument_is(unsigned argument, std::uint32_t value) {
    return {.argument = argument, .mask = 0xffffffff, .value = value};
}
/// Checks the request of an ioctl, fcntl's command, and the like.
[[nodiscard]] constexpr Check request(unsigned long number) {
    return argument_is(1, static_cast<std::uint32_t>(number));
}
/// Checks only an ioctl's type, as all of KVM's have one.
[[nodiscard]] constexpr Check requests_of(unsigned type) {
    return {.argument = 1, .mask = 0xff00, .value = type << 8U};
}
[[nodiscard]] constexpr Check lacks(unsigned argument, std::uint32_t bits) {
    return {.argument = argument, .mask = bits, .value = 0};
}

struct ThreadKind {
    static constexpr std::size_t groups = 8;
    std::string_view name; ///< in messages and in the file of what is allowed
    std::array<std::span<const Rule>, groups> calls{};
    /// The kinds of threads that it starts. What they may do it may too, since a filter is inherited.
    std::span<const ThreadKind* const> starts{};
};

struct Call {
    long number = 0;
    std::uint32_t arguments[6] = {};
};
enum class Verdict : std::uint8_t { allowed, refused_with_error, fatal };
struct Answer {
    Verdict verdict = Verdict::fatal;
    int error = 0;
    bool operator==(const Answer&) const = default;
};

/// Returns what a call would come to, by the rules alone.
[[nodiscard]] Answer answer_to(const ThreadKind&, const Call&);
/// Returns the rules as text, a line for each call, sorted by name: what a kept copy of them is compared with.
[[nodiscard]] std::string describe(const ThreadKind&);

/// Returns "openat"; nothing if it has no name here. May be called in a signal handler.
[[nodiscard]] std::string_view name_of_call(long number);
/// One more than the highest number that has a name.
[[nodiscard]] long named_calls();

} // namespace aerate::confine
