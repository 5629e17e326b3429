#include "control/config_json.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace aerate::control {
namespace {

template <typename Enum>
using Word = std::pair<std::string_view, Enum>;

constexpr std::array<Word<Backing>, 3> backings{
    {{"anonymous", Backing::anonymous}, {"memfd", Backing::memfd}, {"hugetlb", Backing::hugetlb}}};
constexpr std::array<Word<KernelEntry>, 3> entries{
    {{"automatic", KernelEntry::automatic}, {"bzimage", KernelEntry::bzimage}, {"pvh", KernelEntry::pvh}}};
constexpr std::array<Word<CacheType>, 2> cache_types{
    {{"Unsafe", CacheType::unsafe}, {"Writeback", CacheType::writeback}}};
constexpr std::array<Word<IoEngine>, 2> io_engines{{{"Sync", IoEngine::sync}, {"Async", IoEngine::async}}};

enum class HugePages : std::uint8_t { none, transparent, hugetlb };
constexpr std::array<Word<HugePages>, 3> huge_page_kinds{
    {{"None", HugePages::none}, {"Transparent", HugePages::transparent}, {"2M", HugePages::hugetlb}}};

template <typename Enum, std::size_t Size>
std::string_view word_for(Enum value, const std::array<Word<Enum>, Size>& words) {
    const auto found = std::ranges::find(words, value, &Word<Enum>::second);
    return found == words.end() ? "" : found->first;
}

constexpr std::string_view drive_id_characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

constexpr std::uint64_t mib_of(ByteCount bytes) {
    return bytes.value >> 20;
}

/// "2M" is hugetlb. "None" and "Transparent" leave the choice to "backing": RAM that is not hugetlb has transparent
/// huge pages wherever the host grants them.
void read_backing(Fields& fields, std::optional<Backing>& into) {
    HugePages huge_pages = HugePages::none;
    Backing backing = Backing::anonymous;
    fields.choice("huge_pages", huge_pages, huge_page_kinds);
    fields.choice("backing", backing, backings);
    const bool huge = huge_pages == HugePages::hugetlb;
    if (fields.has("backing") && fields.has("huge_pages") && huge != (backing == Backing::hugetlb))
        fields.error("huge_pages", "contradicts \"backing\"; leave one of them out");
    if (fields.has("backing"))
        into = backing;
    else if (fields.has("huge_pages"))
        into = huge ? Backing::hugetlb : Backing::anonymous;
}

Result<MachineConfigUpdate> read_machine_config(const Json& json, Presence presence) {
    MachineConfigUpdate update;
    Fields fields(json, "machine-config");
    unsigned vcpu_count = 0;
    fields.number("vcpu_count", vcpu_count, {1, vcpu_count_max}, presence);
    if (fields.has("vcpu_count"))
        update.vcpu_count = vcpu_count;
    std::uint64_t mem_size_mib = 0;
    fields.number("mem_size_mib", mem_size_mib, {mib_of(mem_size_min), mib_of(mem_size_max)}, presence);
    if (mem_size_mib % 2 != 0)
        fields.error("mem_size_mib", "must be even: RAM is laid out in steps of 2 MiB");
    if (fields.has("mem_size_mib"))
        update.mem_size = ByteCount{mem_size_mib << 20};
    bool track_dirty_pages = false;
    fields.boolean("track_dirty_pages", track_dirty_pages);
    if (fields.has("track_dirty_pages"))
        update.track_dirty_pages = track_dirty_pages;
    read_backing(fields, update.backing);
    bool smt = false;
    fields.boolean("smt", smt);
    if (smt)
        fields.error("smt", "is not supported: each vCPU is a core of its own; leave it out");
    std::string cpu_template = "None";
    fields.string("cpu_template", cpu_template);
    if (cpu_template != "None")
        fields.error("cpu_template", "CPU templates are not supported; leave it out");
    TRY(fields.finish());
    return update;
}

void read_balloon_amount(Fields& fields, ByteCount& into) {
    fields.mib("amount_mib", into, Presence::required);
    if (into > mem_size_max)
        fields.error("amount_mib", "is more than any VM's RAM");
}

void read_polling_interval(Fields& fields, std::chrono::seconds& into, Presence presence) {
    fields.number("stats_polling_interval_s", into, {0, 65535}, presence);
}

Json json_of(const BootSource& boot) {
    Json json{{"kernel_image_path", boot.kernel_image_path}};
    if (!boot.initrd_path.empty())
        json["initrd_path"] = boot.initrd_path;
    if (!boot.boot_args.empty())
        json["boot_args"] = boot.boot_args;
    if (boot.entry != KernelEntry::automatic)
        json["kernel_entry"] = word_for(boot.entry, entries);
    return json;
}

Json json_of(const Drive& drive) {
    return {{"drive_id", drive.drive_id},
            {"path_on_host", drive.path_on_host},
            {"is_root_device", drive.is_root_device},
            {"is_read_only", drive.is_read_only},
            {"cache_type", word_for(drive.cache_type, cache_types)},
            {"io_engine", word_for(drive.io_engine, io_engines)}};
}

} // namespace

