#include "programs/running_vm.hpp"

#include "control/listening_socket.hpp"
#include "control/runtime_directory.hpp"

#include <cerrno>

namespace aerate {
namespace {

bool nobody_there(const Error& error) {
    return error.system_error == ENOENT || error.system_error == ECONNREFUSED;
}

} // namespace

Result<RunningVm> RunningVm::named(const std::string& name, std::chrono::milliseconds deadline) {
    TRY(control::validate_vm_name(name));
    return RunningVm(name, control::Client(control::socket_path(control::runtime_directory(), name), deadline));
}

Result<RunningVm> RunningVm::first_of(const std::string& name, const std::string& other,
                                      std::chrono::milliseconds deadline) {
    const auto directory = control::runtime_directory();
    const auto runs = [&](const std::string& word) {
        return control::validate_vm_name(word) && control::answers(control::socket_path(directory, word));
    };
    if (!other.empty() && !runs(name) && runs(other))
        return fail("no VM named {} is running, but {} is: the name of the VM comes first, then {}", name, other, name);
    return named(name, deadline);
}

Result<std::string> RunningVm::call(std::string_view method, std::string_view target, std::string_view body) const {
    return explained(client_.call(method, target, body));
}

Error RunningVm::explained(Error error) const {
    if (!nobody_there(error))
        return error;
    return {fmt::format("no VM named {} is running ({} has no such socket in use); \"aerate ps\" lists those that are",
                        name_, control::runtime_directory().string()),
            0};
}

RunningVms query_running_vms(std::chrono::milliseconds deadline) {
    RunningVms vms;
    const auto directory = control::runtime_directory();
    for (const std::string& name : control::list_vms(directory)) {
        auto status = control::Client(control::socket_path(directory, name), deadline).status();
        if (status)
            vms.answered.push_back(*std::move(status));
        else if (!nobody_there(status.error()))
            vms.silent.push_back(name);
    }
    return vms;
}

} // namespace aerate
