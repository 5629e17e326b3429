#include "control/run_flags.hpp"
#include "control/size.hpp"
#include "programs/commands.hpp"
#include "programs/console_flags.hpp"
#include "programs/flags.hpp"
#include "programs/given_flags.hpp"
#include "programs/run.hpp"
#include "programs/sandbox_flags.hpp"

#include <CLI/CLI.hpp>
#include <unistd.h>

#include <map>
#include <memory>
#include <string>

namespace aerate {
namespace {

struct Flags {
    control::RunFlags vm;
    RunOptions options;
    GivenFlags given;
};

/// Checks for the parser what a VM cannot have: returns empty if `text` is a size of RAM.
std::string check_mem(const std::string& text) {
    const auto size = control::parse_size(text);
    if (!size)
        return size.error().message;
    if (*size < control::mem_size_min || *size > control::mem_size_max || size->value % (2U << 20) != 0)
        return fmt::format("{} is not a size of RAM: give {}M to {}T, in steps of 2M", text,
                           control::mem_size_min.value >> 20, control::mem_size_max.value >> 40);
    return "";
}

/// CLI11's own transformers print the values of a one-byte enum as characters.
template <typename Into, typename Enum>
void add_choice(CLI::App& app, const std::string& flag, Into& into, const std::map<std::string, Enum>& words,
                const std::string& help, const std::string& placeholder) {
    app.add_option_function<std::string>(
           flag, [&into, words](const std::string& word) { into = words.at(word); }, help)
        ->check(CLI::IsMember(words))
        ->option_text(placeholder);
}

void add_vm_flags(CLI::App& run, Flags& flags) {
    const std::map<std::string, KernelEntry> entries{
        {"auto", KernelEntry::automatic}, {"bzimage", KernelEntry::bzimage}, {"pvh", KernelEntry::pvh}};
    const std::map<std::string, Backing> backings{
        {"anonymous", Backing::anonymous}, {"memfd", Backing::memfd}, {"hugetlb", Backing::hugetlb}};
    auto& vm = flags.vm;
    run.add_option("--config", vm.config_file, "JSON file, with Firecracker's keys; other flags win over it")
        ->type_name("FILE");
    run.add_option("--name", vm.name, "name of the VM (default: vm-PID)");
    run.add_option("--kernel", vm.kernel, "bzImage, or ELF file with a PVH entry")->type_name("FILE");
    run.add_option("--initrd", vm.initrd, "initial RAM disk")->type_name("FILE");
    run.add_option("--append", vm.append, "kernel command line");
    add_choice(run, "--kernel-entry", vm.kernel_entry, entries, "how the kernel is entered: auto, bzimage, pvh",
               "ENTRY");
    run.add_option("--drive", vm.drives, "disk image; may be repeated; the first is /dev/vda")
        ->type_name("FILE[,ro|,private[=DIR]][,on_error=report|pause]")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    run.add_option(
           "--net", vm.nets,
           "network card; may be repeated: user[,forward=HOST:GUEST]..., tap=NAME[,queues=N] or fd=N[,fd=M]...; "
           "then ,mac=MAC ,mtu=BYTES ,drop_spoofed")
        ->option_text("NET")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    run.add_option("--vsock", vm.vsock, "sockets between host and guest, at FILE; N is the guest's CID")
        ->type_name("cid=N,path=FILE");
    run.add_option("--vcpus", vm.vcpus, "virtual processors (default: 1)")
        ->check(CLI::Range(1U, control::vcpu_count_max));
    run.add_option("--mem", vm.mem, "RAM (default: 512M); what the guest does not use costs nothing")
        ->option_text("SIZE")
        ->check(check_mem);
    add_choice(run, "--backing", vm.backing, backings,
               "what RAM is made of: anonymous, memfd, hugetlb (default: anonymous)", "KIND");
    run.add_flag("--track-dirty", vm.track_dirty,
                 "after each snapshot keep track of what the guest changes, for snapshot --diff");
}

void add_balloon_flags(CLI::App& run, Flags& flags) {
    auto& vm = flags.vm;
    const auto toggle = [&run](const std::string& names, std::optional<bool>& into, const std::string& help) {
        run.add_flag_function(names, [&into](std::int64_t count) { into = count > 0; }, help)->group("Balloon");
    };
    run.add_option("--balloon", vm.balloon, "what the balloon takes from the start (default: 0)")
        ->option_text("SIZE")
        ->check(check_size)
        ->group("Balloon");
    toggle("--reporting,!--no-reporting", vm.reporting, "the guest reports free pages (default: on)");
    toggle("--hinting,!--no-hinting", vm.hinting, "the guest can be asked for free pages (default: on)");
    toggle("--deflate-on-oom,!--no-deflate-on-oom", vm.deflate_on_oom,
           "the guest may take memory back rather than run out (default: on)");
    run.add_option("--stats-interval", vm.stats_interval, "seconds between guest statistics; 0: none (default: 5)")
        ->option_text("SECONDS")
        ->check(CLI::Range(0U, 65535U))
        ->group("Balloon");
}

void add_policy_flags(CLI::App& run, Flags& flags) {
    auto& vm = flags.vm;
    constexpr const char* group = "The host's memory policy";
    run.add_option("--memory-floor", vm.memory_floor,
                   "memory below which no policy takes the guest (default: a quarter of --mem)")
        ->option_text("SIZE")
        ->check(check_size)
        ->group(group);
    run.add_option("--memory-shares", vm.memory_shares,
                   "of what is short, beside other VMs: twice as many keep twice as much (default: 1000)")
        ->option_text("N")
        ->check(CLI::Range(std::uint64_t{1}, control::memory_shares_max))
        ->group(group);
    run.add_option("--memory-priority", vm.memory_priority,
                   "0 to 9: of VMs that grow too fast for the host, the lowest stand still first (default: 5)")
        ->option_text("N")
        ->check(CLI::Range(std::uint64_t{0}, control::memory_priority_max))
        ->group(group);
}

} // namespace

void add_run(CLI::App& app, Command& chosen) {
    const std::map<std::string, TestbedUse> uses{
        {"auto", TestbedUse::automatic}, {"always", TestbedUse::always}, {"never", TestbedUse::never}};
    auto flags = std::make_shared<Flags>();
    CLI::App& run = *app.add_subcommand("run", "Boot a VM, with its console on the terminal");
    run.footer("SIZE is a whole number and K, M, G or T; without a letter it is MiB.");
    add_vm_flags(run, *flags);
    add_balloon_flags(run, *flags);
    add_policy_flags(run, *flags);
    run.add_flag("!--no-start,!--api-only", flags->options.start, "serve the API and wait there for InstanceStart");
    add_console_flags(run, flags->options);
    add_sandbox_flags(run, flags->options.sandbox);
    add_given_flags(run, flags->given);
    add_choice(run, "--testbed", flags->options.testbed, uses,
               "run inside an emulated machine: auto (without usable KVM), always, never", "WHEN");
    run.callback([flags, &chosen] {
        chosen = [flags] {
            auto config = control::config_from(flags->vm);
            if (!config) // without a file only the flags can be wrong
                return flags->vm.config_file ? report(config.error()) : wrong_usage(config.error());
            if (!config->boot && flags->options.start)
                return wrong_usage({"there is no kernel to start: give --kernel, or --no-start to configure it later"});
            flags->options.config = *std::move(config);
            if (const auto usage = check_usage(flags->given, flags->options.config.name); !usage)
                return wrong_usage(usage.error());
            const auto fds =
                flags->options.start ? handed_over(flags->options.config.network_interfaces) : possible_cards();
            if (auto begun = confine::begin({.use = flags->options.sandbox.use, .handed_over = fds}); !begun)
                return report(begun.error());
            if (const auto here = check_not_given(flags->given, flags->options.config.name); !here)
                return report(here.error());
            return run_as_told(flags->options, flags->options.config.name, "vm", [flags](Started started) {
                RunOptions options = std::move(flags->options);
                if (options.config.name.empty())
                    options.config.name = fmt::format("vm-{}", ::getpid());
                options.started = std::move(started);
                return run_vm(std::move(options));
            });
        };
    });
}

} // namespace aerate
