#include "base/error.hpp"

#include <atomic>
#include <cerrno>
#include <memory>
#include <system_error>
#include <utility>

namespace aerate {
namespace {

std::atomic<const std::string*> why_refused{nullptr};

} // namespace

std::string describe_errno(int code) {
    std::string text = std::generic_category().message(code);
    if (const std::string* const why = why_refused.load(); why != nullptr && code == EACCES)
        text += *why;
    return text;
}

void explain_refusals(std::string why) {
    static std::unique_ptr<const std::string> kept;
    if (kept) // others may be reading it
        return;
    kept = std::make_unique<const std::string>(std::move(why));
    why_refused = kept.get();
}

} // namespace aerate
