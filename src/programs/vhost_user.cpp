#include "base/log.hpp"
#include "control/runtime_directory.hpp"
#include "control/size.hpp"
#include "daemon/guest_limits.hpp"
#include "daemon/threads.hpp"
#include "daemon/vhost_user_daemon.hpp"
#include "memory/own_maps.hpp"
#include "programs/commands.hpp"
#include "programs/process.hpp"
#include "programs/sandbox_flags.hpp"
#include "vhost_user/eventfd_signal.hpp"

#include <CLI/CLI.hpp>
#include <pwd.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

namespace aerate {
namespace {

struct Flags {
    std::vector<std::string> sockets;
    std::vector<std::string> users;
    VhostUserDaemon::Options options{
        .back_end = {.balloon = {.deflate_on_oom = true, .free_page_hinting = true, .free_page_reporting = true},
                     .statistics_interval = std::chrono::seconds(5)},
        .users = {},
        .api_directory = {}};
    unsigned statistics_interval = 5;
    SandboxFlags sandbox;
    std::string max_memory;
    std::string max_guest_memory;
    std::string max_process_memory;
    std::string memory_floor;
};

Result<uid_t> user_id(const std::string& user) {
    // Not getpwnam(): it needs shared libraries, and this program has none.
    if (std::FILE* const file = std::fopen("/etc/passwd", "re")) {
        const passwd* entry = nullptr;
        while ((entry = ::fgetpwent(file)) != nullptr && user != entry->pw_name)
            ;
        std::fclose(file);
        if (entry != nullptr)
            return entry->pw_uid;
    }
    char* end = nullptr;
    const unsigned long number = std::strtoul(user.c_str(), &end, 10);
    if (user.empty() || *end != '\0' || number > UINT32_MAX - 1)
        return fail("there is no user {}", user);
    return static_cast<uid_t>(number);
}

/// Guests may have more than there is, since that is what balloons are for.
ByteCount default_max_memory() {
    return {16 * static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * page_size.value};
}

Result<std::shared_ptr<vhost_user::MemoryBudget>> memory_budget(const Flags& flags) {
    const ByteCount all = flags.max_memory.empty() ? default_max_memory() : TRY(control::parse_size(flags.max_memory));
    const ByteCount one =
        flags.max_guest_memory.empty() ? ByteCount{all.value / 8} : TRY(control::parse_size(flags.max_guest_memory));
    if (one.value == 0)
        return fail("no guest fits into 0 MiB: --max-memory and --max-guest-memory are at least 1 MiB");
    if (one > all)
        return fail("--max-guest-memory is {} MiB, more than the {} MiB of --max-memory for all guests together",
                    one.value >> 20, all.value >> 20);
    return std::make_shared<vhost_user::MemoryBudget>(all, one);
}

/// Returns how much all guests of one process may have.
Result<ByteCount> process_memory(const Flags& flags) {
    const ByteCount all = flags.options.back_end.memory_budget->most();
    if (flags.max_process_memory.empty())
        return ByteCount{all.value / 4};
    const ByteCount most = TRY(control::parse_size(flags.max_process_memory));
    if (most.value == 0 || most > all)
        return fail("--max-memory-per-process is {} MiB; it is 1 MiB to the {} MiB of --max-memory", most.value >> 20,
                    all.value >> 20);
    return most;
}

/// Completes the options. Fails if the flags cannot be meant.
Result<> complete(Flags& flags) {
    for (const std::string& user : flags.users)
        flags.options.users.push_back(TRY(user_id(user)));
    flags.options.back_end.statistics_interval = std::chrono::seconds(flags.statistics_interval);
    flags.options.back_end.memory_budget = TRY(memory_budget(flags));
    if (!flags.memory_floor.empty())
        flags.options.memory_policy.floor = TRY(control::parse_size(flags.memory_floor));
    TRY(control::validate(flags.options.memory_policy, ByteCount{~std::uint64_t{0}})); // guests' sizes come later
    flags.options.memory_per_process = TRY(process_memory(flags));
    return {};
}

/// Returns the exit status.
Result<int> run_daemon(Flags flags) {
    TRY(confine::begin({.use = flags.sandbox.use, .handed_over = VhostUserListener::numbers_handed_over()}));
    TRY(make_room_for_guests(flags.options.guests_max));
    TRY(vhost_user::EventfdSignal::get()); // a daemon that starts well does not fail at its first guest
    flags.options.api_directory = control::runtime_directory();
    TRY(control::secure_directory(flags.options.api_directory));

    std::vector<VhostUserListener> listeners = TRY(VhostUserListener::handed_over());
    for (const std::string& socket : flags.sockets)
        listeners.push_back(TRY(VhostUserListener::create(socket, !flags.users.empty())));
    if (listeners.empty())
        return wrong_usage({"there is no socket to listen on: give --socket PATH, or start it by a socket unit"});

    use_small_stacks();
    const FileDescriptor signals = TRY(signals_to_end());
    EventLoop loop;
    TRY(loop.prepare());
    const Subscription ending = loop.watch(signals.get(), [&] {
        if (take_end_signal(signals))
            loop.stop();
    });
    for (const VhostUserListener& listener : listeners)
        log::info("vhost-user: waiting for guests at {}", listener.name());
    VhostUserDaemon daemon(loop, std::move(listeners), std::move(flags.options));
    std::vector<confine::Place> places = places_of(flags.sandbox);
    for (const std::string& socket : flags.sockets)
        add_socket(socket, places);
    places.push_back({"/proc", confine::Access::read}); // who a front-end is, and what its files are
    places.push_back({"/dev/null", confine::Access::write});
    keep_own_maps(); // which nobody can open afterwards
    TRY(confine::before_guest(vhost_user_thread, places));
    loop.run();
    return 0;
}

} // namespace

void add_vhost_user(CLI::App& app, Command& chosen) {
    auto flags = std::make_shared<Flags>();
    CLI::App& command =
        *app.add_subcommand("vhost-user", "Serve the balloons of other monitors' guests, and of User Mode Linux");
    command.footer("Each guest is then one of \"aerate ps\", named after its socket: web1.sock has web1, web1-2, ...");
    command.add_option("--socket", flags->sockets, "unix socket for front-ends; may be repeated")
        ->type_name("PATH")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    command
        .add_option("--allow-user", flags->users,
                    "user who may connect, besides root and the one that runs this; may be repeated")
        ->type_name("USER")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    command.add_option("--max-guests", flags->options.guests_max, "guests at a time")
        ->capture_default_str()
        ->check(CLI::Range(1U, 1024U));
    command
        .add_option("--max-guests-per-process", flags->options.guests_per_process, "guests of one front-end at a time")
        ->capture_default_str()
        ->check(CLI::Range(1U, 1024U));
    command
        .add_option("--max-memory", flags->max_memory,
                    "guest-physical address space of all guests together (default: 16 times this host's memory)")
        ->type_name("SIZE")
        ->check(check_size);
    command
        .add_option("--max-guest-memory", flags->max_guest_memory,
                    "guest-physical address space of one guest (default: an eighth of --max-memory)")
        ->type_name("SIZE")
        ->check(check_size);
    command
        .add_option("--max-memory-per-process", flags->max_process_memory,
                    "guest-physical address space of one front-end's guests (default: a quarter of --max-memory)")
        ->type_name("SIZE")
        ->check(check_size);
    const auto toggle = [&command](const std::string& names, bool& into, const std::string& help) {
        command.add_flag_function(names, [&into](std::int64_t count) { into = count > 0; }, help)->group("Balloon");
    };
    auto& balloon = flags->options.back_end.balloon;
    toggle("--reporting,!--no-reporting", balloon.free_page_reporting, "the guests report free pages (default: on)");
    toggle("--hinting,!--no-hinting", balloon.free_page_hinting,
           "the guests can be asked for free pages (default: on)");
    toggle("--deflate-on-oom,!--no-deflate-on-oom", balloon.deflate_on_oom,
           "the guests may take memory back rather than run out (default: on)");
    toggle("--packed,!--no-packed", flags->options.back_end.offer_packed, "offer packed rings (default: on)");
    command.add_option("--stats-interval", flags->statistics_interval, "seconds between guest statistics; 0: none")
        ->option_text("SECONDS")
        ->capture_default_str()
        ->check(CLI::Range(0U, 65535U))
        ->group("Balloon");
    constexpr const char* policy_group = "The host's memory policy";
    auto& policy = flags->options.memory_policy;
    command
        .add_option("--memory-floor", flags->memory_floor,
                    "memory below which no policy takes a guest (default: a quarter of what it has)")
        ->type_name("SIZE")
        ->check(check_size)
        ->group(policy_group);
    command
        .add_option("--memory-shares", policy.shares,
                    "of each guest, of what is short: twice as many keep twice as much (default: 1000)")
        ->option_text("N")
        ->check(CLI::Range(std::uint64_t{1}, control::memory_shares_max))
        ->group(policy_group);
    command
        .add_option("--memory-priority", policy.priority,
                    "0 to 9, of each guest: of those that grow too fast the lowest stand still first (default: 5)")
        ->option_text("N")
        ->check(CLI::Range(std::uint64_t{0}, control::memory_priority_max))
        ->group(policy_group);
    add_sandbox_flags(command, flags->sandbox);
    command.callback([flags, &chosen] {
        chosen = [flags] {
            if (const auto completed = complete(*flags); !completed)
                return wrong_usage(completed.error());
            const auto status = run_daemon(*flags);
            return status ? *status : report(status.error());
        };
    });
}

} // namespace aerate
