#include "machine/host_files.hpp"

#include "base/check.hpp"
#include "base/log.hpp"
#include "base/printable.hpp"
#include "machine/host_networks.hpp"
#include "mmds/detour.hpp"
#include "mmds/endpoint.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace aerate {

using control::quoted;

namespace {

/// Fails if a disk has changed since. A guest keeps in its memory what is on its disk. If that has changed, what it
/// writes next destroys the disk.
Result<> check_as_saved(const control::Drive& drive, const DiskImage& image, bool force) {
    const auto what = [&] { return fmt::format("the disk {} of drive {}", quoted(image.path()), drive.drive_id); };
    const auto now = image.identity();
    if (!now)
        return fail_because(now.error(), "{}", what());
    const auto changed = difference(TRY(DiskIdentity::parse(drive.saved_as)), *now);
    if (changed && !force)
        return fail("{} is not as it was when the guest was saved: {}. The guest does not know, and may destroy what "
                    "is there: give the disk that belongs to the snapshot, or --force",
                    what(), *changed);
    if (changed)
        log::warning("{} is not as it was when the guest was saved: {}", what(), *changed);
    return {};
}

[[nodiscard]] std::string label_of(const std::string& vm, const std::string& drive_id) {
    return fmt::format("{}: drive {}", vm, drive_id);
}

} // namespace

Result<std::shared_ptr<HostFiles>> HostFiles::open(const control::VmConfig& config) {
    auto files = std::make_shared<HostFiles>();
    for (const control::Drive& drive : config.drives)
        TRY(files->open_disk(drive, {.path = {}, .label = label_of(config.name, drive.drive_id)}));
    for (const control::NetworkInterface& interface : config.network_interfaces)
        TRY(files->open_network(interface, config.mmds));
    if (config.vsock)
        TRY(files->open_vsock(*config.vsock));
    if (config.boot)
        TRY(files->open_boot_files(config.boot->kernel_image_path, config.boot->initrd_path));
    return files;
}

Result<std::shared_ptr<const DiskImage>> HostFiles::open_other(const DiskImage& present, const control::Drive& drive,
                                                               const std::string& vm) {
    if (present.is_at(drive.path_on_host)) {
        if (present.layer() != nullptr)
            return fail("drive {} is private, and has that image: what its guest has written would be lost",
                        drive.drive_id);
        return std::make_shared<const DiskImage>(TRY(present.again(drive.path_on_host)));
    }
    HostFiles files;
    TRY(files.open_disk(drive, {.path = {}, .label = label_of(vm, drive.drive_id)}));
    return files.disk(drive.drive_id);
}

void HostFiles::replace_disk(const std::string& drive_id, std::shared_ptr<const DiskImage> image) {
    disks_.at(drive_id) = std::move(image);
}

Result<> HostFiles::open_disk(const control::Drive& drive, const DiskOptions& how, bool force) {
    DiskOptions options = how;
    options.path = drive.path_on_host;
    options.read_only = drive.is_read_only;
    options.is_private = drive.is_private;
    options.private_directory = drive.private_directory;
    options.on_error = drive.on_error == control::DriveError::pause ? OnDiskError::pause : OnDiskError::report;
    auto image = TRY(DiskImage::open(options));
    if (!drive.saved_as.empty())
        TRY(check_as_saved(drive, image, force));
    disks_.emplace(drive.drive_id, std::make_shared<const DiskImage>(std::move(image)));
    return {};
}

/// Each connection is a descriptor of this process.
Result<> HostFiles::open_vsock(const control::VsockConfig& config) {
    constexpr rlim_t others = 256; // who has yet to say whom it calls, disks, eventfds, the API
    const rlim_t wanted = config.max_connections + others;
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0)
        return fail_errno("cannot find out how many files may be open");
    if (files.rlim_cur < wanted) {
        files.rlim_cur = std::min(wanted, files.rlim_max);
        if (files.rlim_max < wanted || ::setrlimit(RLIMIT_NOFILE, &files) != 0)
            return fail("vsock.max_connections: {} need {} open files, and this process may have {}: set it lower, or "
                        "raise the limit (ulimit -n)",
                        config.max_connections, wanted, files.rlim_max);
    }
    auto listener = UnixListener::bind(config.uds_path);
    if (!listener)
        return fail_because(listener.error(), "vsock");
    vsock_ = std::make_shared<const UnixListener>(*std::move(listener));
    return {};
}

const std::shared_ptr<const UnixListener>& HostFiles::vsock() const {
    CHECK(vsock_ != nullptr);
    return vsock_;
}

Result<> HostFiles::open_boot_files(const std::string& kernel, const std::string& initrd) {
    kernel_ = TRY(BootFile::open(kernel, "kernel image"));
    if (!initrd.empty())
        initrd_ = TRY(BootFile::open(initrd, "initrd"));
    return {};
}

