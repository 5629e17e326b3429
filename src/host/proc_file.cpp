#include "host/proc_file.hpp"

#include "base/host.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace aerate::hostd {

Result<std::string> read_again(const FileDescriptor& file) {
    constexpr std::size_t longest = 64U << 10;
    std::string text(longest, '\0');
    std::size_t length = 0;
    while (length < longest) {
        const ssize_t got = ::pread(file.get(), text.data() + length, longest - length, static_cast<off_t>(length));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno("cannot read what the kernel says");
        if (got == 0)
            break;
        length += static_cast<std::size_t>(got);
    }
    text.resize(length);
    return text;
}

Result<std::string> read_file(const std::string& path) {
    const FileDescriptor file =
        host::descriptor([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW); });
    if (!file.valid())
        return fail_errno("cannot open {}", path);
    return read_again(file);
}

} // namespace aerate::hostd
