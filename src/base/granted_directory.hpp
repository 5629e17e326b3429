// A directory of the host that an operator has opened to paths from outside: those below it can be opened, and no other
// file can, whatever the path says and whatever links lie there.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace aerate {

class GrantedDirectory {
public:
    [[nodiscard]] static Result<GrantedDirectory> open(const std::string& path);

    /// Returns the rest of an absolute path that leads below this directory, as it was named or as it is when links are
    /// resolved; nothing for every other path.
    [[nodiscard]] std::optional<std::string> below(std::string_view path) const;
    /// Opens what below() returned, with open(2)'s flags. Fails for what is elsewhere, for every symbolic link, and on
    /// a kernel without openat2.
    [[nodiscard]] Result<FileDescriptor> open_file(const std::string& rest, int flags) const;

    [[nodiscard]] const std::string& path() const { return named_; }

private:
    GrantedDirectory(FileDescriptor fd, std::string named, std::string resolved)
        : fd_(std::move(fd))
        , named_(std::move(named))
        , resolved_(std::move(resolved)) {}
    FileDescriptor fd_;
    std::string named_;
    std::string resolved_;
};

} // namespace aerate
