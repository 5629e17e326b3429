#include "vhost_user/shared_log.hpp"

#include <algorithm>
#include <atomic>

namespace aerate::vhost_user {

void SharedLog::mark(const PageBitmap& pages) {
    const auto bytes = file_.bytes();
    for (PageRange run = pages.next_run({0}); run.count > PageCount{0}; run = pages.next_run(run.end())) {
        const std::uint64_t end = std::min(run.end().value, this->pages().value);
        for (std::uint64_t page = run.first.value; page < end;) {
            // As many bits of one byte as are set: the front-end may take the others of it meanwhile.
            const unsigned first = page % 8;
            const auto count = static_cast<unsigned>(std::min<std::uint64_t>(8 - first, end - page));
            const auto bits = static_cast<unsigned char>(((1U << count) - 1U) << first);
            auto& byte = reinterpret_cast<unsigned char&>(bytes[page / 8]);
            std::atomic_ref(byte).fetch_or(bits, std::memory_order_release);
            page += count;
        }
    }
}

} // namespace aerate::vhost_user