const std::shared_ptr<const DiskImage>& HostFiles::disk(const std::string& drive_id) const {
    const auto found = disks_.find(drive_id);
    CHECK(found != disks_.end());
    return found->second;
}

const net::BackEnds& HostFiles::network(const std::string& iface_id) const {
    const auto found = networks_.find(iface_id);
    CHECK(found != networks_.end());
    return found->second;
}

Result<> HostFiles::open_network(const control::NetworkInterface& interface,
                                 const std::optional<control::MmdsConfig>& mmds) {
    auto back_ends = TRY(open_back_ends(interface));
    if (mmds && mmds->serves(interface.iface_id)) {
        const auto address = control::parse_ipv4(mmds->ipv4_address);
        if (!address)
            return fail("mmds-config.ipv4_address: {} is no IPv4 address", printable(mmds->ipv4_address));
        auto endpoint = TRY(mmds::open_endpoint(*address));
        CHECK(back_ends.size() == 1); // validate() has seen to that
        auto& back_end = back_ends.front();
        back_end =
            TRY(mmds::Detour::create(std::move(back_end), std::move(endpoint.tun), *address, metadata_counters_));
        metadata_listeners_.push_back(std::make_shared<const FileDescriptor>(std::move(endpoint.listener)));
    }
    networks_.emplace(interface.iface_id, std::move(back_ends));
    return {};
}

const BootFile* HostFiles::changed_boot_file() const {
    for (const BootFile* const file : {kernel(), initrd()})
        if (file != nullptr && file->has_changed())
            return file;
    return nullptr;
}

std::vector<migration::Attachment> HostFiles::attachments() const {
    using Kind = migration::Attachment::Kind;
    std::vector<migration::Attachment> attachments;
    const auto add = [&attachments](Kind kind, const BootFile& file) {
        attachments.push_back({.kind = kind, .fd = file.fd.get(), .offset = file.offset, .length = file.length});
    };
    if (!kernel_ || changed_boot_file() != nullptr)
        return attachments;
    add(Kind::kernel, *kernel_);
    if (initrd_ && initrd_->length > ByteCount{})
        add(Kind::initrd, *initrd_);
    return attachments;
}

void HostFiles::bring(BootFiles came) {
    if (!kernel_) {
        kernel_ = std::move(came.kernel);
        initrd_ = std::move(came.initrd);
    }
    if (!kernel_)
        log::warning("no kernel has come with the guest: it runs, and ends when it resets itself, unless --kernel and "
                     "--initrd name what it boots then");
}

Result<ForeignConfig> ForeignConfig::parse(std::string_view json) {
    return ForeignConfig(control::without_monitor(TRY(control::parse_vm_config(json))));
}

namespace {

/// Returns the granted directory that a path is below, if any.
const GrantedDirectory* directory_of(const std::vector<GrantedDirectory>& directories, const std::string& path) {
    const auto found =
        std::ranges::find_if(directories, [&path](const auto& directory) { return directory.below(path).has_value(); });
    return found == directories.end() ? nullptr : &*found;
}

/// Lists what is missing, with the command that grants it. Paths from outside are shown, never opened.
std::unexpected<Error> refusal(const std::vector<const control::Drive*>& missing,
                               const control::VsockConfig* missing_vsock, const Origin& origin) {
    std::string named;
    std::string command = origin.command;
    std::string directory;
    for (const control::Drive* drive : missing) {
        const std::string& path = drive->path_on_host;
        const bool absolute = path.starts_with('/');
        named +=
            fmt::format("\n  drive {}: {}{}", drive->drive_id, quoted(path), drive->is_read_only ? " (read-only)" : "");
        command += fmt::format(" --drive {}={}", drive->drive_id, absolute ? quoted(path) : std::string("FILE"));
        if (absolute && directory.empty())
            directory = quoted(path.substr(0, std::max<std::size_t>(path.rfind('/'), 1)));
    }
    const std::string_view what = missing.empty()            ? "a socket"
                                  : missing_vsock != nullptr ? "disks and a socket"
                                                             : "disks";
    if (missing_vsock != nullptr) {
        named += fmt::format("\n  the socket of its vsock: {}", quoted(missing_vsock->uds_path));
        command += " --vsock path=FILE";
    }
    std::string text = fmt::format("the guest needs {} of this host, and a guest from outside opens none by itself:"
                                   "{}\nName the file of each:\n  {}",
                                   what, named, command);
    if (!directory.empty())
        text += fmt::format("\nor a directory, whose files may be opened by the names above:\n  {} --files {}",
                            origin.command, directory);
    return std::unexpected(Error{std::move(text), 0});
}

Result<> check_wanted(const control::FileGrants& grants, const control::VmConfig& wanted) {
    const std::vector<control::Drive>& drives = wanted.drives;
    if (grants.vsock && !wanted.vsock)
        return fail("--vsock path={}: the guest has no vsock", grants.vsock->uds_path);
    for (const control::DriveGrant& grant : grants.drives) {
        if (std::ranges::find(drives, grant.drive_id, &control::Drive::drive_id) != drives.end())
            continue;
        std::string known;
        for (const control::Drive& drive : drives)
            known += " " + drive.drive_id;
        return fail("--drive {}={}: the guest has no such drive{}{}", grant.drive_id, grant.path,
                    known.empty() ? "" : "; it has", known);
    }
    return {};
}

} // namespace

