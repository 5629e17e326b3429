#include "control/status.hpp"

#include "control/schema_json.hpp"

namespace aerate::control {

std::string_view name_of(VmState state) {
    for (const auto& [name, value] : state_words)
        if (value == state)
            return name;
    return "";
}

std::string_view is_confined(const std::optional<SandboxStatus>& sandbox) {
    if (!sandbox)
        return "no";
    const bool whole = sandbox->no_new_privileges && !sandbox->capabilities && sandbox->memory_hidden &&
                       sandbox->seccomp && sandbox->landlock != 0 && sandbox->lacks.empty();
    return whole ? "yes" : "partly";
}

std::string print_status(const VmStatus& status) {
    return print_json(*print_object(status));
}

Result<VmStatus> parse_status(std::string_view text) {
    return read_object<VmStatus>(TRY(parse_json(text)), Unknown::ignored);
}

} // namespace aerate::control
