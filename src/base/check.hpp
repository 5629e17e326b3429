// CHECK: our own bug, in every build. Nothing that a guest, a peer or an API caller can send may reach one.
#pragma once

namespace aerate {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
} // namespace aerate

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) [[unlikely]]                                                                                 \
            ::aerate::check_failed(#condition, __FILE__, __LINE__);                                                    \
    } while (false)
