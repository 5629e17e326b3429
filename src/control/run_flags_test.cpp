#include "base/testing/temporary_directory.hpp"
#include "control/run_flags.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>

#include <filesystem>
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

TEST(RunFlags, TheMemoryPolicy) {
    EXPECT_EQ(config_from({.mem = "64M"})->memory_policy, MemoryPolicy{});
    const auto config = config_from({.mem = "64M", .memory_floor = "32M", .memory_shares = 2000, .memory_priority = 9});
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->memory_policy, (MemoryPolicy{.floor = 32_MiB, .shares = 2000, .priority = 9}));
    const auto above = config_from({.mem = "64M", .memory_floor = "66M"});
    ASSERT_FALSE(above);
    EXPECT_EQ(above.error().message,
              "memory-policy.memory_floor_mib: 66 is more than the VM's 64 MiB of RAM: no policy "
              "could keep that");
    EXPECT_FALSE(config_from({.mem = "64M", .memory_floor = "100K"})) << "whole MiB";
}

TEST(RunFlags, PrivateDrives) {
    const auto config =
        config_from({.drives = {"/a,b,private", "/c,private=/d,e", "/f,private=/g,on_error=pause"}, .mem = "64M"});
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->drives[0].path_on_host, "/a,b");
    EXPECT_TRUE(config->drives[0].is_private);
    EXPECT_EQ(config->drives[0].private_directory, "");
    EXPECT_EQ(config->drives[1].path_on_host, "/c");
    EXPECT_EQ(config->drives[1].private_directory, "/d,e");
    EXPECT_EQ(config->drives[2].private_directory, "/g");
    EXPECT_EQ(config->drives[2].on_error, DriveError::pause);
    EXPECT_TRUE(config_from({.drives = {"/a,private=here"}})->drives[0].private_directory.starts_with("/"));
    EXPECT_FALSE(config_from({.drives = {"/a,private="}}));
    const auto both = config_from({.drives = {"/a,private,ro"}});
    ASSERT_FALSE(both);
    EXPECT_TRUE(both.error().message.starts_with("--drive /a,private,ro: drive.is_private: "));
}

TEST(RunFlags, Vsock) {
    const auto config = config_from({.vsock = "cid=3,path=/run/v,1=2"});
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->vsock, (VsockConfig{.guest_cid = 3, .uds_path = "/run/v,1=2"}));
    EXPECT_EQ(config_from({.vsock = "max_connections=9,cid=4,path=/v"})->vsock->max_connections, 9U);
    EXPECT_FALSE(config_from({})->vsock);
    for (const char* wrong : {"", "cid=3", "path=/v", "cid=2,path=/v", "cid=x,path=/v", "cid=,path=/v", "cid=3,path=",
                              "cid=3;path=/v", "cid=3,uds=/v", "cid=3,max_connections=0,path=/v", ",", "="}) {
        const auto refused = config_from({.vsock = wrong});
        ASSERT_FALSE(refused) << wrong;
        EXPECT_TRUE(refused.error().message.starts_with("--vsock ")) << refused.error().message;
    }
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
    const std::string fifo = directory / "fifo"; // nobody writes to it, and nobody waits for that
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    const auto refused = config_from({.config_file = fifo});
    ASSERT_FALSE(refused);
    EXPECT_TRUE(refused.error().message.contains(fifo + ": it is not a regular file")) << refused.error().message;
    std::ofstream(directory / "names") << R"({"cpu-config": ")" << fifo << R"("})";
    const auto named = config_from({.config_file = directory / "names"});
    ASSERT_FALSE(named);
    EXPECT_TRUE(named.error().message.contains(fifo + ": it is not a regular file")) << named.error().message;
    std::ofstream(file) << "{";
    const auto broken = config_from({.config_file = file});
    ASSERT_FALSE(broken);
    EXPECT_TRUE(broken.error().message.starts_with(file));
}

TEST(RunFlags, C4_PathsAreMadeAbsoluteByTheProcessThatIsGivenThem) {
    const auto config = config_from({.kernel = "vmlinuz", .initrd = "./i", .drives = {"disk.img,ro", "/abs"}});
    ASSERT_TRUE(config);
    const std::string here = std::filesystem::current_path().string() + "/";
    EXPECT_EQ(config->boot->kernel_image_path, here + "vmlinuz");
    EXPECT_EQ(config->boot->initrd_path, here + "i");
    EXPECT_EQ(config->drives[0].path_on_host, here + "disk.img");
    EXPECT_EQ(config->drives[1].path_on_host, "/abs");
}

} // namespace
} // namespace aerate::control
