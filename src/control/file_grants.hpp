// Which files of this host a guest from outside may have. A snapshot or a stream names files too, but what it names is
// a wish: a file is opened only if the operator has named it or a directory that it lies below
// (machine/host_files.hpp).
#pragma once

#include "base/error.hpp"
#include "control/network_interface.hpp"
#include "control/schema.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aerate::control {

struct DriveGrant {
    std::string drive_id{};
    std::string path{}; ///< absolute
    bool read_only = false;
    bool is_private = false;         ///< as of a Drive
    std::string private_directory{}; ///< absolute; empty: beside `path`
    [[nodiscard]] static Result<void> check(const DriveGrant&);
    static constexpr std::string_view object = "drives";
    static void describe(auto& fields, auto& self) {
        fields("drive_id", self.drive_id, mandatory);
        fields("path_on_host", self.path, mandatory.with(not_empty));
        fields("is_read_only", self.read_only);
        fields("is_private", self.is_private, unless_default);
        fields("private_directory", self.private_directory, unless_default);
    }
    bool operator==(const DriveGrant&) const = default;
};

/// Where the guest's vsock has its socket here.
struct VsockGrant {
    std::string uds_path{}; ///< absolute
    static constexpr std::string_view object = "vsock_override";
    static void describe(auto& fields, auto& self) { fields("uds_path", self.uds_path, mandatory.with(names_socket)); }
    bool operator==(const VsockGrant&) const = default;
};

struct FileGrants {
    std::vector<DriveGrant> drives{};
    std::vector<NetworkGrant> networks{};
    std::optional<VsockGrant> vsock{};
    std::string kernel{};                   ///< absolute; empty: what came along, if something did
    std::string initrd{};                   ///< goes with `kernel`
    std::vector<std::string> directories{}; ///< absolute: what lies below may be opened by its own name
    /// Holds when the operator vouches for who wrote the snapshot: what it names by an absolute path is granted. It is
    /// no field of a request.
    bool as_saved = false;
    bool operator==(const FileGrants&) const = default;
};

/// Takes a trailing ",private" or ",private=DIR" off the text of a --drive flag, and says whether it was there.
[[nodiscard]] Result<bool> take_private(std::string_view& text, std::string& directory);
/// Parses "ID=FILE[,ro|,private[=DIR]]". What trails is ours, every other comma the path's.
[[nodiscard]] Result<DriveGrant> parse_drive_grant(std::string_view);
/// Parses "path=FILE".
[[nodiscard]] Result<VsockGrant> parse_vsock_grant(std::string_view);
/// Makes relative paths absolute, and refuses an initrd without its kernel.
[[nodiscard]] Result<FileGrants> absolute(FileGrants);

/// Quotes text from outside for a terminal and for a shell: as it is if that is harmless, else in quotes, with what is
/// not printable replaced.
[[nodiscard]] std::string quoted(std::string_view);

} // namespace aerate::control
