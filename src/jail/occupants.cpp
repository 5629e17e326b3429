#include "jail/occupants.hpp"

#include "base/host.hpp"
#include "jail/directories.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <memory>
#include <string>

namespace aerate::jail {
namespace {

bool is_same(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/// Returns whether an error is the host's own: it must not pass for a jail in which nobody is.
bool is_refusal(int code) {
    return code == EMFILE || code == ENFILE || code == ENOMEM;
}

/// Calls `look` with each number that names a directory of /proc, until it returns true. ENOENT and ESRCH stay in the
/// error: a process may end at any time.
template <typename Look>
Result<bool> each_number(const std::string& path, const Look& look) {
    FileDescriptor directory =
        host::descriptor([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (!directory.valid())
        return fail_errno("cannot look for processes in {}", path);
    const auto close = [](DIR* stream) { ::closedir(stream); };
    const std::unique_ptr<DIR, decltype(close)> entries(::fdopendir(directory.release()));
    if (!entries)
        return fail_errno("cannot read {}", path);
    while (const dirent* entry = ::readdir(entries.get())) { // NOLINT(concurrency-mt-unsafe): a stream of our own
        const std::string name = entry->d_name;
        pid_t number = 0;
        if (std::from_chars(name.data(), name.data() + name.size(), number).ptr == name.data() + name.size() &&
            look(number))
            return true;
    }
    return false;
}

/// Returns whether a root directory is that one, or below it, where a namespace of users lets a program have another
/// root. A process's own mounts are seen through its root.
Result<bool> is_inside(const std::string& root, const struct stat& wanted) {
    FileDescriptor here = host::descriptor([&] { return ::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); });
    struct stat status{};
    if (!here.valid() && is_refusal(errno))
        return fail_errno("cannot look at {}", root);
    if (!here.valid() || ::fstat(here.get(), &status) != 0)
        return false;                    // it has ended, or is another user's
    constexpr unsigned depth_max = 4096; // PATH_MAX / 2, of "../"
    for (unsigned depth = 0; depth < depth_max; ++depth) {
        if (is_same(status, wanted))
            return true;
        FileDescriptor above =
            host::descriptor([&] { return ::openat(here.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC); });
        struct stat next{};
        if (!above.valid() && is_refusal(errno))
            return fail_errno("cannot look above {}", root);
        if (!above.valid() || ::fstat(above.get(), &next) != 0 || is_same(next, status))
            return false;
        here = std::move(above);
        status = next;
    }
    return false;
}

} // namespace

Result<std::optional<pid_t>> process_in(int directory) {
    const struct stat wanted = TRY(status_of(directory, "the jail's root"));
    struct stat own{};
    std::optional<pid_t> found;
    const bool has_own = ::stat("/", &own) == 0;
    Result<> looked;
    TRY(each_number("/proc", [&](pid_t pid) {
        // Each thread: one goes on when the first of its process has ended, which has no root any more.
        const std::string tasks = fmt::format("/proc/{}/task", pid);
        const auto inside = each_number(tasks, [&](pid_t task) {
            const std::string root = fmt::format("{}/{}/root", tasks, task);
            struct stat status{};
            const bool same_as_ours = has_own && ::stat(root.c_str(), &status) == 0 && is_same(status, own);
            if (same_as_ours)
                return false;
            const auto result = is_inside(root, wanted);
            if (!result)
                looked = std::unexpected(result.error());
            return result.value_or(true);
        });
        if (!inside && is_refusal(inside.error().system_error))
            looked = std::unexpected(inside.error());
        if (looked && inside.value_or(false))
            found = pid;
        return found.has_value() || !looked;
    }));
    TRY(std::move(looked));
    return found;
}

} // namespace aerate::jail