Result<ForeignConfig::Settled> ForeignConfig::settle(const control::FileGrants& grants, const Origin& origin) && {
    if (!origin.name.empty())
        wanted_.name = origin.name;
    TRY(check_wanted(grants, wanted_));
    std::vector<GrantedDirectory> directories;
    directories.reserve(grants.directories.size());
    for (const std::string& path : grants.directories)
        directories.push_back(TRY(GrantedDirectory::open(path)));

    std::vector<std::pair<control::Drive*, const GrantedDirectory*>> granted;
    std::vector<const control::Drive*> missing;
    for (control::Drive& drive : wanted_.drives) {
        const auto named = std::ranges::find(grants.drives, drive.drive_id, &control::DriveGrant::drive_id);
        if (named != grants.drives.end()) {
            drive.path_on_host = named->path;
            drive.is_read_only |= named->read_only;
            drive.is_private |= named->is_private;
            drive.private_directory = named->private_directory;
            if (named->is_private && drive.is_read_only)
                return fail("--drive {}={},private: the guest has this drive read-only, and writes nothing that could "
                            "be private: leave ,private out",
                            drive.drive_id, drive.path_on_host);
            // Read-only, a drive that was saved as private is its image.
            drive.is_private = drive.is_private && !drive.is_read_only;
            granted.emplace_back(&drive, nullptr);
        } else if (origin.own_seal && drive.path_on_host.starts_with('/')) {
            granted.emplace_back(&drive, nullptr);
        } else if (const auto* const directory = directory_of(directories, drive.path_on_host)) {
            drive.private_directory.clear(); // beside its image: no other place was granted
            granted.emplace_back(&drive, directory);
        } else {
            missing.push_back(&drive);
        }
    }
    if (wanted_.vsock && grants.vsock)
        wanted_.vsock->uds_path = grants.vsock->uds_path;
    const bool may_listen =
        !wanted_.vsock || grants.vsock || (origin.own_seal && wanted_.vsock->uds_path.starts_with('/'));
    if (!missing.empty() || !may_listen)
        return refusal(missing, may_listen ? nullptr : &*wanted_.vsock, origin);
    TRY(grant_networks(wanted_.network_interfaces, grants.networks,
                       {.command = origin.command, .own_seal = origin.own_seal}));
    control::choose_mac_addresses(wanted_);

    auto files = std::make_shared<HostFiles>();
    for (const auto& [drive, directory] : granted) {
        TRY(files->open_disk(*drive,
                             {.path = {},
                              .label = label_of(wanted_.name, drive->drive_id),
                              .arriving = origin.moves,
                              .resumed = true,
                              .within = directory},
                             origin.force));
        drive->saved_as.clear();
        log::info("drive {} is {}{}", drive->drive_id, quoted(drive->path_on_host),
                  drive->is_read_only ? ", read-only"
                  : drive->is_private ? ", private"
                                      : "");
    }
    for (const control::NetworkInterface& interface : wanted_.network_interfaces) {
        TRY(files->open_network(interface, wanted_.mmds));
        log::info("network interface {} is {}", interface.iface_id,
                  files->network(interface.iface_id).front()->label());
    }
    if (wanted_.vsock) {
        TRY(files->open_vsock(*wanted_.vsock));
        log::info("the vsock's socket is {}", quoted(wanted_.vsock->uds_path));
    }
    if (!grants.kernel.empty()) {
        TRY(files->open_boot_files(grants.kernel, grants.initrd));
        if (!wanted_.boot)
            wanted_.boot.emplace();
        wanted_.boot->kernel_image_path = grants.kernel;
        wanted_.boot->initrd_path = grants.initrd;
        log::info("a reset boots the kernel {}{}{}", quoted(grants.kernel),
                  grants.initrd.empty() ? "" : " with the initrd ", grants.initrd.empty() ? "" : quoted(grants.initrd));
    }
    return Settled{.config = std::move(wanted_), .files = std::move(files)};
}

} // namespace aerate
