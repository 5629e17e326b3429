#include "programs/file_flags.hpp"

#include <CLI/CLI.hpp>

namespace aerate {

void add_file_flags(CLI::App& command, FileFlags& flags) {
    const auto several = [](CLI::Option* option, const char* type) {
        option->type_name(type)
            ->expected(1)
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
            ->group("Files of this host that the guest may have");
    };
    several(command.add_option("--drive", flags.drives, "the image of a drive; may be repeated"),
            "ID=FILE[,ro|,private[=DIR]]");
    several(command.add_option("--net", flags.nets,
                               "what a network interface is connected to here, as in aerate run; may be repeated"),
            "ID=NET");
    several(command.add_option("--files", flags.directories,
                               "a directory whose files it may open by the names that it knows; may be repeated"),
            "DIR");
    several(command.add_option("--vsock", flags.vsock, "where the socket of its vsock is to be"), "path=FILE");
    several(command.add_option("--kernel", flags.kernel,
                               "what it boots when it resets itself, instead of what came with it"),
            "FILE");
    several(command.add_option("--initrd", flags.initrd, "goes with --kernel"), "FILE");
}

Result<control::FileGrants> grants_from(const FileFlags& flags) {
    control::FileGrants grants{.drives = {},
                               .networks = {},
                               .vsock = {},
                               .kernel = flags.kernel,
                               .initrd = flags.initrd,
                               .directories = flags.directories};
    for (const std::string& drive : flags.drives)
        grants.drives.push_back(TRY(control::parse_drive_grant(drive)));
    for (const std::string& net : flags.nets)
        grants.networks.push_back(TRY(control::parse_net_grant(net)));
    if (!flags.vsock.empty())
        grants.vsock = TRY(control::parse_vsock_grant(flags.vsock));
    return control::absolute(std::move(grants));
}

} // namespace aerate
