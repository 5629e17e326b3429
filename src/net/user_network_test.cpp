// The process behind a user network, played by a script: what becomes of us when it does not do its part.
#include "base/testing/refusing_host.hpp"
#include "base/testing/temporary_directory.hpp"
#include "net/user_network.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace aerate::net {
namespace {

using testing::soon;

class UserNetworkTest : public ::testing::Test {
protected:
    void play(const std::string& script) {
        const std::string file = directory_ / "passt";
        std::ofstream(file) << "#!/bin/sh\n" << script << "\n";
        ASSERT_EQ(::chmod(file.c_str(), 0700), 0);
        ASSERT_EQ(::setenv("PATH", ((directory_ / "") + ":/usr/bin:/bin").c_str(), 1), 0);
    }
    void TearDown() override { ::setenv("PATH", path_.c_str(), 1); }

    const std::string path_ = std::getenv("PATH");
    const TemporaryDirectory directory_;
};

// It runs as nobody under root: whoever else does may stop it, and its end was then waited for for ever.
TEST_F(UserNetworkTest, S4_AProcessThatIsStoppedHoldsNobody) {
    const std::string ready = directory_ / "ready";
    play("trap '' TERM; : >" + ready + "; kill -STOP $$");
    auto network = start_user_network({});
    ASSERT_TRUE(network) << network.error().message;
    ASSERT_TRUE(soon([&] { return std::filesystem::exists(ready); }));
    network->reset();
}

TEST_F(UserNetworkTest, WithoutTheProgramItSaysWhatToInstall) {
    ASSERT_EQ(::setenv("PATH", (directory_ / "").c_str(), 1), 0);
    const auto network = start_user_network({});
    ASSERT_FALSE(network);
    EXPECT_NE(network.error().message.find("apt-get install passt"), std::string::npos) << network.error().message;
}

} // namespace
} // namespace aerate::net
