#include "base/absolute_path.hpp"

#include <unistd.h>

#include <cstdlib>
#include <memory>

namespace aerate {

Result<std::string> absolute_path(std::string_view path) {
    if (path.empty() || path.starts_with('/'))
        return std::string(path);
    while (path.starts_with("./"))
        path.remove_prefix(2);
    const std::unique_ptr<char, decltype(&std::free)> here(::getcwd(nullptr, 0), &std::free);
    if (!here)
        return fail_errno("cannot determine the current directory, which {} is relative to", path);
    return std::string(here.get()) + (std::string_view(here.get()) == "/" ? "" : "/") + std::string(path);
}

} // namespace aerate
