#include "programs/host_questions.hpp"

#include "control/client.hpp"
#include "control/host_history.hpp"
#include "control/runtime_directory.hpp"
#include "control/schema_json.hpp"
#include "control/size.hpp"
#include "control/table.hpp"
#include "host/answers.hpp"
#include "host/routes.hpp"
#include "programs/flags.hpp"
#include "programs/output.hpp"

#include <CLI/CLI.hpp>

#include <array>
#include <cstdio>
#include <ctime>
#include <memory>

namespace aerate {
namespace {

using control::Table;

/// Asks the daemon, and explains where there is none.
Result<std::string> ask(std::string_view method, const std::string& path, std::string_view body = {},
                        std::chrono::milliseconds deadline = std::chrono::seconds(5)) {
    const auto directory = control::runtime_directory();
    auto answer = control::Client(hostd::daemon_socket(directory), deadline).call(method, path, body);
    if (!answer && (answer.error().system_error == ENOENT || answer.error().system_error == ECONNREFUSED))
        return fail("no \"aerate host\" looks after the VMs in {}: start it, or set AERATE_RUNTIME_DIR as it has it",
                    directory.string());
    return answer;
}

template <typename T>
Result<T> read(const std::string& text) {
    return control::read_object<T>(TRY(control::parse_json(text)), control::Unknown::ignored);
}

std::string mib(ByteCount size) {
    return fmt::to_string(size.value >> 20);
}
std::string_view name_of(policy::Level level) {
    return policy::level_words[static_cast<std::size_t>(level)].first;
}

std::string time_of_day(std::chrono::milliseconds since_1970) {
    const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(since_1970).count();
    std::tm local{};
    ::localtime_r(&seconds, &local);
    return fmt::format("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec);
}

/// Numbers go first where there is no room: that of a VM that cannot be missed is its reason, which is below.
void print_status(const control::HostStatus& status) {
    const control::HostMemory& host = status.host;
    print("host: {}{}, {} MiB available of {}, reserve {}, some wait {}.{} % of the time\n", name_of(host.level),
          status.dry_run ? " (dry run)" : "", mib(host.available), mib(host.total), mib(host.reserve), host.some / 10,
          host.some % 10);
    print("VMs: {}, promised {} MiB, resident {}, need {}, floors {}\n", status.vms.size(), mib(host.promised),
          mib(host.resident), mib(host.needs), mib(host.floors));
    Table table({{"VM", Table::Align::left},
                 {"SIZE"},
                 {"RESIDENT"},
                 {"NEED"},
                 {"GUARD", Table::Align::right, 2},
                 {"HOT", Table::Align::right, 3},
                 {"FLOOR", Table::Align::right, 1},
                 {"SHARES", Table::Align::right, 4},
                 {"BALLOON"},
                 {"TARGET"},
                 {"REASON", Table::Align::left}});
    for (const auto& vm : status.vms)
        table.add({vm.name, mib(vm.size), mib(vm.resident), vm.statistics_age ? mib(vm.need) : "-", mib(vm.guard),
                   mib(vm.hot), mib(vm.floor), fmt::to_string(vm.shares), mib(vm.balloon), mib(vm.target),
                   vm.answers ? vm.reason.name : "no answer"});
    print("{}", table.print(output_columns(std::string::npos)));
    for (const auto& vm : status.vms)
        if (vm.reason.name != "kept" || vm.paused)
            print("{}: {}\n", vm.name, vm.reason.words);
}

Result<void> show_status(bool json) {
    const std::string text = TRY(ask("GET", "/host/status"));
    const auto status = TRY(read<control::HostStatus>(text));
    if (json)
        print("{}\n", text);
    else
        print_status(status);
    return {};
}

Result<void> explain(const std::string& name, bool json) {
    TRY(control::validate_vm_name(name));
    const std::string text = TRY(ask("GET", "/host/vms/" + name + "/decisions"));
    const auto decisions = TRY(read<hostd::Decisions>(text));
    if (json) {
        print("{}\n", text);
        return {};
    }
    for (const hostd::Decision& decision : decisions.decisions) {
        print("{}{} {}: host {} MiB available; resident {}, balloon {} of {}", time_of_day(decision.now),
              decision.times > 1 ? fmt::format(" to {}", time_of_day(decision.last)) : "", name_of(decision.level),
              mib(decision.host_available), mib(decision.resident), mib(decision.actual), mib(decision.target_before));
        if (decision.guest_free && decision.guest_available)
            print("; guest has {} free, {} available, {} s ago", mib(*decision.guest_free),
                  mib(*decision.guest_available),
                  std::chrono::duration_cast<std::chrono::seconds>(
                      decision.statistics_age.value_or(std::chrono::milliseconds(0)))
                      .count());
        print("\n    target {}: {}\n", mib(decision.target), decision.reason.words);
    }
    return {};
}

struct Setting {
    std::string name;
    std::optional<ByteCount> floor;
    std::optional<std::uint64_t> shares;
    std::optional<std::uint64_t> priority;
};

Result<void> set(const Setting& setting) {
    TRY(control::validate_vm_name(setting.name));
    const hostd::PolicyChange change{setting.floor, setting.shares, setting.priority};
    if (change == hostd::PolicyChange{})
        return fail("nothing is to be set: give --floor, --shares or --priority");
    TRY(ask("PUT", "/host/vms/" + setting.name, control::print_json(TRY(control::print_object(change)))));
    return {};
}

Result<bool> admit(const hostd::AdmissionQuestion& question) {
    const std::string body = control::print_json(TRY(control::print_object(question)));
    const auto answer = TRY(read<hostd::AdmissionAnswer>(TRY(ask("POST", "/host/admission", body))));
    print("{}\n", answer.words);
    return answer.fits;
}

struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
};

/// Returns whether the law still decides as it was recorded.
Result<bool> replay(const std::string& path) {
    const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "re"));
    if (!file)
        return fail_errno("cannot open the history {}", path);
    control::HostReplay history;
    std::array<char, 65536> bytes;
    while (const std::size_t got = std::fread(bytes.data(), 1, bytes.size(), file.get()))
        TRY(history.feed({bytes.data(), got}));
    if (std::ferror(file.get()) != 0)
        return fail("cannot read the history {}", path);
    TRY(history.finish());
    print("{} ticks, {} decided otherwise than recorded\n", history.ticks(), history.different());
    if (history.different() > 0)
        print("{}\n", history.first_difference());
    return history.different() == 0;
}

