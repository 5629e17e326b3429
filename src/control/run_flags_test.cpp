#include "base/testing/temporary_directory.hpp"
#include "control/run_flags.hpp"

#include <gtest/gtest.h>

#include <fstream>

namespace aerate::control {
namespace {

using namespace literals;

TEST(RunFlags, DefaultsGiveMemoryBack) {
    const auto config = config_from({.kernel = "/k", .mem = "1G"});
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->machine.mem_size, 1_GiB);
    EXPECT_EQ(config->boot->kernel_image_path, "/k");
    ASSERT_TRUE(config->balloon);
    EXPECT_TRUE(config->balloon->free_page_reporting);
    EXPECT_TRUE(config->balloon->free_page_hinting);
    EXPECT_TRUE(config->balloon->deflate_on_oom);
    EXPECT_TRUE(config->entropy);
}

TEST(RunFlags, DrivesAndBalloon) {
    const auto config = config_from({.drives = {"/a,b", "/c,ro"}, .mem = "64", .balloon = "32M", .reporting = false});
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->drives.at(0).path_on_host, "/a,b");
    EXPECT_FALSE(config->drives.at(0).is_read_only);
    EXPECT_EQ(config->drives.at(1).path_on_host, "/c");
    EXPECT_TRUE(config->drives.at(1).is_read_only);
    EXPECT_EQ(config->balloon->target, 32_MiB);
    EXPECT_FALSE(config->balloon->free_page_reporting);
    EXPECT_FALSE(config_from({.mem = "64M", .balloon = "65M"}));
    EXPECT_FALSE(config_from({.mem = "lots"}));
    EXPECT_FALSE(config_from({.initrd = "/i"}));
}

TEST(RunFlags, AFileGivesWhatFlagsDoNot) {
    const TemporaryDirectory directory;
    const std::string file = directory.path() / "vm.json";
    std::ofstream(file) << R"({"machine-config": {"vcpu_count": 2, "mem_size_mib": 256},
                               "boot-source": {"kernel_image_path": "/k", "boot_args": "quiet"}})";
    const auto config = config_from({.config_file = file, .kernel = "/other", .vcpus = 3});
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->machine.vcpu_count, 3U);
    EXPECT_EQ(config->machine.mem_size, 256_MiB);
    EXPECT_EQ(config->boot->kernel_image_path, "/other");
    EXPECT_EQ(config->boot->boot_args, "quiet");
    EXPECT_FALSE(config->balloon);
    EXPECT_FALSE(config->entropy);

    EXPECT_FALSE(config_from({.config_file = file + ".none"}));
    EXPECT_FALSE(config_from({.config_file = directory.path()}));
    std::ofstream(file) << "{";
    const auto broken = config_from({.config_file = file});
    ASSERT_FALSE(broken);
    EXPECT_TRUE(broken.error().message.starts_with(file));
}

} // namespace
} // namespace aerate::control
