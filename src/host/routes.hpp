// The daemon's own socket: HTTP to the Service and back.
//
//     GET  /host/status                    control::HostStatus
//     GET  /host/history                   History
//     GET  /host/vms/NAME/decisions        Decisions
//     PUT  /host/vms/NAME                  PolicyChange; 204
//     POST /host/admission                 AdmissionQuestion; AdmissionAnswer
#pragma once

#include "control/reply.hpp"
#include "host/service.hpp"

#include <filesystem>
#include <string_view>

namespace aerate::hostd {

[[nodiscard]] control::HttpReply answer(Service&, std::string_view method, std::string_view target,
                                        std::string_view body);

/// Returns where the daemon's socket is: under a name that no VM can have, since it begins with a dot.
[[nodiscard]] inline std::filesystem::path daemon_socket(const std::filesystem::path& directory) {
    return directory / ".host.sock";
}

} // namespace aerate::hostd
