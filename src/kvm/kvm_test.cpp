#include "kvm/kvm.hpp"
#include "kvm/probe.hpp"
#include "kvm/testing/tiny_guest.hpp"

#include <gmock/gmock.h>

namespace aerate {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Kvm, MissingDeviceIsExplained) {
    const auto kvm = Kvm::open("/nonexistent/kvm");
    ASSERT_FALSE(kvm);
    EXPECT_THAT(kvm.error().message, HasSubstr("/nonexistent/kvm"));
    EXPECT_THAT(kvm.error().message, HasSubstr("load the kvm_intel or kvm_amd module"));
}

TEST(Kvm, SomethingElseIsNotTakenForKvm) {
    const auto kvm = Kvm::open("/dev/null");
    ASSERT_FALSE(kvm);
    EXPECT_THAT(kvm.error().message, HasSubstr("not a usable KVM"));
}

struct KvmDevice : testing::WithKvm {};

TEST_F(KvmDevice, OffersWhatGuestsNeed) {
    const auto kvm = Kvm::open();
    ASSERT_TRUE(kvm);
    EXPECT_GT(kvm->run_area(), ByteCount{4096});
    EXPECT_EQ(kvm->capability(KVM_CAP_USER_MEMORY), 1);
    const auto cpuid = kvm->supported_cpuid();
    ASSERT_TRUE(cpuid) << cpuid.error().message;
    EXPECT_GT(cpuid->size(), 10U);
    EXPECT_EQ(cpuid->front().function, 0U);
}

// Which answer is right depends on the machine; that there is one, soon, does not.
TEST_F(KvmDevice, ProbeAnswersInTime) {
    const auto kvm = Kvm::open();
    ASSERT_TRUE(kvm);
    const auto start = std::chrono::steady_clock::now();
    const auto result = probe_hardware(*kvm, std::chrono::milliseconds(500));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
    if (!result) {
        EXPECT_THAT(result.error().message, AllOf(HasSubstr("/dev/kvm"), HasSubstr("testbed/run")));
    }
}

} // namespace
} // namespace aerate
