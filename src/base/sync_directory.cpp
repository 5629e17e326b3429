#include "base/sync_directory.hpp"

#include "base/fd.hpp"
#include "base/host.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace aerate {

Result<> sync_directory(const std::string& directory) {
    const FileDescriptor fd =
        host::descriptor([&] { return ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (!fd.valid() || ::fsync(fd.get()) != 0)
        return fail_errno("cannot sync the directory {}", directory);
    return {};
}

} // namespace aerate
