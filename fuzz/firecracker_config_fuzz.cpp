// A hostile configuration file, as `aerate firecracker --config-file` reads it. What is accepted must hold what the
// rest of the program relies on, survive print and parse, and lose all that names the monitor's own files when a guest
// takes it along.
#include "base/check.hpp"
#include "boot/kernel_image.hpp"
#include "control/vm_config.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace aerate::control {
namespace {

void read(std::string_view text) {
    auto config = parse_vm_config(text);
    if (!config) {
        CHECK(!config.error().message.empty() && config.error().message.size() < 1024);
        return;
    }
    CHECK(validate(*config));
    CHECK(parse_vm_config(print_vm_config(*config)) == *config);
    const VmConfig taken_along = without_monitor(*config);
    CHECK(taken_along.monitor == MonitorConfig{});
    CHECK(parse_vm_config(print_vm_config(taken_along)) == taken_along);
    root_device_first(config->drives);
    if (config->boot)
        CHECK(kernel_command_line(*config).size() <= command_line_max);
    CHECK(make_paths_absolute(*config));
}

} // namespace
} // namespace aerate::control

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    aerate::control::read({reinterpret_cast<const char*>(data), size});
    return 0;
}
