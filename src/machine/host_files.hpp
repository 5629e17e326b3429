// The host's files that a VM has: disks with their locks, the vsock's socket, kernel and initrd. They are opened once
// and kept for as long as the VM lives; a guest that resets itself gets a new machine, and that machine gets these
// files again.
//
//     auto files = TRY(HostFiles::open(config));                       // the operator's own configuration
//
//     auto foreign = TRY(ForeignConfig::parse(snapshot.config()));     // one that came in a snapshot or a stream
//     auto settled = TRY(std::move(foreign).settle(grants, origin));   // its paths are opened if they were granted
//
// There is no way from a path of a ForeignConfig to a descriptor but settle().
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/unix_listener.hpp"
#include "base/unix_socket.hpp"
#include "block/disk_image.hpp"
#include "boot/file.hpp"
#include "control/file_grants.hpp"
#include "control/vm_config.hpp"
#include "migration/guest.hpp"
#include "mmds/counters.hpp"
#include "net/backend.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aerate {

class HostFiles {
public:
    /// Opens what the operator's own configuration names.
    [[nodiscard]] static Result<std::shared_ptr<HostFiles>> open(const control::VmConfig&);

    /// Opens another image for a drive of the operator's own configuration, or the present one with the size that it
    /// has now; replace_disk() puts it in place. Any thread.
    [[nodiscard]] static Result<std::shared_ptr<const DiskImage>>
    open_other(const DiskImage& present, const control::Drive&, const std::string& vm);
    void replace_disk(const std::string& drive_id, std::shared_ptr<const DiskImage>);

    /// REQUIRES: the configuration that these were opened for has that drive.
    [[nodiscard]] const std::shared_ptr<const DiskImage>& disk(const std::string& drive_id) const;
    /// Where the vsock's clients connect. REQUIRES: the configuration has a vsock.
    [[nodiscard]] const std::shared_ptr<const UnixListener>& vsock() const;
    /// Returns null if none was named, and none came along. Then the guest cannot be booted.
    /// REQUIRES: the configuration that these were opened for has that interface.
    [[nodiscard]] const net::BackEnds& network(const std::string& iface_id) const;
    /// Where the metadata service's guest connects: one for each interface that is configured for it.
    [[nodiscard]] const std::vector<std::shared_ptr<const FileDescriptor>>& metadata_listeners() const {
        return metadata_listeners_;
    }
    /// What the metadata service counts, on whichever loop it does its part.
    [[nodiscard]] const std::shared_ptr<mmds::Counters>& metadata_counters() const { return metadata_counters_; }
    [[nodiscard]] const BootFile* kernel() const { return kernel_ ? &*kernel_ : nullptr; }
    [[nodiscard]] const BootFile* initrd() const { return initrd_ ? &*initrd_ : nullptr; }
    /// Returns which of both has been written to since it was opened; null if neither has.
    [[nodiscard]] const BootFile* changed_boot_file() const;
    /// Returns both as they go along with a snapshot or a move; none if there is no kernel, or it is no longer what the
    /// guest has booted.
    [[nodiscard]] std::vector<migration::Attachment> attachments() const;
    /// Takes what came along with the guest, unless the operator has named another kernel. Warns if there is neither:
    /// better now than when the guest resets itself.
    void bring(BootFiles);

private:
    friend class ForeignConfig;
    [[nodiscard]] Result<> open_disk(const control::Drive&, const DiskOptions& how, bool force = false);
    [[nodiscard]] Result<> open_network(const control::NetworkInterface&, const std::optional<control::MmdsConfig>&);
    [[nodiscard]] Result<> open_vsock(const control::VsockConfig&);
    [[nodiscard]] Result<> open_boot_files(const std::string& kernel, const std::string& initrd);

    std::map<std::string, std::shared_ptr<const DiskImage>> disks_;
    std::map<std::string, net::BackEnds> networks_;
    std::vector<std::shared_ptr<const FileDescriptor>> metadata_listeners_;
    std::shared_ptr<mmds::Counters> metadata_counters_ = std::make_shared<mmds::Counters>();
    std::shared_ptr<const UnixListener> vsock_;
    std::optional<BootFile> kernel_;
    std::optional<BootFile> initrd_;
};

/// Where a configuration came from.
struct Origin {
    /// How the operator would grant files there, for the message that asks for it: "aerate restore vm.snap".
    std::string command;
    std::string name{};    ///< of the VM here; empty: the one that it has
    bool own_seal = false; ///< the operator's own key has sealed it: its absolute paths are the operator's word
    bool force = false;    ///< disks that were written since it was saved are the operator's wish
    bool moves = false;    ///< another monitor has the disks until the guest is stopped
};

/// The configuration of a guest from outside.
class ForeignConfig {
public:
    [[nodiscard]] static Result<ForeignConfig> parse(std::string_view json);

    /// Returns the machine's configuration, for checks that open nothing.
    [[nodiscard]] const control::MachineConfig& machine() const { return wanted_.machine; }

    struct Settled {
        control::VmConfig config; ///< with the paths that were opened
        std::shared_ptr<HostFiles> files;
    };
    /// Opens what was granted, and says what that is. Fails with a list of what is missing, and opens nothing then.
    [[nodiscard]] Result<Settled> settle(const control::FileGrants&, const Origin&) &&;

private:
    explicit ForeignConfig(control::VmConfig wanted)
        : wanted_(std::move(wanted)) {}
    control::VmConfig wanted_;
};

} // namespace aerate
