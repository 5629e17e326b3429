#include "programs/testbed.hpp"

#include "kvm/kvm.hpp"
#include "kvm/probe.hpp"
#include "programs/helper_program.hpp"

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
    if (options.console != "stdio" && options.console != "none" && options.console != "socket")
        add(options.console);
    return directories;
}

} // namespace

Result<std::optional<std::string>> reason_for_testbed(TestbedUse use) {
    // Inside the testbed there is nowhere further to go, whatever the flags say that came along.
    if (std::getenv("AERATE_IN_TESTBED") != nullptr)
        return std::optional<std::string>();
    if (const char* wish = std::getenv("AERATE_TESTBED"); wish != nullptr && use == TestbedUse::automatic)
        use = wish == std::string_view("always")  ? TestbedUse::always
              : wish == std::string_view("never") ? TestbedUse::never
                                                  : TestbedUse::automatic;
    if (use == TestbedUse::never)
        return std::optional<std::string>();
    if (use == TestbedUse::always)
        return std::optional<std::string>("asked for");
    auto kvm = Kvm::open();
    if (!kvm && kvm.error().system_error == EACCES)
        return fail("{}; or ask for an emulated machine: --testbed always", kvm.error().message);
    if (!kvm)
        return std::optional(std::move(kvm).error().message);
    if (auto usable = probe_hardware(*kvm); !usable)
        return std::optional(std::move(usable).error().message);
    return std::optional<std::string>();
}

Error run_in_testbed(const RunOptions& options) {
    auto testbed = find_helper("../../testbed/run", "testbed/run",
                               "run from a checkout, or on a machine with virtualisation hardware");
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
    return turn_into(std::move(words));
}

} // namespace aerate
