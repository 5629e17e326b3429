#include "programs/sandbox_flags.hpp"

#include "control/runtime_directory.hpp"

#include <CLI/CLI.hpp>

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

namespace aerate {
namespace {

namespace fs = std::filesystem;

std::vector<int> numbers_of(const auto& cards) {
    std::vector<int> fds;
    for (const auto& card : cards) {
        if (card.fd)
            fds.push_back(static_cast<int>(*card.fd));
        fds.insert(fds.end(), card.more_fds.begin(), card.more_fds.end());
    }
    return fds;
}

} // namespace

void add_sandbox_flags(CLI::App& command, SandboxFlags& flags) {
    const std::map<std::string, confine::Use> words{
        {"auto", confine::Use::automatic}, {"require", confine::Use::required}, {"off", confine::Use::off}};
    command
        .add_option_function<std::string>(
            "--sandbox", [&flags, words](const std::string& word) { flags.use = words.at(word); },
            "give up what serving the guest does not take: auto (as far as this kernel can, the default), require "
            "(or do not start), off")
        ->check(CLI::IsMember(words))
        ->option_text("USE");
    command
        .add_option(
            "--allow", flags.allowed,
            "a directory below which snapshots, images, leases and keys may be that the VM is told of later; may be "
            "repeated (default: the working directory, and whatever is neither the system's nor a user's)")
        ->type_name("DIR")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->allow_extra_args(false)
        ->check(CLI::ExistingDirectory);
}

namespace {

constexpr std::array systems{"/bin", "/boot", "/dev", "/etc", "/lost+found", "/proc", "/sbin", "/sys", "/usr"};
constexpr std::array users{"/home", "/root", "/run", "/var"};

bool is_at_or_below(const fs::path& path, const fs::path& directory) {
    return std::ranges::mismatch(directory, path).in1 == directory.end();
}

bool is_the_systems(const fs::path& path) {
    // /lib32, /libx32 and the like are links into /usr, or as good as that.
    return path.string().starts_with("/lib") ||
           std::ranges::any_of(systems, [&](const char* system) { return is_at_or_below(path, system); });
}

bool is_of_all_users(const fs::path& path) {
    return path == "/" || (path != "/root" && std::ranges::find(users, path) != users.end());
}

/// Returns where a user may keep a VM's files who has not said where: everywhere but in directories of the system, of
/// other processes and of users, whose files are keys and settings as well. The one in which the command was started is
/// meant, though, be it a user's own.
std::vector<fs::path> usual_places() {
    std::vector<fs::path> places{"/var/tmp"};
    std::error_code error;
    for (fs::directory_iterator entry("/", error), end; !error && entry != end; entry.increment(error)) {
        const fs::path& path = entry->path();
        if (entry->is_directory(error) && !is_the_systems(path) && std::ranges::find(users, path) == users.end())
            places.push_back(path);
    }
    if (const fs::path here = fs::current_path(error); !error && !is_the_systems(here) && !is_of_all_users(here))
        places.push_back(here);
    return places;
}

} // namespace

std::vector<confine::Place> places_of(const SandboxFlags& flags) {
    const std::vector<fs::path> named(flags.allowed.begin(), flags.allowed.end());
    const std::vector<fs::path> directories = named.empty() ? usual_places() : named;
    std::vector<confine::Place> places;
    places.reserve(directories.size() + 1);
    std::error_code error;
    for (const fs::path& directory : directories)
        places.push_back({fs::absolute(directory, error), confine::Access::directory});
    places.push_back({control::runtime_directory(), confine::Access::sockets});
    return places;
}

void add_socket(const std::string& socket, std::vector<confine::Place>& places) {
    const fs::path directory = fs::path(socket).parent_path();
    places.push_back({directory.empty() ? "." : directory.string(), confine::Access::sockets});
}

std::vector<int> handed_over(const std::vector<control::NetworkInterface>& interfaces) {
    return numbers_of(interfaces);
}

std::vector<int> handed_over(const std::vector<control::NetworkGrant>& grants) {
    return numbers_of(grants);
}

std::vector<int> possible_cards() {
    std::vector<int> fds;
    std::error_code error; // without /proc there are none that anybody could have passed by number
    for (std::filesystem::directory_iterator entry("/proc/self/fd", error), end; !error && entry != end;
         entry.increment(error)) {
        const std::string name = entry->path().filename().string();
        int fd = -1;
        struct stat what{};
        if (std::from_chars(name.data(), name.data() + name.size(), fd).ec == std::errc() && fd > 2 &&
            ::fstat(fd, &what) == 0 && (S_ISSOCK(what.st_mode) || S_ISCHR(what.st_mode)))
            fds.push_back(fd);
    }
    return fds;
}

} // namespace aerate
