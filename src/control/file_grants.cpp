#include "control/file_grants.hpp"

#include "base/absolute_path.hpp"

namespace aerate::control {

Result<bool> take_private(std::string_view& text, std::string& directory) {
    constexpr std::string_view flag = ",private";
    if (text.ends_with(flag)) {
        text.remove_suffix(flag.size());
        return true;
    }
    constexpr std::string_view with_directory = ",private=";
    const auto at = text.rfind(with_directory);
    if (at == text.npos)
        return false;
    directory = text.substr(at + with_directory.size());
    if (directory.empty())
        return fail("--drive {}: there is no directory after private=", text);
    text = text.substr(0, at);
    return true;
}

Result<void> DriveGrant::check(const DriveGrant& grant) {
    if (grant.is_private && grant.read_only)
        return fail("drives.is_private: is for what the guest writes, and the drive is_read_only; leave one of them "
                    "out");
    if (!grant.private_directory.empty() && !grant.is_private)
        return fail("drives.private_directory: is where a private drive keeps what its guest writes; set is_private");
    return {};
}

Result<DriveGrant> parse_drive_grant(std::string_view text) {
    constexpr std::string_view read_only = ",ro";
    const auto equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0)
        return fail("--drive {}: must be ID=FILE; ,ro or ,private[=DIR] may follow", text);
    DriveGrant grant{.drive_id = std::string(text.substr(0, equals)), .read_only = text.ends_with(read_only)};
    std::string_view path = text.substr(equals + 1);
    if (grant.read_only)
        path.remove_suffix(read_only.size());
    grant.is_private = TRY(take_private(path, grant.private_directory));
    if (grant.is_private && grant.read_only)
        return fail("--drive {}: ,private is for what the guest writes, and ,ro lets it write nothing; leave one of "
                    "them out",
                    text);
    if (path.empty())
        return fail("--drive {}: there is no file after the '='", text);
    grant.path = TRY(absolute_path(path));
    grant.private_directory = TRY(absolute_path(grant.private_directory));
    return grant;
}

Result<VsockGrant> parse_vsock_grant(std::string_view text) {
    constexpr std::string_view key = "path=";
    if (!text.starts_with(key) || text.size() == key.size())
        return fail("--vsock {}: must be path=FILE; the guest keeps its CID", text);
    return VsockGrant{.uds_path = TRY(absolute_path(text.substr(key.size())))};
}

Result<FileGrants> absolute(FileGrants grants) {
    for (DriveGrant& drive : grants.drives) {
        drive.path = TRY(absolute_path(drive.path));
        drive.private_directory = TRY(absolute_path(drive.private_directory));
    }
    if (grants.vsock)
        grants.vsock->uds_path = TRY(absolute_path(grants.vsock->uds_path));
    if (!grants.initrd.empty() && grants.kernel.empty())
        return fail("an initrd without its kernel: name both, because an initrd belongs to its kernel");
    grants.kernel = TRY(absolute_path(grants.kernel));
    grants.initrd = TRY(absolute_path(grants.initrd));
    for (std::string& directory : grants.directories)
        directory = TRY(absolute_path(directory));
    return grants;
}

std::string quoted(std::string_view text) {
    constexpr std::string_view harmless = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./,+:@%=";
    if (!text.empty() && text.find_first_not_of(harmless) == std::string_view::npos)
        return std::string(text);
    std::string safe = "'";
    for (const char c : text)
        if (c == '\'')
            safe += "'\\''";
        else
            safe += c >= ' ' && c <= '~' ? c : '?';
    return safe + "'";
}

} // namespace aerate::control
