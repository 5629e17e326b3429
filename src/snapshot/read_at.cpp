#include "snapshot/read_at.hpp"

#include <unistd.h>

namespace aerate::snapshot {

Result<> read_at(int fd, std::span<std::byte> into, ByteCount offset) {
    while (!into.empty()) {
        const ssize_t got = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset.value));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno("it cannot be read at {}", offset.value);
        if (got == 0)
            return fail("it ends at {}, too early", offset.value);
        into = into.subspan(static_cast<std::size_t>(got));
        offset.value += static_cast<std::uint64_t>(got);
    }
    return {};
}

} // namespace aerate::snapshot
