#include "control/status.hpp"

#include "control/schema_json.hpp"

namespace aerate::control {

std::string_view name_of(VmState state) {
    for (const auto& [name, value] : state_words)
        if (value == state)
            return name;
    return "";
}

std::string print_status(const VmStatus& status) {
    return print_json(*print_object(status));
}

Result<VmStatus> parse_status(std::string_view text) {
    return read_object<VmStatus>(TRY(parse_json(text)), Unknown::ignored);
}

} // namespace aerate::control
