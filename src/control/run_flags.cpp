#include "control/run_flags.hpp"

#include "base/regular_file.hpp"
#include "control/file_grants.hpp"
#include "control/schema_json.hpp"
#include "control/size.hpp"

#include <algorithm>
#include <charconv>

namespace aerate::control {

namespace {

Result<VmConfig> read_config(const std::string& path) {
    constexpr std::size_t longest = 1 << 20;
    auto text = read_text_file(path, longest);
    if (!text)
        return fail_because(text.error(), "the configuration");
    const auto parsed = [&]() -> Result<VmConfig> {
        // Firecracker's files name another one for this. What came with a guest never has a file opened.
        auto json = TRY(parse_json(*text));
        if (const auto cpu = json.find("cpu-config"); json.is_object() && cpu != json.end() && cpu->is_string())
            *cpu = TRY(parse_json(TRY(read_text_file(cpu->get<std::string>(), longest))));
        return parse_vm_config(print_json(json));
    }();
    if (!parsed)
        return fail("{}: {}", path, parsed.error().message);
    return parsed;
}

/// Parses a --drive flag: a trailing ",ro", ",private[=DIR]" or ",on_error=..." is ours, every other comma the path's.
Result<Drive> drive_from_flag(std::string_view text, std::size_t index) {
    const std::string flag = fmt::format("--drive {}", text);
    Drive drive;
    drive.drive_id = fmt::format("drive{}", index);
    const auto take = [&text](std::string_view suffix) {
        const bool there = text.ends_with(suffix);
        if (there)
            text.remove_suffix(suffix.size());
        return there;
    };
    for (bool more = true; more;) {
        more = true;
        if (take(",ro"))
            drive.is_read_only = true;
        else if (take(",on_error=pause"))
            drive.on_error = DriveError::pause;
        else if (take(",on_error=report"))
            continue;
        else
            more = !drive.is_private && (drive.is_private = TRY(take_private(text, drive.private_directory)));
    }
    drive.path_on_host = text;
    if (auto checked = Drive::check(drive); !checked)
        return fail("{}: {}", flag, checked.error().message);
    drive.cache_type = CacheType::writeback; // what the guest flushes is to be on the disk
    return drive;
}

Result<ByteCount> size_flag(std::string_view flag, std::string_view text) {
    auto size = parse_size(text);
    if (!size)
        return fail("{}: {}", flag, size.error().message);
    return *size;
}

/// The path comes last: every comma in it is its own.
Result<VsockConfig> vsock_from_flag(std::string_view text) {
    const std::string flag = fmt::format("--vsock {}", text);
    VsockConfig vsock;
    const auto number = [&](std::string_view value, auto& into) -> Result<> {
        const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), into);
        if (error != std::errc() || end != value.data() + value.size())
            return fail("{}: {} is no number", flag, value);
        return {};
    };
    while (vsock.uds_path.empty()) {
        const auto equals = text.find('=');
        const std::string_view key = text.substr(0, equals);
        const std::string_view rest = equals == text.npos ? std::string_view() : text.substr(equals + 1);
        const std::string_view value = rest.substr(0, rest.find(','));
        if (key == "path" && !rest.empty())
            vsock.uds_path = rest;
        else if (key == "cid")
            TRY(number(value, vsock.guest_cid));
        else if (key == "max_connections")
            TRY(number(value, vsock.max_connections));
        else
            return fail("{}: must be cid=N[,max_connections=N],path=FILE", flag);
        text = rest.substr(std::min(value.size() + 1, rest.size()));
    }
    auto checked = read_object<VsockConfig>(*print_object(vsock));
    if (!checked)
        return fail("{}: {}", flag, checked.error().message);
    return checked;
}

Result<void> set_balloon(const RunFlags& flags, std::optional<BalloonConfig>& config) {
    if (!config && !flags.balloon && !flags.reporting && !flags.hinting && !flags.deflate_on_oom &&
        !flags.stats_interval)
        return {};
    BalloonConfig balloon = config.value_or(default_balloon);
    if (flags.balloon)
        balloon.target = TRY(size_flag("--balloon", *flags.balloon));
    balloon.free_page_reporting = flags.reporting.value_or(balloon.free_page_reporting);
    balloon.free_page_hinting = flags.hinting.value_or(balloon.free_page_hinting);
    balloon.deflate_on_oom = flags.deflate_on_oom.value_or(balloon.deflate_on_oom);
    if (flags.stats_interval)
        balloon.stats_polling_interval = std::chrono::seconds(*flags.stats_interval);
    config = balloon;
    return {};
}

Result<void> set_boot(const RunFlags& flags, std::optional<BootSource>& config) {
    if (!config && !flags.kernel) {
        if (flags.initrd || flags.append || flags.kernel_entry)
            return fail("--initrd, --append and --kernel-entry need a --kernel");
        return {};
    }
    BootSource boot = config.value_or(BootSource{});
    boot.kernel_image_path = flags.kernel.value_or(boot.kernel_image_path);
    boot.initrd_path = flags.initrd.value_or(boot.initrd_path);
    boot.boot_args = flags.append.value_or(boot.boot_args);
    boot.entry = flags.kernel_entry.value_or(boot.entry);
    config = boot;
    return {};
}

} // namespace

Result<VmConfig> config_from(const RunFlags& flags) {
    VmConfig config = flags.config_file ? TRY(read_config(*flags.config_file)) : default_vm_config();
    config.name = flags.name.value_or(config.name);
    config.machine.vcpu_count = flags.vcpus.value_or(config.machine.vcpu_count);
    if (flags.mem)
        config.machine.mem_size = TRY(size_flag("--mem", *flags.mem));
    config.machine.backing = flags.backing.value_or(config.machine.backing);
    config.machine.track_dirty_pages |= flags.track_dirty;
    TRY(set_boot(flags, config.boot));
    root_device_first(config.drives); // the file's order counts no more than the API's
    for (std::size_t i = 0; i < flags.drives.size(); ++i)
        config.drives.push_back(TRY(drive_from_flag(flags.drives[i], i)));
    for (std::size_t i = 0; i < flags.nets.size(); ++i) {
        NetworkInterface interface = TRY(parse_net_flag(flags.nets[i]));
        interface.iface_id = fmt::format("net{}", i);
        config.network_interfaces.push_back(std::move(interface));
    }
    choose_mac_addresses(config);
    if (flags.vsock)
        config.vsock = TRY(vsock_from_flag(*flags.vsock));
    TRY(set_balloon(flags, config.balloon));
    if (flags.memory_floor)
        config.memory_policy.floor = TRY(size_flag("--memory-floor", *flags.memory_floor));
    config.memory_policy.shares = flags.memory_shares.value_or(config.memory_policy.shares);
    config.memory_policy.priority = flags.memory_priority.value_or(config.memory_policy.priority);
    TRY(make_paths_absolute(config));
    TRY(validate(config));
    return config;
}

} // namespace aerate::control
