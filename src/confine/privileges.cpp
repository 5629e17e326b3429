#include "confine/privileges.hpp"

#include <unistd.h>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <vector>

namespace aerate::confine {
namespace {

constexpr unsigned capability_bits = 64;

struct Capabilities {
    std::uint64_t effective = 0;
    std::uint64_t permitted = 0;
    std::uint64_t inheritable = 0;
};

using CapabilityWords = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;

Result<Capabilities> capabilities() {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    CapabilityWords words{};
    if (::syscall(SYS_capget, &header, words.data()) != 0)
        return fail_errno("cannot read this thread's capabilities");
    const auto both = [](std::uint32_t low, std::uint32_t high) { return std::uint64_t{high} << 32U | low; };
    return Capabilities{.effective = both(words[0].effective, words[1].effective),
                        .permitted = both(words[0].permitted, words[1].permitted),
                        .inheritable = both(words[0].inheritable, words[1].inheritable)};
}

Result<> set(const Capabilities& wanted) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    CapabilityWords words{};
    for (unsigned half = 0; half < words.size(); ++half) {
        words[half].effective = static_cast<std::uint32_t>(wanted.effective >> (32 * half));
        words[half].permitted = static_cast<std::uint32_t>(wanted.permitted >> (32 * half));
        words[half].inheritable = static_cast<std::uint32_t>(wanted.inheritable >> (32 * half));
    }
    if (::syscall(SYS_capset, &header, words.data()) != 0)
        return fail_errno("cannot give up capabilities");
    return {};
}

/// Returns -1 for one that this kernel does not have.
int in_bounding_set(unsigned capability) {
    return ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
}

Result<> keep_in_bounding_set(std::uint64_t mask) {
    for (unsigned capability = 0; capability < capability_bits; ++capability)
        if ((mask >> capability & 1) == 0 && in_bounding_set(capability) == 1 &&
            ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
            return fail_errno("cannot give up capability {}", capability);
    return {};
}

} // namespace

Result<> keep_capabilities(std::span<const unsigned> kept) {
    std::uint64_t mask = 0;
    for (const unsigned capability : kept)
        mask |= std::uint64_t{1} << capability;
    const Capabilities have = TRY(capabilities());
    // The bounding set first: to change it takes CAP_SETPCAP. Who does not have that has no use for the set either, but
    // for programs with file capabilities, which no_new_privs rules out.
    if ((have.effective >> CAP_SETPCAP & 1) != 0)
        TRY(keep_in_bounding_set(mask));
    if (((have.effective | have.permitted) & ~mask) == 0 && have.inheritable == 0)
        return {}; // a thread that was started by one that had none
    // Clears the ambient set too: it is never more than the inheritable one (linux/security/commoncap.c).
    return set({.effective = have.effective & mask, .permitted = have.permitted & mask, .inheritable = 0});
}

Result<> give_up_bounding_set() {
    return keep_in_bounding_set(0);
}

bool has_capabilities() {
    const auto have = capabilities();
    if (!have || have->effective != 0 || have->permitted != 0 || have->inheritable != 0)
        return true;
    if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && ::geteuid() != 0)
        return false;
    for (unsigned capability = 0; capability < capability_bits; ++capability)
        if (in_bounding_set(capability) == 1)
            return true;
    return false;
}

Result<> close_all_but(std::span<const int> kept) {
    std::vector<unsigned> keep{2};
    for (const int fd : kept)
        if (fd > 2)
            keep.push_back(static_cast<unsigned>(fd));
    std::ranges::sort(keep);
    for (std::size_t i = 0; i < keep.size(); ++i) {
        const unsigned first = keep[i] + 1;
        const unsigned last = i + 1 < keep.size() ? keep[i + 1] - 1 : std::numeric_limits<unsigned>::max();
        if (keep[i] != last && first <= last && ::close_range(first, last, 0) != 0)
            return fail_errno("cannot close the descriptors that were inherited");
    }
    return {};
}

Result<> give_up_new_privileges() {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return fail_errno("cannot set no_new_privs");
    return {};
}

Result<> limit_resources() {
    constexpr rlimit none{.rlim_cur = 0, .rlim_max = 0};
    if (::setrlimit(RLIMIT_CORE, &none) != 0)
        return fail_errno("cannot forbid core dumps");
    if (::setrlimit(RLIMIT_MSGQUEUE, &none) != 0)
        return fail_errno("cannot forbid message queues");
    return {};
}

Result<> hide_memory() {
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return fail_errno("cannot hide this process's memory");
    return {};
}

} // namespace aerate::confine