Result<MachineConfig> machine_config_from(const Json& json) {
    return updated(MachineConfig{}, TRY(read_machine_config(json, Presence::required)));
}

Result<MachineConfigUpdate> machine_config_update_from(const Json& json) {
    return read_machine_config(json, Presence::optional);
}

Result<BootSource> boot_source_from(const Json& json) {
    BootSource boot;
    Fields fields(json, "boot-source");
    fields.string("kernel_image_path", boot.kernel_image_path, Presence::required);
    fields.string("initrd_path", boot.initrd_path);
    fields.string("boot_args", boot.boot_args);
    fields.choice("kernel_entry", boot.entry, entries);
    if (boot.kernel_image_path.empty())
        fields.error("kernel_image_path", "must not be empty");
    TRY(fields.finish());
    return boot;
}

Result<Drive> drive_from(const Json& json) {
    Drive drive;
    Fields fields(json, "drive");
    fields.string("drive_id", drive.drive_id, Presence::required);
    if (drive.drive_id.empty() || drive.drive_id.size() > 64 ||
        drive.drive_id.find_first_not_of(drive_id_characters) != std::string::npos)
        fields.error("drive_id", "must be 1 to 64 letters, digits, '_' or '-'");
    fields.string("path_on_host", drive.path_on_host, Presence::required);
    if (drive.path_on_host.empty())
        fields.error("path_on_host", "must not be empty");
    fields.boolean("is_root_device", drive.is_root_device, Presence::required);
    fields.boolean("is_read_only", drive.is_read_only);
    fields.choice("cache_type", drive.cache_type, cache_types);
    fields.choice("io_engine", drive.io_engine, io_engines);
    fields.unsupported("partuuid", "is not supported; name the root file system in boot_args (root=PARTUUID=...)");
    fields.unsupported("rate_limiter", "rate limiters are not supported; leave it out");
    fields.unsupported("socket", "vhost-user drives are not supported; give path_on_host");
    TRY(fields.finish());
    return drive;
}

Result<ByteCount> balloon_amount_from(const Json& json) {
    ByteCount amount{};
    Fields fields(json, "balloon");
    read_balloon_amount(fields, amount);
    TRY(fields.finish());
    return amount;
}

Result<std::chrono::seconds> polling_interval_from(const Json& json) {
    std::chrono::seconds interval{};
    Fields fields(json, "balloon");
    read_polling_interval(fields, interval, Presence::required);
    TRY(fields.finish());
    return interval;
}

Result<BalloonConfig> balloon_config_from(const Json& json) {
    BalloonConfig balloon;
    Fields fields(json, "balloon");
    read_balloon_amount(fields, balloon.target);
    fields.boolean("deflate_on_oom", balloon.deflate_on_oom, Presence::required);
    read_polling_interval(fields, balloon.stats_polling_interval, Presence::optional);
    fields.boolean("free_page_hinting", balloon.free_page_hinting);
    fields.boolean("free_page_reporting", balloon.free_page_reporting);
    TRY(fields.finish());
    return balloon;
}

Result<void> entropy_from(const Json& json) {
    Fields fields(json, "entropy");
    fields.unsupported("rate_limiter", "rate limiters are not supported; leave it out");
    return fields.finish();
}

Json json_of(const MachineConfig& machine) {
    return {{"vcpu_count", machine.vcpu_count},
            {"mem_size_mib", mib_of(machine.mem_size)},
            {"smt", false},
            {"track_dirty_pages", machine.track_dirty_pages},
            {"huge_pages", machine.backing == Backing::hugetlb ? "2M" : "None"},
            {"backing", word_for(machine.backing, backings)}};
}

Json json_of(const BalloonConfig& balloon) {
    return {{"amount_mib", mib_of(balloon.target)},
            {"deflate_on_oom", balloon.deflate_on_oom},
            {"stats_polling_interval_s", balloon.stats_polling_interval.count()},
            {"free_page_hinting", balloon.free_page_hinting},
            {"free_page_reporting", balloon.free_page_reporting}};
}

Json json_of(const VmConfig& config) {
    Json json{{"machine-config", json_of(config.machine)}};
    json["drives"] = Json::array();
    for (const Drive& drive : config.drives)
        json["drives"].push_back(json_of(drive));
    if (!config.name.empty())
        json["name"] = config.name;
    if (config.boot)
        json["boot-source"] = json_of(*config.boot);
    if (config.balloon)
        json["balloon"] = json_of(*config.balloon);
    if (config.entropy)
        json["entropy"] = Json::object();
    return json;
}

} // namespace aerate::control
