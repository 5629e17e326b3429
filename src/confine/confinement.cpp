#include "confine/confinement.hpp"

#include "base/check.hpp"
#include "base/host.hpp"
#include "base/log.hpp"
#include "confine/filter.hpp"
#include "confine/privileges.hpp"

#include <unistd.h>

#include <sys/prctl.h>
#include <sys/stat.h>

#include <atomic>
#include <map>
#include <mutex>

namespace aerate::confine {
namespace {

// A sanitizer's run-time library makes calls of its own, at any time and in any thread.
#if defined(__has_feature)
constexpr bool built_with_sanitizer =
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer);
#else
constexpr bool built_with_sanitizer = false;
#endif

/// What this process has given up. One for the process, as what it describes is.
struct State {
    Use use = Use::off;
    bool filters = false;
    bool complete = false; ///< before_guest() was called
    int landlock = 0;
    std::string lacks;
    std::atomic<bool> thread_lacks{false}; ///< a thread could not be confined

    /// Compiled once for all threads of a kind, of which there are as many as vCPUs.
    const std::vector<sock_filter>& filter_for(const ThreadKind& kind) {
        const std::lock_guard lock(mutex_);
        auto found = filters_.find(&kind);
        if (found == filters_.end())
            found = filters_.emplace(&kind, compile(kind)).first;
        return found->second;
    }

private:
    std::mutex mutex_;
    std::map<const ThreadKind*, std::vector<sock_filter>> filters_;
};

State& state() {
    static State only;
    return only;
}

Result<> confine_thread(const ThreadKind& kind) {
    TRY(keep_capabilities({}));
    return state().filters ? install(state().filter_for(kind)) : Result<>();
}

void on_thread_start(const ThreadKind& kind) {
    if (auto confined = confine_thread(kind); !confined) {
        // It is inside of what its starter is confined to, if that is confined.
        log::error("the thread '{}' is less confined than it should be: {}", kind.name, confined.error().message);
        CHECK(state().use != Use::required);
        state().thread_lacks = true;
    }
}

/// Takes what is missing for an error or a warning, as the operator wants it.
Result<> put_up_with(Result<> step) {
    if (step)
        return {};
    if (state().use == Use::required)
        return fail("--sandbox=require: {}", step.error().message);
    log::warning("this process is less confined than it should be: {}", step.error().message);
    state().lacks += (state().lacks.empty() ? "" : "; ") + step.error().message;
    return {};
}

Result<> choose_filters(bool wanted) {
    state().filters = false;
    if (!wanted)
        return {};
    if constexpr (built_with_sanitizer)
        return fail("there are no seccomp filters in a program that was built with a sanitizer");
    TRY(filters_are_there());
    TRY(say_refused_calls());
    state().filters = true;
    return {};
}

Result<> confine_paths(const std::vector<Place>& places) {
    TRY(allow_only(places));
    state().landlock = landlock_version();
    std::string below;
    for (const Place& place : places)
        if (place.access == Access::directory)
            below += (below.empty() ? "" : ", ") + place.path;
    explain_refusals(fmt::format(" (this process is confined to the files that its configuration names{}{}: give "
                                 "--allow DIRECTORY when it is started, for what it is to open later)",
                                 below.empty() ? "" : " and those below ", below));
    return {};
}

} // namespace

Result<> begin(const Options& options) {
    state().use = options.use;
    if (options.use == Use::off)
        return {};
    TRY(put_up_with(close_all_but(options.handed_over)));
    TRY(put_up_with(give_up_new_privileges()));
    TRY(put_up_with(limit_resources()));
    ::umask(::umask(077) | 077); // more than that the operator may have wanted
    TRY(put_up_with(keep_capabilities(for_opening)));
    TRY(put_up_with(choose_filters(options.filters)));
    if (options.use == Use::required && options.paths && landlock_version() == 0)
        return fail("--sandbox=require: this kernel has no Landlock (it takes Linux 5.13, and \"landlock\" in lsm=)");
    host::on_thread_start(on_thread_start);
    return {};
}

bool has_begun() {
    return state().use != Use::off;
}

Result<> before_guest(const ThreadKind& main, const std::optional<std::vector<Place>>& places) {
    if (state().use == Use::off || state().complete)
        return {};
    state().complete = true;
    TRY(put_up_with(hide_memory()));
    if (places)
        TRY(put_up_with(confine_paths(*places)));
    else if (::geteuid() == 0)
        explain_refusals(" (this process has given up root's capabilities, and opens what root has and what all may)");
    TRY(put_up_with(keep_capabilities({})));
    return put_up_with(state().filters ? install(state().filter_for(main)) : Result<>());
}

Holding holding() {
    Holding holds;
    holds.lacks = state().lacks;
    holds.no_new_privileges = ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
    holds.capabilities = has_capabilities();
    holds.dumpable = ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0;
    holds.landlock = state().landlock;
    holds.filtered = ::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2; // SECCOMP_MODE_FILTER
    if (state().thread_lacks)
        holds.lacks +=
            (holds.lacks.empty() ? "" : "; ") + std::string("a thread could not be confined, as the log says");
    return holds;
}

} // namespace aerate::confine
