// The front-end's dirty log (SET_LOG_BASE): a bit for each page of the guest. The device sets those that it writes or
// discards; the front-end takes them while it migrates the guest.
#pragma once

#include "memory/page_bitmap.hpp"
#include "vhost_user/shared_file.hpp"

namespace aerate::vhost_user {

class SharedLog {
public:
    /// For a guest of 16 TiB.
    static constexpr ByteCount largest{512U << 20};

    explicit SharedLog(SharedFile file)
        : file_(std::move(file)) {}

    /// Returns how many pages it has bits for.
    [[nodiscard]] PageCount pages() const { return {file_.bytes().size() * 8}; }
    /// Sets the bits of these pages, one by one atomically; those beyond the end are dropped (V9).
    void mark(const PageBitmap&);
    [[nodiscard]] bool lost() const { return file_.lost(); }

private:
    SharedFile file_;
};

} // namespace aerate::vhost_user