int status_of(const Result<bool>& yes) {
    return yes ? (*yes ? 0 : 1) : report(yes.error());
}

void add_status(CLI::App& host, Command& chosen) {
    CLI::App& command = *host.add_subcommand("status", "Show the host and what was decided for each VM, in MiB");
    auto json = std::make_shared<bool>(false);
    command.add_flag("--json", *json, "print JSON, in bytes");
    command.callback([json, &chosen] { chosen = [json] { return exit_code(show_status(*json)); }; });
}

void add_explain(CLI::App& host, Command& chosen) {
    CLI::App& command =
        *host.add_subcommand("explain", "Show the last hundred decisions about a VM, with their inputs");
    auto name = std::make_shared<std::string>();
    auto json = std::make_shared<bool>(false);
    add_vm_name(command, *name);
    command.add_flag("--json", *json, "print JSON, in bytes");
    command.callback([name, json, &chosen] { chosen = [name, json] { return exit_code(explain(*name, *json)); }; });
}

void add_set(CLI::App& host, Command& chosen) {
    CLI::App& command = *host.add_subcommand("set", "Change what counts for a VM while it runs");
    auto setting = std::make_shared<Setting>();
    auto floor = std::make_shared<ByteCount>();
    add_vm_name(command, setting->name);
    CLI::Option* const floor_option = add_size(command, "--floor", *floor, "take the guest no further down than this");
    command.add_option("--shares", setting->shares, "of what is short, beside other VMs (1 to 1000000)")
        ->type_name("NUMBER")
        ->check(CLI::Range(1, 1'000'000));
    command.add_option("--priority", setting->priority, "the lowest stand still first (0 to 9)")
        ->type_name("NUMBER")
        ->check(CLI::Range(0, 9));
    command.callback([setting, floor, floor_option, &chosen] {
        if (floor_option->count() > 0)
            setting->floor = *floor;
        chosen = [setting] { return exit_code(set(*setting)); };
    });
}

void add_admit(CLI::App& host, Command& chosen) {
    CLI::App& command = *host.add_subcommand("admit", "Say whether one more VM fits: exit status 0, or 1 and why not");
    auto question = std::make_shared<hostd::AdmissionQuestion>();
    auto need = std::make_shared<ByteCount>();
    add_size(command, "--mem", question->size, "its RAM");
    add_size(command, "--floor", question->floor, "what it is promised (default: nothing)");
    CLI::Option* const need_option = add_size(command, "--need", *need, "what it will use (default: half of its RAM)");
    command.callback([question, need, need_option, &chosen] {
        if (need_option->count() > 0)
            question->need = *need;
        chosen = [question] {
            if (question->size == ByteCount{})
                return wrong_usage({"host admit: --mem is missing: how much RAM the VM is to have"});
            return status_of(admit(*question));
        };
    });
}

void add_replay(CLI::App& host, Command& chosen) {
    CLI::App& command =
        *host.add_subcommand("replay", "Take the policy through a recorded history: exit status 1 if it differs");
    auto path = std::make_shared<std::string>();
    command.add_option("file", *path, "what --record wrote")->type_name("FILE")->required();
    command.callback([path, &chosen] { chosen = [path] { return status_of(replay(*path)); }; });
}

} // namespace

Result<control::HostStatus> query_host(std::chrono::milliseconds deadline) {
    return read<control::HostStatus>(TRY(ask("GET", "/host/status", {}, deadline)));
}

void add_host_questions(CLI::App& host, Command& chosen) {
    add_status(host, chosen);
    add_explain(host, chosen);
    add_set(host, chosen);
    add_admit(host, chosen);
    add_replay(host, chosen);
}

} // namespace aerate
