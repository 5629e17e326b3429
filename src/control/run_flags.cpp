#include "control/run_flags.hpp"

#include "control/size.hpp"

#include <array>
#include <cstdio>
#include <memory>

namespace aerate::control {
namespace {

constexpr BalloonConfig default_balloon{
    .target = {},
    .deflate_on_oom = true,
    .stats_polling_interval = std::chrono::seconds(5),
    .free_page_hinting = true,
    .free_page_reporting = true,
};

Result<std::string> read_file(const std::string& path) {
    constexpr std::size_t longest = 1 << 20;
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), std::fclose);
    if (!file)
        return fail_errno("cannot open the configuration {}", path);
    std::string text;
    std::array<char, 16384> chunk;
    while (const std::size_t got = std::fread(chunk.data(), 1, chunk.size(), file.get())) {
        text.append(chunk.data(), got);
        if (text.size() > longest)
            return fail("the configuration {} is longer than {} bytes", path, longest);
    }
    if (std::ferror(file.get()) != 0)
        return fail_errno("cannot read the configuration {}", path);
    return text;
}

Result<VmConfig> read_config(const std::string& path) {
    const std::string text = TRY(read_file(path));
    auto config = parse_vm_config(text);
    if (!config)
        return fail("{}: {}", path, config.error().message);
    return config;
}

/// A trailing ",ro" is ours, every other comma the path's.
Drive drive_from_flag(std::string_view text, std::size_t index) {
    constexpr std::string_view read_only = ",ro";
    Drive drive;
    drive.drive_id = fmt::format("drive{}", index);
    drive.is_read_only = text.ends_with(read_only);
    if (drive.is_read_only)
        text.remove_suffix(read_only.size());
    drive.path_on_host = text;
    return drive;
}

Result<ByteCount> size_flag(std::string_view flag, std::string_view text) {
    auto size = parse_size(text);
    if (!size)
        return fail("{}: {}", flag, size.error().message);
    return *size;
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
    VmConfig config;
    if (flags.config_file) {
        config = TRY(read_config(*flags.config_file));
    } else {
        config.balloon = default_balloon;
        config.entropy = true;
    }
    config.name = flags.name.value_or(config.name);
    config.machine.vcpu_count = flags.vcpus.value_or(config.machine.vcpu_count);
    if (flags.mem)
        config.machine.mem_size = TRY(size_flag("--mem", *flags.mem));
    config.machine.backing = flags.backing.value_or(config.machine.backing);
    config.machine.track_dirty_pages |= flags.track_dirty;
    TRY(set_boot(flags, config.boot));
    for (std::size_t i = 0; i < flags.drives.size(); ++i)
        config.drives.push_back(drive_from_flag(flags.drives[i], i));
    TRY(set_balloon(flags, config.balloon));
    TRY(validate(config));
    return config;
}

} // namespace aerate::control
