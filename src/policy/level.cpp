#include "policy/level.hpp"

namespace aerate::policy {
namespace {

constexpr Permille some_is_shortage{100};
constexpr Permille full_is_critical{50};

} // namespace

Level level_of(const Host& host) {
    const ByteCount above = excess(host.available, host.reserve);
    if (host.available < host.reserve || host.full > full_is_critical)
        return Level::critical;
    if (above < part(host.total, low) || host.some > some_is_shortage)
        return Level::shortage;
    return above < part(host.total, high) ? Level::tight : Level::plenty;
}

milliseconds next_look(Level level) {
    return level == Level::plenty ? milliseconds{1000} : milliseconds{200};
}

ByteCount wanted(const Host& host, Level level, ByteCount promised) {
    if (!is_short(level))
        return {};
    const ByteCount missing = excess(host.reserve + part(host.total, middle), host.available) + promised;
    // The pressure may be critical while memory is left: it is not the right memory.
    return level == Level::critical ? std::max(missing, part(host.total, low)) : missing;
}

ByteCount returnable(const Host& host, milliseconds time) {
    const ByteCount surplus = excess(host.available, host.reserve + part(host.total, high));
    return scaled(surplus, count(std::min(time, milliseconds{1000})), 8000);
}

} // namespace aerate::policy
