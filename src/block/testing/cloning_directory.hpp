// A directory whose file system can clone files (FICLONE): an XFS of a test's own, in a file. It is mounted and
// detached at once, and both live on behind a descriptor, so that nothing is left however the test ends.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/testing/temporary_directory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <utility>

namespace aerate::testing {

class CloningDirectory {
public:
    /// Fails, and says why, where no file system can be made or mounted.
    [[nodiscard]] static Result<CloningDirectory> create() {
        const TemporaryDirectory work;
        const std::string image = work / "image";
        const std::string place = work / "mounted";
        const auto script =
            fmt::format("exec 2>&1; PATH=$PATH:/usr/sbin:/sbin; truncate -s 400M {0} && mkfs.xfs -q {0} && "
                        "mkdir {1} && mount -o loop {0} {1}",
                        image, place);
        FILE* const shell = ::popen(script.c_str(), "re");
        if (shell == nullptr)
            return fail_errno("no shell");
        std::array<char, 400> said{};
        const std::size_t length = std::fread(said.data(), 1, said.size(), shell);
        if (::pclose(shell) != 0)
            return fail("no file system that clones files: {}", std::string(said.data(), length));
        FileDescriptor fd(::open(place.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (std::system(("umount -l " + place).c_str()) != 0 || !fd.valid())
            return fail("the file system that was mounted at {} is there to stay", place);
        return CloningDirectory(std::move(fd));
    }
    [[nodiscard]] std::string path() const { return fmt::format("/proc/self/fd/{}", fd_.get()); }

private:
    explicit CloningDirectory(FileDescriptor fd)
        : fd_(std::move(fd)) {}
    FileDescriptor fd_;
};

} // namespace aerate::testing
