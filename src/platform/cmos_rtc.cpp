#include "platform/cmos_rtc.hpp"

#include <utility>

namespace aerate {
namespace {

constexpr std::uint8_t bcd(int value) {
    return static_cast<std::uint8_t>((value / 10 % 10) << 4 | (value % 10));
}

std::tm utc(std::time_t now) {
    std::tm fields{};
    ::gmtime_r(&now, &fields);
    return fields;
}

} // namespace

CmosRtc::CmosRtc(Clock clock)
    : clock_(std::move(clock))
    , latched_(utc(clock_())) {}

void CmosRtc::read(std::uint64_t offset, std::span<std::byte> into) {
    const std::scoped_lock lock(mutex_);
    for (std::byte& byte : into)
        byte = std::byte{offset++ == 1 ? read_register() : std::uint8_t{0xff}};
}

void CmosRtc::write(std::uint64_t offset, std::span<const std::byte> from) {
    const std::scoped_lock lock(mutex_);
    // Bit 7 of the index masks the NMI on a PC.
    if (offset == 0)
        index_ = std::to_integer<std::uint8_t>(from.front()) & 0x7f;
}

std::uint8_t CmosRtc::save() const {
    const std::scoped_lock lock(mutex_);
    return index_;
}

void CmosRtc::restore(std::uint8_t index) {
    const std::scoped_lock lock(mutex_);
    index_ = index & 0x7f;
}

std::uint8_t CmosRtc::read_register() {
    switch (index_) {
    case 0x00:
        return bcd(latched_.tm_sec);
    case 0x02:
        return bcd(latched_.tm_min);
    case 0x04:
        return bcd(latched_.tm_hour);
    case 0x06:
        return bcd(latched_.tm_wday + 1);
    case 0x07:
        return bcd(latched_.tm_mday);
    case 0x08:
        return bcd(latched_.tm_mon + 1);
    case 0x09:
        return bcd(latched_.tm_year);
    case 0x32:
        return bcd((latched_.tm_year + 1900) / 100);
    case 0x0a:
        // Guests ask here whether an update is in progress before they read the time, so this is where it is taken: the
        // registers stay consistent until they ask again.
        latched_ = utc(clock_());
        return 0x26; // 32768 Hz, the usual rate, no update in progress
    case 0x0b:
        return 0x02; // 24 hours, BCD
    case 0x0d:
        return 0x80; // the battery is good
    default:
        return 0;
    }
}

} // namespace aerate
