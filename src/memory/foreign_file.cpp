#include "memory/foreign_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <fstream>
#include <sstream>
#include <string>

namespace aerate {
namespace {

/// Sealing is known of memfd, tmpfs and hugetlbfs only.
bool is_memory(int fd) {
    return ::fcntl(fd, F_GET_SEALS) >= 0;
}

std::string mount_of(int fd) {
    std::ifstream info(fmt::format("/proc/self/fdinfo/{}", fd));
    std::string word;
    while (info >> word)
        if (word == "mnt_id:" && info >> word)
            return word;
    return {};
}

/// Returns the filesystem's type, as proc_pid_mountinfo(5) has it; empty if it is mounted nowhere that we see. By the
/// mount, or by the device, which is the same in every mount namespace but for a subvolume of btrfs.
std::string filesystem_of(const std::string& mount, const std::string& device) {
    std::ifstream table("/proc/self/mountinfo");
    for (std::string line; std::getline(table, line);) {
        std::istringstream fields(line);
        std::string id;
        std::string parent;
        std::string numbers;
        fields >> id >> parent >> numbers;
        const auto separator = line.find(" - ");
        if ((id == mount || numbers == device) && separator != line.npos)
            return line.substr(separator + 3, line.find(' ', separator + 3) - separator - 3);
    }
    return {};
}

Result<> check_filesystem(int fd) {
    // What is known of the file already, without asking the process that serves it.
    struct statx known{};
    if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &known) != 0)
        return fail_errno("cannot examine the file");
    if (!S_ISREG(known.stx_mode))
        return fail("the file is not a regular file");
    const std::string type =
        filesystem_of(mount_of(fd), fmt::format("{}:{}", known.stx_dev_major, known.stx_dev_minor));
    // Without a block device a mount that we do not see can be anything, for user namespaces may mount FUSE.
    if (type.starts_with("fuse") || (type.empty() && known.stx_dev_major == 0))
        return fail("the file is on a filesystem {}, which may block this process: give a memfd, or a file of tmpfs, "
                    "hugetlbfs or a disk",
                    type.empty() ? "that is not mounted here" : "of type " + type);
    return {};
}

} // namespace

Result<ForeignFile> examine_foreign_file(int fd) {
    if (!is_memory(fd))
        TRY(check_filesystem(fd));
    struct stat status{};
    struct statfs filesystem{};
    if (::fstat(fd, &status) != 0 || ::fstatfs(fd, &filesystem) != 0)
        return fail_errno("cannot examine the file");
    if (!S_ISREG(status.st_mode))
        return fail("the file is not a regular file");
    const bool huge = filesystem.f_type == HUGETLBFS_MAGIC;
    return ForeignFile{.size = {static_cast<std::uint64_t>(status.st_size)},
                       .page_size = huge ? ByteCount{static_cast<std::uint64_t>(filesystem.f_bsize)} : page_size};
}

} // namespace aerate
