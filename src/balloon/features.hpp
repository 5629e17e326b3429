// Feature bits of the balloon (virtio 1.2, 5.5.3). Bits from 6 up mean different things to different drivers and
// devices in the field, so none of them is named here.
#pragma once

namespace aerate::balloon::feature {

inline constexpr unsigned must_tell_host = 0;
inline constexpr unsigned statistics = 1;
inline constexpr unsigned deflate_on_oom = 2;
inline constexpr unsigned free_page_hinting = 3;
inline constexpr unsigned page_poison = 4;
inline constexpr unsigned free_page_reporting = 5;

} // namespace aerate::balloon::feature
