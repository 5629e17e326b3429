#include "confine/testing/kernel_answers.hpp"
#include "daemon/threads.hpp"

#include <gtest/gtest.h>

namespace aerate {
namespace {

TEST(DaemonThreads, TheKernelAnswersEveryCallOfEachKindByItsRules) {
    if (!testing::filters_can_be_tried)
        GTEST_SKIP() << "a sanitizer makes calls of its own";
    for (const confine::ThreadKind* const kind : testing::kinds_started_by(vhost_user_thread))
        testing::expect_answers_by_rule(*kind);
}

TEST(DaemonThreads, TheRulesAreThoseThatWereLookedAt) {
    testing::expect_rules_as_in(AERATE_SAMPLES "/thread_calls.txt", testing::kinds_started_by(vhost_user_thread));
}

TEST(DaemonThreads, AFrontEndsThreadWritesNoFile) {
    const auto opens = [](int flags) {
        return confine::answer_to(vhost_user_guest_thread, {SYS_openat, {0, 0, static_cast<std::uint32_t>(flags)}})
            .verdict;
    };
    EXPECT_EQ(opens(O_RDONLY | O_CLOEXEC), confine::Verdict::allowed);
    for (const int flags : {O_WRONLY, O_RDWR, O_RDONLY | O_CREAT, O_RDONLY | O_TRUNC})
        EXPECT_EQ(opens(flags), confine::Verdict::refused_with_error);
}

} // namespace
} // namespace aerate
