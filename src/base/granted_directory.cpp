#include "base/granted_directory.hpp"

#include "base/absolute_path.hpp"
#include "base/host.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <linux/openat2.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdlib>
#include <memory>

namespace aerate {

Result<GrantedDirectory> GrantedDirectory::open(const std::string& path) {
    FileDescriptor fd = host::descriptor([&] { return ::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); });
    if (!fd.valid())
        return fail_errno("cannot use the directory {}", path);
    const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(path.c_str(), nullptr), &std::free);
    std::string named = TRY(absolute_path(path));
    while (named.size() > 1 && named.ends_with('/'))
        named.pop_back();
    return GrantedDirectory(std::move(fd), named, resolved ? std::string(resolved.get()) : named);
}

std::optional<std::string> GrantedDirectory::below(std::string_view path) const {
    for (const std::string_view top : {std::string_view(named_), std::string_view(resolved_)}) {
        const std::string_view stem = top == "/" ? std::string_view() : top;
        if (path.size() > stem.size() + 1 && path.starts_with(stem) && path[stem.size()] == '/')
            return std::string(path.substr(path.find_first_not_of('/', stem.size())));
    }
    return std::nullopt;
}

Result<FileDescriptor> GrantedDirectory::open_file(const std::string& rest, int flags) const {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(static_cast<unsigned>(flags | O_CLOEXEC));
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    FileDescriptor fd =
        host::descriptor([&] { return ::syscall(SYS_openat2, fd_.get(), rest.c_str(), &how, sizeof how); });
    if (fd.valid())
        return fd;
    // Linux before 5.6, or a sandbox that does not know the call. Nothing else resolves a path from outside safely.
    if (errno == ENOSYS || errno == EPERM)
        return fail_errno("this host cannot open {}/{} without following symbolic links (openat2): name the file "
                          "itself",
                          named_, rest);
    if (errno == ELOOP || errno == EXDEV)
        return fail("{}/{} crosses a symbolic link or leads out of that directory: name the file itself", named_, rest);
    return fail_errno("cannot open {}/{}", named_, rest);
}

} // namespace aerate
