#include "machine/places.hpp"

#include <filesystem>

namespace aerate {

using confine::Access;

void add_places_of(const control::VmConfig& config, std::vector<confine::Place>& places) {
    const auto directory_of = [](const std::string& file) {
        return std::filesystem::path(file).parent_path().string();
    };
    places.push_back({"/dev/kvm", Access::write}); // each life of a guest has a machine of its own
    places.push_back({"/dev/null", Access::write});
    places.push_back({"/etc/localtime", Access::read}); // the log's times
    places.push_back({"/usr/share/zoneinfo", Access::read});
    for (const control::Drive& drive : config.drives) {
        places.push_back({drive.path_on_host, drive.is_read_only || drive.is_private ? Access::read : Access::write});
        if (!drive.private_directory.empty())
            places.push_back({drive.private_directory, Access::directory});
    }
    if (config.vsock)
        places.push_back({directory_of(config.vsock->uds_path), Access::sockets});
}

} // namespace aerate
