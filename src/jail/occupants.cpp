#include "jail/occupants.hpp"

#include "base/host.hpp"
#include "jail/directories.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <memory>
#include <string>

namespace aerate::jail {

Result<std::optional<pid_t>> process_in(int directory) {
    const struct stat wanted = TRY(status_of(directory, "the jail's root"));
    FileDescriptor proc = host::descriptor([] { return ::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (!proc.valid())
        return fail_errno("cannot look for processes in /proc");
    const int fd = proc.get();
    const auto close = [](DIR* stream) { ::closedir(stream); };
    const std::unique_ptr<DIR, decltype(close)> entries(::fdopendir(proc.release()));
    if (!entries)
        return fail_errno("cannot read /proc");
    while (const dirent* entry = ::readdir(entries.get())) { // NOLINT(concurrency-mt-unsafe): a stream of our own
        const std::string name = entry->d_name;
        pid_t pid = 0;
        if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr != name.data() + name.size())
            continue;
        struct stat root{};
        if (::fstatat(fd, (name + "/root").c_str(), &root, 0) == 0 && root.st_dev == wanted.st_dev &&
            root.st_ino == wanted.st_ino)
            return pid;
    }
    return std::nullopt;
}

} // namespace aerate::jail
