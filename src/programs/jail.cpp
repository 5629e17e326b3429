// `aerate jail`, or aerate started by the name jailer: Firecracker's launcher, with its command line, its directories
// and its exit status, for aerate itself or another program; for users who are not root too.
#include "base/granted_directory.hpp"
#include "base/regular_file.hpp"
#include "control/size.hpp"
#include "control/version.hpp"
#include "control/vm_config.hpp"
#include "jail/launcher.hpp"
#include "programs/commands.hpp"
#include "programs/output.hpp"

#include <CLI/CLI.hpp>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace aerate {
namespace {

constexpr std::size_t configuration_max = 1U << 20;
/// What a monitor takes beside its guest's memory, page tables included, with room.
constexpr ByteCount monitor_room{16U << 20};

struct Flags {
    std::string id;
    std::string program;
    std::string user;
    std::string group;
    std::vector<std::string> cgroups;
    std::string cgroup_version;
    std::string parent_cgroup;
    std::string base = "/srv/jailer";
    std::string netns;
    std::vector<std::string> limits;
    bool new_network = false;
    bool daemonize = false;
    bool new_pid_namespace = false;
    bool remove = false;
    bool version = false;
};

CLI::Option& repeatable(CLI::Option* option) {
    return *option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->allow_extra_args(false);
}

/// A script's variable that is not set would otherwise mean what is usual: the host's network, say.
std::string check_not_empty(const std::string& value) {
    return value.empty() ? "it is empty: leave the option out for what is usual" : "";
}

void add_flags(CLI::App& command, Flags& flags) {
    command.add_option("--id", flags.id, "name of the jail, and of the VM in it")
        ->type_name("NAME")
        ->check(check_not_empty);
    command.add_option("--exec-file", flags.program, "the program that runs in the jail (default: aerate firecracker)")
        ->type_name("FILE")
        ->check(check_not_empty);
    command.add_option("--uid", flags.user, "number of the user that the program runs as")
        ->type_name("USER")
        ->check(check_not_empty);
    command.add_option("--gid", flags.group, "number of its group")->type_name("GROUP")->check(check_not_empty);
    repeatable(command.add_option("--cgroup", flags.cgroups, "sets a file of the jail's cgroup; may be repeated"))
        .type_name("FILE=VALUE");
    command.add_option("--cgroup-version", flags.cgroup_version, "1 or 2 (default: as this host has them)")
        ->type_name("VERSION")
        ->check(check_not_empty);
    command.add_option("--parent-cgroup", flags.parent_cgroup, "where its cgroup is (default: the program's name)")
        ->type_name("PATH")
        ->check(check_not_empty);
    command.add_option("--chroot-base-dir", flags.base, "where jails are")->type_name("DIR")->capture_default_str();
    auto* const netns = command.add_option("--netns", flags.netns, "the network namespace that it joins");
    netns->type_name("FILE")->check(check_not_empty);
    command.add_flag("--new-net-ns", flags.new_network, "has a network namespace of its own, with nothing in it")
        ->excludes(netns);
    repeatable(command.add_option("--resource-limit", flags.limits,
                                  "no-file=N (default: 2048) or fsize=N bytes; may be repeated"))
        .type_name("RESOURCE=N");
    command.add_flag("--daemonize", flags.daemonize, "runs in a session of its own, with /dev/null for a terminal");
    command.add_flag("--new-pid-ns", flags.new_pid_namespace, "runs as the first process of a namespace of its own");
    command.add_flag("--remove", flags.remove, "removes what is left of a jail that has ended, and starts nothing");
    command.add_flag("--version", flags.version, "prints the version of Firecracker whose interface this is");
    command.footer("What stands after -- goes to the program.");
}

template <typename Parsed>
Result<std::vector<Parsed>> parse_all(const std::vector<std::string>& words) {
    std::vector<Parsed> all;
    all.reserve(words.size());
    for (const std::string& word : words)
        all.push_back(TRY(Parsed::parse(word)));
    return all;
}

/// Without root a jail has the user that starts it: the kernel maps no other.
Result<std::uint32_t> owner(const char* flag, const std::string& text, std::uint32_t own) {
    const bool is_root = ::geteuid() == 0;
    if (text.empty())
        return is_root ? Result<std::uint32_t>(fail("{} is missing: who is the program to run as?", flag))
                       : Result<std::uint32_t>(own);
    auto number = jail::parse_owner(text);
    if (!number)
        return fail("{}: {}", flag, number.error().message);
    if (!is_root && *number != own)
        return fail("{} {}: it takes root to become somebody else; without it the jail runs as {}", flag, text, own);
    return *number;
}

Result<jail::CgroupRequest> cgroup(const Flags& flags) {
    jail::CgroupRequest request;
    if (!flags.cgroup_version.empty())
        request.version = TRY(jail::parse_cgroup_version(flags.cgroup_version));
    if (!flags.parent_cgroup.empty())
        request.parent = TRY(jail::CgroupPath::parse(flags.parent_cgroup));
    request.settings = TRY(parse_all<jail::CgroupSetting>(flags.cgroups));
    return request;
}

Result<jail::Request> parse(const Flags& flags, std::vector<std::string> arguments) {
    if (flags.id.empty())
        return fail("--id is missing");
    const auto own_name = std::string("aerate");
    jail::Request request{
        .id = TRY(jail::Id::parse(flags.id)),
        .name = TRY(jail::ProgramName::of_path(flags.program.empty() ? own_name : flags.program)),
        .program = flags.program,
        .arguments = std::move(arguments),
    };
    if (!flags.remove || !flags.user.empty())
        request.user = TRY(owner("--uid", flags.user, ::geteuid()));
    if (!flags.remove || !flags.group.empty())
        request.group = TRY(owner("--gid", flags.group, ::getegid()));
    if (flags.base.empty())
        return fail("--chroot-base-dir is empty");
    request.base = flags.base;
    request.network = flags.new_network     ? jail::Network::its_own
                      : flags.netns.empty() ? jail::Network::hosts
                                            : jail::Network::named;
    request.netns = flags.netns;
    request.cgroup = TRY(cgroup(flags));
    request.limits = TRY(parse_all<jail::ResourceLimit>(flags.limits));
    request.daemonize = flags.daemonize;
    request.new_pid_namespace = flags.new_pid_namespace;
    return request;
}

/// Returns how much memory the guest will have, where that stands in a file in the jail which the program is given;
/// the program itself says what is wrong with that.
std::optional<ByteCount> guest_memory(const jail::Request& request) {
    const auto& words = request.arguments;
    for (std::size_t i = 0; i < words.size(); ++i) {
        std::string path;
        if (words[i] == "--config-file" && i + 1 < words.size())
            path = words[i + 1];
        else if (words[i].starts_with("--config-file="))
            path = words[i].substr(words[i].find('=') + 1);
        if (path.empty())
            continue;
        const auto root =
            GrantedDirectory::open(fmt::format("{}/{}/{}/root", request.base, request.name.text(), request.id.text()));
        if (!root)
            return std::nullopt;
        auto fd =
            root->open_file(path.substr(std::min(path.find_first_not_of('/'), path.size())), O_RDONLY | O_NONBLOCK);
        auto file = fd ? regular_file(*std::move(fd)) : Result<RegularFile>(std::unexpected(fd.error()));
        if (!file || file->length.value > configuration_max)
            return std::nullopt;
        std::string text(file->length.value, '\0');
        if (!read_at(file->fd.get(), std::as_writable_bytes(std::span(text)), ByteCount{}))
            return std::nullopt;
        const auto config = control::parse_vm_config(text);
        return config ? std::optional(config->machine.mem_size) : std::nullopt;
    }
    return std::nullopt;
}

/// A guest that is larger than its cgroup is killed by the kernel some time later: better not started.
Result<> check_memory(const jail::Request& request) {
    for (const jail::CgroupSetting& setting : request.cgroup.settings) {
        if (setting.file() != "memory.max" && setting.file() != "memory.limit_in_bytes")
            continue;
        const auto limit = control::parse_size(setting.value());
        const auto memory = limit ? guest_memory(request) : std::nullopt; // "max", or what the kernel will refuse
        if (memory && limit->value < memory->value + monitor_room.value)
            return fail("--cgroup {}={}: the guest has {} MiB, and its monitor takes up to {} more; give {}M or more",
                        setting.file(), setting.value(), memory->value >> 20, monitor_room.value >> 20,
                        (memory->value + monitor_room.value) >> 20);
    }
    return {};
}

int remove_jail(const jail::Request& request) {
    const auto left = jail::remove(request);
    if (!left)
        return report(left.error());
    if (*left)
        return report({fmt::format("{} has files that were not made by this command: they stay", **left)});
    return 0;
}

int run(const Flags& flags, const std::vector<std::string>& arguments) {
    if (flags.version) {
        print("Jailer v{}\n\nThis is Aerate {}, with the interface of Firecracker's launcher.\n",
              control::firecracker_version, control::version);
        return 0;
    }
    const auto request = parse(flags, arguments);
    if (!request)
        return report(request.error());
    if (flags.remove)
        return remove_jail(*request);
    if (const auto checked = check_memory(*request); !checked)
        return report(checked.error());
    if (!flush_output())
        return report({"cannot write to standard output"});
    const auto launched = jail::launch(*request);
    return launched ? 0 : report(launched.error());
}

} // namespace

bool is_jailer(std::string_view argv0) {
    return std::filesystem::path(argv0).filename() == "jailer";
}

void add_jail(CLI::App& app, Command& chosen, std::vector<std::string> arguments) {
    auto flags = std::make_shared<Flags>();
    CLI::App& command = *app.add_subcommand("jail", "Start a VM's monitor in a jail, as Firecracker's launcher does");
    add_flags(command, *flags);
    command.callback([flags, &chosen, arguments = std::move(arguments)] {
        chosen = [flags, arguments] { return run(*flags, arguments); };
    });
}

} // namespace aerate
