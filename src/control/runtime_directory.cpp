#include "control/runtime_directory.hpp"

#include "base/fd.hpp"
#include "base/host.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

namespace aerate::control {

Result<void> validate_vm_name(std::string_view name) {
    constexpr std::string_view allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    constexpr std::size_t longest = 64;
    if (name.empty() || name.size() > longest || name.front() == '.' ||
        name.find_first_not_of(allowed) != std::string_view::npos)
        return fail("name: must be 1 to {} letters, digits, '_', '.' or '-', and not start with '.'", longest);
    return {};
}

std::filesystem::path runtime_directory() {
    const auto variable = [](const char* name) -> std::string_view {
        const char* value = std::getenv(name);
        return value == nullptr ? "" : value;
    };
    if (const auto own = variable("AERATE_RUNTIME_DIR"); !own.empty())
        return own;
    if (const auto user = variable("XDG_RUNTIME_DIR"); !user.empty())
        return std::filesystem::path(user) / "aerate";
    if (geteuid() == 0)
        return "/run/aerate";
    return fmt::format("/tmp/aerate-{}", geteuid());
}

std::filesystem::path socket_path(const std::filesystem::path& directory, std::string_view name) {
    return directory / (std::string(name) + ".sock");
}

std::filesystem::path console_path(const std::filesystem::path& directory, std::string_view name) {
    return directory / (std::string(name) + ".console");
}

std::filesystem::path log_path(const std::filesystem::path& directory, std::string_view name) {
    return directory / (std::string(name) + ".log");
}

std::filesystem::path known_hosts_path(const std::filesystem::path& directory, std::string_view name) {
    return directory / (std::string(name) + ".known_hosts");
}

Result<void> secure_directory(const std::filesystem::path& path) {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
        return fail_errno("cannot create the runtime directory {} (set AERATE_RUNTIME_DIR to use another)",
                          path.string());
    const FileDescriptor directory =
        host::descriptor([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); });
    if (!directory.valid())
        return fail_errno("the runtime directory {} is not a directory of ours, or is a symbolic link", path.string());
    struct stat status{};
    if (::fstat(directory.get(), &status) != 0)
        return fail_errno("cannot examine the runtime directory {}", path.string());
    if (status.st_uid != geteuid())
        return fail("the runtime directory {} belongs to user {}; set AERATE_RUNTIME_DIR to one of yours",
                    path.string(), status.st_uid);
    if ((status.st_mode & 0077) != 0)
        return fail("the runtime directory {} is open to other users (mode {:04o}); run chmod 700 on it", path.string(),
                    status.st_mode & 07777);
    return {};
}

std::vector<std::string> list_vms(const std::filesystem::path& directory) {
    std::vector<std::string> names;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error)) {
        const auto& path = entry->path();
        if (path.extension() == ".sock" && validate_vm_name(path.stem().string()))
            names.push_back(path.stem().string());
    }
    std::ranges::sort(names);
    return names;
}

} // namespace aerate::control
