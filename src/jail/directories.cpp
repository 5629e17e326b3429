#include "jail/directories.hpp"

#include "base/absolute_path.hpp"
#include "base/host.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <vector>

namespace aerate::jail {
namespace {

constexpr unsigned links_max = 40; // as the kernel's (linux/include/linux/namei.h, MAXSYMLINKS)
constexpr mode_t others_may_write = S_IWGRP | S_IWOTH;

bool is_trusted(uid_t owner, std::optional<uid_t> also) {
    return owner == 0 || owner == ::geteuid() || owner == also;
}

Result<> check_owner(const struct stat& status, const std::string& path, std::optional<uid_t> also) {
    if (!is_trusted(status.st_uid, also))
        return fail("{} belongs to the user {}, who could change what is made there: chown it, or use another place",
                    path, status.st_uid);
    return {};
}

/// The parts that are still to be entered, the last one first.
void put_before(std::vector<std::string>& parts, const std::string& path) {
    std::size_t end = path.size();
    while (end > 0) {
        const auto slash = path.rfind('/', end - 1);
        const std::size_t begin = slash == std::string::npos ? 0 : slash + 1;
        if (const std::string part = path.substr(begin, end - begin); !part.empty() && part != ".")
            parts.push_back(part);
        end = slash == std::string::npos ? 0 : slash;
    }
}

Result<std::string> target_of(int link, const std::string& path) {
    std::array<char, PATH_MAX> target{};
    const ssize_t length = ::readlinkat(link, "", target.data(), target.size());
    if (length <= 0 || static_cast<std::size_t>(length) == target.size())
        return fail_errno("cannot read the link {}", path);
    return std::string(target.data(), static_cast<std::size_t>(length));
}

FileDescriptor open_entry(int directory, const std::string& name, int flags) {
    return host::descriptor([&] { return ::openat(directory, name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC); });
}

/// Opens the entry, whatever it is, and makes a directory of that name first if there is none.
Result<FileDescriptor> open_or_make(int directory, const std::string& name, const std::string& path, Missing missing,
                                    int flags) {
    if (FileDescriptor there = open_entry(directory, name, flags); there.valid())
        return there;
    if (errno == ENOENT && missing == Missing::make) {
        // Others may enter it, and not open it: whoever has it open can lock it.
        if (::mkdirat(directory, name.c_str(), 0711) != 0 && errno != EEXIST)
            return fail_errno("cannot make the directory {}", path);
        if (FileDescriptor made = open_entry(directory, name, flags); made.valid())
            return made;
    }
    if (errno == ELOOP || errno == ENOTDIR)
        return fail("{} is a symbolic link, or no directory: remove it", path);
    return fail_errno("cannot open the directory {}", path);
}

FileDescriptor open_root() {
    return host::descriptor([] { return ::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC); });
}

} // namespace

Result<struct stat> status_of(int fd, const std::string& path) {
    struct stat status{};
    if (::fstatat(fd, "", &status, AT_EMPTY_PATH) != 0)
        return fail_errno("cannot look at {}", path);
    return status;
}

Result<FileDescriptor> open_operators_directory(const std::string& path, Missing missing) {
    if (path.empty())
        return fail("the path of the directory is empty");
    std::vector<std::string> parts;
    put_before(parts, TRY(absolute_path(path)));
    FileDescriptor here = open_root();
    std::string where;
    for (unsigned links = 0; here.valid() && !parts.empty();) {
        const std::string part = std::move(parts.back());
        parts.pop_back();
        const std::string next_where = fmt::format("{}/{}", where, part);
        FileDescriptor next = TRY(open_or_make(here.get(), part, next_where, missing, O_PATH));
        const struct stat status = TRY(status_of(next.get(), next_where));
        TRY(check_owner(status, next_where, std::nullopt));
        if (S_ISLNK(status.st_mode)) {
            if (++links > links_max)
                return fail("{} leads through too many symbolic links", path);
            const std::string target = TRY(target_of(next.get(), next_where));
            put_before(parts, target);
            if (target.starts_with('/')) {
                here = open_root();
                where.clear();
            }
            continue;
        }
        if (!S_ISDIR(status.st_mode))
            return fail("{} is not a directory", next_where);
        // In a sticky one others can only exchange what is their own, which the next turn would find.
        if ((status.st_mode & others_may_write) != 0 && (status.st_mode & S_ISVTX) == 0)
            return fail("{} can be written to by others, who could exchange what is in it: chmod go-w {}", next_where,
                        next_where);
        here = std::move(next);
        where = next_where;
    }
    if (!here.valid())
        return fail_errno("cannot open /");
    return here;
}

Result<FileDescriptor> open_below(int directory, const std::string& name, const std::string& path, Missing missing,
                                  std::optional<uid_t> also) {
    FileDescriptor found = TRY(open_or_make(directory, name, path, missing, O_RDONLY | O_DIRECTORY));
    const struct stat status = TRY(status_of(found.get(), path));
    TRY(check_owner(status, path, also));
    // The mode says nothing where the owner is `also`, who can change it.
    if ((status.st_mode & others_may_write) != 0 && status.st_uid != also)
        return fail("{} can be written to by others, who could exchange what is in it: chmod go-w {}", path, path);
    return found;
}

Result<FileDescriptor> open_to_clear(int directory, const std::string& name, const std::string& path) {
    return open_or_make(directory, name, path, Missing::refuse, O_RDONLY | O_DIRECTORY);
}

} // namespace aerate::jail
