#include "base/host.hpp"
#include "base/testing/refusing_host.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <sys/mman.h>

#include <atomic>
#include <vector>

namespace aerate {
namespace {

using testing::RefusingHost;

/// Everything once.
Result<> ask_for_each() {
    std::atomic<bool> ran{false};
    {
        const auto thread = TRY(host::start_thread("test", [&](const std::stop_token&) { ran = true; }));
    }
    EXPECT_TRUE(ran);
    const FileDescriptor file = host::descriptor([] { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); });
    if (!file.valid())
        return fail_errno("open");
    void* const place = host::map(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED)
        return fail_errno("map");
    ::munmap(place, 4096);
    const auto words = host::zeroed<std::uint64_t>(512);
    if (words == nullptr)
        return fail_errno("zeroed");
    EXPECT_EQ(words[511], 0U);
    return {};
}

TEST(Host, S4_every_kind_of_request_can_be_refused_and_says_why) {
    for (const auto how_long : {RefusingHost::For::once, RefusingHost::For::good}) {
        const std::size_t descriptors = testing::open_descriptors();
        std::vector<int> reasons;
        const auto refused = testing::for_each_refusal(how_long, ask_for_each, [&](const auto& result, std::uint64_t) {
            ASSERT_FALSE(result);
            reasons.push_back(result.error().system_error);
            EXPECT_TRUE(testing::descriptors_fall_to(descriptors));
        });
        EXPECT_EQ(refused, 4U);
        EXPECT_EQ(reasons, (std::vector<int>{EAGAIN, EMFILE, ENOMEM, ENOMEM}));
    }
}

TEST(Host, S4_a_thread_is_asked_to_stop_by_its_end) {
    std::atomic<bool> stopped{false};
    {
        const auto thread = host::start_thread("test", [&](const std::stop_token& stop) {
            while (!stop.stop_requested())
                std::this_thread::yield();
            stopped = true;
        });
        ASSERT_TRUE(thread);
    }
    EXPECT_TRUE(stopped);
}

} // namespace
} // namespace aerate
