#include "programs/testbed.hpp"

#include "kvm/kvm.hpp"
#include "kvm/probe.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <vector>

namespace aerate {
namespace {

namespace fs = std::filesystem;

/// Beside a build tree (build/PRESET/aerate), or where `cmake --install` put it.
[[nodiscard]] Result<fs::path> find_testbed() {
    std::error_code ignored;
    const fs::path directory = fs::read_symlink("/proc/self/exe", ignored).parent_path();
    for (const fs::path& candidate : {directory / "../../testbed/run", directory / "../libexec/aerate/testbed/run"})
        if (::access(candidate.c_str(), X_OK) == 0)
            return fs::weakly_canonical(candidate, ignored);
    return fail(
        "testbed/run is not beside the build tree of {}: run from a checkout, or on a machine with virtualisation "
        "hardware",
        directory.string());
}

[[nodiscard]] std::vector<std::string> own_command_line() {
    std::ifstream file("/proc/self/cmdline", std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(file), {}};
    std::vector<std::string> words;
    for (std::size_t begin = 0; begin < all.size();) {
        const std::size_t end = std::min(all.find('\0', begin), all.size());
        words.push_back(all.substr(begin, end - begin));
        begin = end + 1;
    }
    std::error_code ignored;
    if (!words.empty())
        words.front() = fs::read_symlink("/proc/self/exe", ignored).string();
    return words;
}

[[nodiscard]] std::set<std::string> written_directories(const RunOptions& options) {
    std::set<std::string> directories;
    const auto add = [&](const std::string& file) {
        std::error_code ignored;
        directories.insert(fs::weakly_canonical(fs::absolute(file, ignored), ignored).parent_path().string());
    };
    for (const control::Drive& drive : options.config.drives)
        if (!drive.is_read_only)
            add(drive.path_on_host);
    if (options.console != "stdio" && options.console != "none")
        add(options.console);
    return directories;
}

} // namespace

std::optional<std::string> reason_for_testbed(TestbedUse use) {
    // Inside the testbed there is nowhere further to go, whatever the flags say that came along.
    if (std::getenv("AERATE_IN_TESTBED") != nullptr)
        return std::nullopt;
    if (const char* wish = std::getenv("AERATE_TESTBED"); wish != nullptr && use == TestbedUse::automatic)
        use = wish == std::string_view("always")  ? TestbedUse::always
              : wish == std::string_view("never") ? TestbedUse::never
                                                  : TestbedUse::automatic;
    if (use == TestbedUse::never)
        return std::nullopt;
    if (use == TestbedUse::always)
        return "asked for";
    auto kvm = Kvm::open();
    if (!kvm)
        return std::move(kvm).error().message;
    if (auto usable = probe_hardware(*kvm); !usable)
        return std::move(usable).error().message;
    return std::nullopt;
}

Error run_in_testbed(const RunOptions& options) {
    auto testbed = find_testbed();
    if (!testbed)
        return std::move(testbed).error();
    constexpr std::uint64_t beside_guest_mib = 1024;
    const auto memory_mib = (options.config.machine.mem_size.value >> 20) + beside_guest_mib;
    std::vector<std::string> words{testbed->string(), "--mem", std::to_string(memory_mib), "--timeout", "0"};
    if (::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0)
        words.emplace_back("--tty");
    for (const std::string& directory : written_directories(options))
        words.insert(words.end(), {"--share", directory});
    words.emplace_back("--");
    for (std::string& word : own_command_line())
        words.push_back(std::move(word));

    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words)
        arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execv(testbed->c_str(), arguments.data());
    return {fmt::format("cannot run {}: {}", testbed->string(), describe_errno(errno)), errno};
}

} // namespace aerate
