// A hostile caller of the page: six lines are method, target, Host, Origin, Authorization and the body, through the
// rules of access and of paths. Nobody without the token changes anything, whatever they say.
#include "base/check.hpp"
#include "base/same_but_case.hpp"
#include "control/runtime_directory.hpp"
#include "web/desk.hpp"
#include "web/testing/fake_source.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace aerate::web {
namespace {

constexpr std::string_view secret = "0123456789abcdef0123456789abcdef";

std::string_view take_line(std::string_view& input) {
    const std::string_view line = input.substr(0, input.find('\n'));
    input.remove_prefix(std::min(input.size(), line.size() + 1));
    return line;
}

void drive(std::string_view input) {
    (void)Token::parse(input);
    Request request;
    for (std::string_view Request::* const part :
         {&Request::method, &Request::target, &Request::host, &Request::origin, &Request::authorization})
        request.*part = take_line(input);
    request.body = input;
    testing::FakeSource source;
    Desk desk({.token = *Token::parse(secret)}, source);
    unsigned status = 0;
    desk.answer(request, "fuzz", [&](Response response) {
        CHECK(status == 0); // once
        status = response.status;
        CHECK(response.events || !response.body.empty());
    });
    CHECK(status >= 200 && status < 600);
    CHECK(source.acts_.size() <= 1);
    for (const auto& [vm, action] : source.acts_) {
        CHECK(control::validate_vm_name(vm));
        CHECK(request.authorization.ends_with(secret) && host_name(request.host));
        CHECK(request.origin.empty() || same_but_case(request.origin, "http://" + std::string(request.host)));
    }
}

} // namespace
} // namespace aerate::web

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    aerate::web::drive({reinterpret_cast<const char*>(data), size});
    return 0;
}
