// A hostile caller of the control interface: "METHOD TARGET\nBODY" through the router and the rules of the life cycle,
// in every state. What is refused must leave the configuration as it was; what it holds must survive print and parse.
#include "base/check.hpp"
#include "control/configuration.hpp"
#include "control/reply.hpp"
#include "control/router.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <variant>

namespace aerate::control {
namespace {

VmConfig startable() {
    VmConfig config;
    config.boot = BootSource{.kernel_image_path = "/kernel"};
    config.balloon = BalloonConfig{.stats_polling_interval = std::chrono::seconds(1), .free_page_hinting = true};
    return config;
}

void check_configure(const Request& request, VmConfig config, VmState state) {
    const VmConfig before = config;
    const auto reply = configure(config, state, request);
    if (!reply || !std::holds_alternative<Done>(*reply))
        CHECK(config == before);
    if (reply)
        CHECK(print_reply(*reply).status != 0);
    CHECK(validate(config));
    const auto again = parse_vm_config(print_vm_config(config));
    CHECK(again && *again == config);
}

void drive(std::string_view input) {
    const std::string_view line = input.substr(0, input.find('\n'));
    const std::string_view body = input.substr(std::min(input.size(), line.size() + 1));
    const std::string_view method = line.substr(0, line.find(' '));
    const std::string_view target = line.substr(std::min(line.size(), method.size() + 1));
    const auto request = route(method, target, body);
    if (!request) {
        const HttpReply reply = print_reply(request.error());
        CHECK(reply.status >= 400 && reply.body.size() < 4096);
        return;
    }
    for (const VmState state : {VmState::not_started, VmState::running, VmState::paused})
        for (const VmConfig& config : {VmConfig{}, startable()})
            check_configure(*request, config, state);
}

} // namespace
} // namespace aerate::control

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    aerate::control::drive(input);
    // The same bytes as a configuration file.
    if (const auto config = aerate::control::parse_vm_config(input))
        CHECK(aerate::control::validate(*config));
    if (const auto status = aerate::control::parse_status(input))
        CHECK(aerate::control::parse_status(aerate::control::print_status(*status)));
    return 0;
}
