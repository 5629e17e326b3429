#include "policy/admission.hpp"
#include "policy/testing/bench_host.hpp"

#include <gmock/gmock.h>

namespace aerate::policy::testing {
namespace {

using ::testing::HasSubstr;

TEST(Admission, fits_into_what_is_free_above_the_reserve) {
    TestHost host;
    EXPECT_FALSE(admit(host.state, host.inputs, {.size = 8_GiB, .floor = 1_GiB}, {}).refused);
}

TEST(Admission, floors_are_never_promised_twice) {
    TestHost host;
    host.add("a").floor = 16_GiB;
    host.guest("a").size = 16_GiB;
    const Admission admission = admit(host.state, host.inputs, {.size = 4_GiB, .floor = 4_GiB}, {});
    EXPECT_EQ(admission.refused, Refusal::floors);
    EXPECT_EQ(admission.missing, 512_MiB);
    EXPECT_THAT(words(admission), HasSubstr("a floor that is 512 MiB lower"));
}

TEST(Admission, counts_what_guests_could_give_and_no_guest_that_is_held) {
    TestHost host;
    host.add("a");
    host.tight();
    host.tick();
    const Candidate candidate{.size = 4_GiB, .floor = 1_GiB};
    EXPECT_EQ(freeable(host.state, host.inputs), 3_GiB - 128_MiB);
    EXPECT_FALSE(admit(host.state, host.inputs, candidate, {}).refused);
    host.state.guests.at({"a"}).hold.fail(host.inputs.now);
    const Admission admission = admit(host.state, host.inputs, candidate, {});
    EXPECT_EQ(admission.refused, Refusal::need);
    EXPECT_THAT(words(admission), HasSubstr("it needs 2048 MiB; 900 MiB are free"));
}

TEST(Admission, a_need_that_is_known_counts_instead_of_half_the_size) {
    TestHost host;
    host.tight();
    EXPECT_TRUE(admit(host.state, host.inputs, {.size = 4_GiB}, {}).refused);
    EXPECT_FALSE(admit(host.state, host.inputs, {.size = 4_GiB, .need = 800_MiB}, {}).refused);
}

TEST(Admission, what_is_reserved_for_others_is_taken) {
    TestHost host;
    EXPECT_FALSE(admit(host.state, host.inputs, {.size = 8_GiB}, {}).refused);
    EXPECT_TRUE(admit(host.state, host.inputs, {.size = 8_GiB}, 8_GiB).refused);
}

TEST(Admission, no_number_makes_it_wrap) {
    TestHost host;
    host.add("a").floor = {~0ULL};
    const Admission admission = admit(host.state, host.inputs, {{~0ULL}, {~0ULL}, ByteCount{~0ULL}}, {~0ULL});
    EXPECT_EQ(admission.refused, Refusal::floors);
    EXPECT_FALSE(words(admission).empty());
}

} // namespace
} // namespace aerate::policy::testing
