// What a guest from outside may have of this host's files: what the operator has named, and nothing else.
#include "base/testing/sanitized.hpp"
#include "base/testing/temporary_directory.hpp"
#include "machine/host_files.hpp"

#include <gmock/gmock.h>
#include <sched.h>

#include <sys/resource.h>

#include <filesystem>
#include <fstream>

namespace aerate {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class HostFilesTest : public ::testing::Test {
protected:
    HostFilesTest() {
        std::ofstream(disk) << std::string(1 << 20, 'd');
        std::ofstream(kernel) << "kernel";
    }
    [[nodiscard]] Result<ForeignConfig::Settled> settle(const std::string& path, const control::FileGrants& grants,
                                                        const Origin& origin = {.command = "aerate restore vm.snap"}) {
        control::VmConfig config;
        config.drives.push_back({.drive_id = "rootfs", .path_on_host = path});
        config.boot = control::BootSource{.kernel_image_path = kernel, .initrd_path = "/etc/passwd"};
        return TRY(ForeignConfig::parse(control::print_vm_config(config))).settle(grants, origin);
    }
    [[nodiscard]] bool somebody_has_the_disk() const { return !DiskImage::open({.path = disk}).has_value(); }

    TemporaryDirectory directory;
    std::string disk = directory / "disk.img";
    std::string kernel = directory / "kernel";
};

TEST_F(HostFilesTest, S2_APathFromOutsideIsNotOpened) {
    const auto settled = settle(disk, {});
    ASSERT_FALSE(settled);
    EXPECT_THAT(settled.error().message, HasSubstr("drive rootfs: " + disk));
    EXPECT_THAT(settled.error().message, HasSubstr("aerate restore vm.snap --drive rootfs=" + disk));
    EXPECT_THAT(settled.error().message, HasSubstr("aerate restore vm.snap --files " + directory.path().string()));
    EXPECT_FALSE(somebody_has_the_disk());
    EXPECT_FALSE(settle("disk.img", {}, {.command = "aerate restore vm.snap", .own_seal = true}))
        << "a relative path means another file in each directory";
}

TEST_F(HostFilesTest, S2_WhatTheOperatorNamesIsOpened) {
    const auto settled = settle("/etc/shadow", {.drives = {{.drive_id = "rootfs", .path = disk, .read_only = true}}});
    ASSERT_TRUE(settled) << settled.error().message;
    EXPECT_EQ(settled->config.drives[0].path_on_host, disk);
    EXPECT_TRUE(settled->files->disk("rootfs")->read_only());
    EXPECT_TRUE(somebody_has_the_disk());
    const auto other = settle(disk, {.drives = {{.drive_id = "data", .path = disk}}});
    ASSERT_FALSE(other);
    EXPECT_THAT(other.error().message, HasSubstr("no such drive; it has rootfs"));
}

TEST_F(HostFilesTest, S2_KernelAndInitrdFromOutsideAreNeverRead) {
    const auto settled =
        settle(disk, {.drives = {{.drive_id = "rootfs", .path = disk}}, .directories = {directory.path()}});
    ASSERT_TRUE(settled) << settled.error().message;
    EXPECT_EQ(settled->files->initrd(), nullptr) << "/etc/passwd lies below no directory that was granted";
}

TEST_F(HostFilesTest, S2_ANamedKernelReplacesBoth) {
    const auto settled = settle(disk, {.drives = {{.drive_id = "rootfs", .path = disk}}, .kernel = kernel});
    ASSERT_TRUE(settled) << settled.error().message;
    ASSERT_NE(settled->files->kernel(), nullptr);
    EXPECT_EQ(settled->files->kernel()->path, kernel);
    EXPECT_EQ(settled->files->initrd(), nullptr);
    EXPECT_EQ(settled->config.boot->initrd_path, "");
}

TEST_F(HostFilesTest, AKernelThatWasWrittenToSinceDoesNotGoAlong) {
    const std::string initrd = directory / "initrd";
    std::ofstream(initrd) << "initrd";
    control::VmConfig config;
    config.boot = control::BootSource{.kernel_image_path = kernel, .initrd_path = initrd};
    const auto open = [&config] { return std::move(*HostFiles::open(config)); };
    const auto replaced = open();
    std::ofstream(directory / "new") << "newker";
    std::filesystem::rename(directory / "new", kernel);
    std::filesystem::permissions(initrd, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    EXPECT_EQ(replaced->changed_boot_file(), nullptr) << "it has the old one, whatever the name leads to";
    EXPECT_EQ(replaced->attachments().size(), 2U);

    for (const auto& [path, what] : {std::pair(kernel, "kernel image"), std::pair(initrd, "initrd")}) {
        const auto cut = open();
        std::filesystem::resize_file(path, 3);
        ASSERT_NE(cut->changed_boot_file(), nullptr);
        EXPECT_EQ(cut->changed_boot_file()->what, std::string(what));
        EXPECT_EQ(cut->changed_boot_file()->path, path);
        EXPECT_TRUE(cut->attachments().empty());

        const auto overwritten = open();
        const auto later = std::filesystem::last_write_time(path) + std::chrono::milliseconds(10);
        std::fstream(path, std::ios::in | std::ios::out) << "XYZ";
        std::filesystem::last_write_time(path, later); // as it would be a moment later
        EXPECT_EQ(overwritten->changed_boot_file(),
                  &(path == kernel ? *overwritten->kernel() : *overwritten->initrd()));
        EXPECT_TRUE(overwritten->attachments().empty());
    }
}

TEST_F(HostFilesTest, S2_ADirectoryGrantsWhatLiesBelowItAndNoWayOut) {
    const TemporaryDirectory elsewhere;
    const std::string secret = elsewhere / "secret";
    std::ofstream(secret) << std::string(1 << 20, 's');
    std::filesystem::create_symlink(secret, directory / "link");
    std::filesystem::create_directory_symlink(elsewhere.path(), directory / "way");
    const control::FileGrants grants{.directories = {directory.path().string()}};
    const auto settled = settle(disk, grants);
    ASSERT_TRUE(settled) << settled.error().message;
    const std::string out = directory.path().string() + "/../" + elsewhere.path().filename().string() + "/secret";
    for (const std::string& path : {secret, directory / "link", directory / "way/secret", out, std::string("disk.img")})
        EXPECT_FALSE(settle(path, grants)) << path;
    EXPECT_TRUE(settle(out, {}, {.command = "", .own_seal = true})) << "the operator's own seal is the operator's word";
}

TEST_F(HostFilesTest, S2_ASocketsPathFromOutsideIsNotBound) {
    const std::string theirs = directory / "v.sock";
    const std::string ours = directory / "clone.sock";
    const auto settle_vsock = [&](const control::FileGrants& grants, bool own_seal = false) {
        control::VmConfig config;
        config.vsock = control::VsockConfig{.guest_cid = 3, .uds_path = theirs};
        auto foreign = ForeignConfig::parse(control::print_vm_config(config));
        EXPECT_TRUE(foreign);
        return std::move(*foreign).settle(grants, {.command = "aerate restore vm.snap", .own_seal = own_seal});
    };
    const auto refused = settle_vsock({.directories = {directory.path().string()}});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("the socket of its vsock: " + theirs));
    EXPECT_THAT(refused.error().message, HasSubstr("aerate restore vm.snap --vsock path=FILE"));
    EXPECT_FALSE(std::filesystem::exists(theirs));
    {
        const auto settled = settle_vsock({.vsock = control::VsockGrant{.uds_path = ours}});
        ASSERT_TRUE(settled) << settled.error().message;
        EXPECT_EQ(settled->config.vsock->uds_path, ours);
        EXPECT_TRUE(connect_unix(ours)) << "who connects may wait for the guest";
        EXPECT_FALSE(std::filesystem::exists(theirs));
        const auto taken = settle_vsock({.vsock = control::VsockGrant{.uds_path = ours}});
        ASSERT_FALSE(taken);
        EXPECT_THAT(taken.error().message, HasSubstr("somebody else listens at " + ours));
    }
    EXPECT_FALSE(std::filesystem::exists(ours));
    EXPECT_TRUE(settle_vsock({}, true)) << "the operator's own seal is the operator's word";
    const auto none = settle(
        disk, {.drives = {{.drive_id = "rootfs", .path = disk}}, .vsock = control::VsockGrant{.uds_path = ours}});
    ASSERT_FALSE(none);
    EXPECT_THAT(none.error().message, HasSubstr("the guest has no vsock"));
}

TEST_F(HostFilesTest, MoreConnectionsThanFilesMayBeOpenAreRefused) {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    control::VmConfig config;
    config.vsock = control::VsockConfig{.guest_cid = 3, .uds_path = directory / "v.sock"};
    rlimit tight = before;
    tight.rlim_cur = 512;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
    EXPECT_TRUE(HostFiles::open(config)) << "the limit is raised as far as it may be";
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &tight), 0);
    EXPECT_GE(tight.rlim_cur, config.vsock->max_connections);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST_F(HostFilesTest, S2_WhatIsNoDiskIsLookedAtAndNotOpened) {
    const std::string fifo = directory / "fifo";
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    const auto settled = settle(fifo, {.directories = {directory.path().string()}});
    ASSERT_FALSE(settled);
    EXPECT_THAT(settled.error().message, HasSubstr("neither a file nor a block device"));
}

TEST_F(HostFilesTest, C14_ADiskThatWasWrittenSinceIsRefusedUnlessForced) {
    control::VmConfig config;
    config.drives.push_back(
        {.drive_id = "rootfs", .path_on_host = disk, .saved_as = DiskImage::open({.path = disk})->identity()->text()});
    const auto settled = [&](bool force) {
        auto foreign = ForeignConfig::parse(control::print_vm_config(config));
        EXPECT_TRUE(foreign);
        return std::move(*foreign).settle({.drives = {{.drive_id = "rootfs", .path = disk}}},
                                          {.command = "aerate restore vm.snap", .force = force});
    };
    {
        const auto same = settled(false);
        ASSERT_TRUE(same) << same.error().message;
        EXPECT_EQ(same->config.drives[0].saved_as, "") << "it has been written by the guest when it is saved next";
    }
    std::ofstream(disk) << std::string(1 << 20, 'e');
    const auto changed = settled(false);
    ASSERT_FALSE(changed);
    EXPECT_THAT(changed.error().message, HasSubstr(disk + " of drive rootfs is not as it was"));
    EXPECT_THAT(changed.error().message, HasSubstr("--force"));
    EXPECT_TRUE(settled(true));
    config.drives[0].saved_as = "nonsense";
    EXPECT_FALSE(settled(true));
}

TEST_F(HostFilesTest, ClonesShareTheImageThatIsPrivateToEach) {
    const control::FileGrants grants{.drives = {{.drive_id = "rootfs", .path = disk, .is_private = true}}};
    const auto one = settle("/somewhere/else", grants);
    const auto two = settle("/somewhere/else", grants);
    ASSERT_TRUE(one && two) << (one ? two : one).error().message;
    EXPECT_TRUE(one->config.drives[0].is_private);
    ASSERT_NE(one->files->disk("rootfs")->layer(), nullptr);
    EXPECT_NE(one->files->disk("rootfs")->layer()->fd(), two->files->disk("rootfs")->layer()->fd());
    EXPECT_EQ(one->files->disk("rootfs")->label(), ": drive rootfs, private");
    EXPECT_FALSE(settle(disk, {.drives = {{.drive_id = "rootfs", .path = disk}}})) << "who writes it has it alone";
}

TEST_F(HostFilesTest, S2_WhatWasPrivateStaysSoAndWhereIsTheOperatorsWord) {
    const auto settled = [&](const control::FileGrants& grants, bool own_seal = false) {
        control::VmConfig config;
        config.drives.push_back(
            {.drive_id = "rootfs", .path_on_host = disk, .is_private = true, .private_directory = directory / "none"});
        auto foreign = ForeignConfig::parse(control::print_vm_config(config));
        EXPECT_TRUE(foreign);
        return std::move(*foreign).settle(grants, {.command = "aerate restore vm.snap", .own_seal = own_seal});
    };
    for (const control::FileGrants& grants :
         {control::FileGrants{.drives = {{.drive_id = "rootfs", .path = disk}}},
          control::FileGrants{.directories = {directory.path().string()}},
          control::FileGrants{.drives = {{.drive_id = "rootfs",
                                          .path = disk,
                                          .is_private = true,
                                          .private_directory = directory.path().string()}}}}) {
        const auto drive = settled(grants);
        ASSERT_TRUE(drive) << drive.error().message;
        EXPECT_TRUE(drive->config.drives[0].is_private) << "the image is not written because a flag was forgotten";
        EXPECT_NE(drive->config.drives[0].private_directory, directory / "none") << "nobody here has named that";
    }
    const auto sealed = settled({}, true);
    ASSERT_FALSE(sealed);
    EXPECT_THAT(sealed.error().message, HasSubstr(directory / "none"));
    const auto read_only = settled({.drives = {{.drive_id = "rootfs", .path = disk, .read_only = true}}});
    ASSERT_TRUE(read_only) << read_only.error().message;
    EXPECT_TRUE(read_only->files->disk("rootfs")->read_only());
}

TEST(FileGrants, AreParsedWhenTheyArePrivate) {
    EXPECT_EQ(*control::parse_drive_grant("rootfs=/a,b,private"),
              (control::DriveGrant{.drive_id = "rootfs", .path = "/a,b", .is_private = true}));
    EXPECT_EQ(
        *control::parse_drive_grant("rootfs=/a,private=/b,c"),
        (control::DriveGrant{.drive_id = "rootfs", .path = "/a", .is_private = true, .private_directory = "/b,c"}));
    for (const char* const wrong : {"rootfs=,private", "rootfs=/a,private=", "rootfs=/a,private,ro"})
        EXPECT_FALSE(control::parse_drive_grant(wrong)) << wrong;
    EXPECT_FALSE(control::DriveGrant::check({.drive_id = "d", .path = "/a", .read_only = true, .is_private = true}));
    EXPECT_FALSE(control::DriveGrant::check({.drive_id = "d", .path = "/a", .private_directory = "/b"}));
}

TEST(FileGrants, S2_AreParsedAndMadeAbsolute) {
    const auto grant = control::parse_drive_grant("rootfs=/a,b,ro");
    ASSERT_TRUE(grant);
    EXPECT_EQ(*grant, (control::DriveGrant{.drive_id = "rootfs", .path = "/a,b", .read_only = true}));
    EXPECT_TRUE(control::parse_drive_grant("rootfs=x")->path.ends_with("/x"));
    EXPECT_TRUE(control::parse_drive_grant("rootfs=x")->path.starts_with("/"));
    for (const char* const wrong : {"rootfs", "=x", "rootfs=", "rootfs=,ro"})
        EXPECT_FALSE(control::parse_drive_grant(wrong)) << wrong;
    EXPECT_FALSE(control::absolute({.initrd = "/i"}));
}

TEST(FileGrants, S2_PathsFromOutsideAreQuoted) {
    EXPECT_EQ(control::quoted("/var/lib/disk-1.img"), "/var/lib/disk-1.img");
    EXPECT_EQ(control::quoted("a b"), "'a b'");
    EXPECT_EQ(control::quoted("x'; rm"), "'x'\\''; rm'");
    EXPECT_THAT(control::quoted("\x1b[2J\n"), Not(HasSubstr("\x1b")));
}

/// Takes a namespace of its own, for the taps; each test is a process.
TEST_F(HostFilesTest, TheMetadataServiceListensForTheInterfacesThatAreConfiguredForIt) {
    if (thread_sanitized)
        GTEST_SKIP() << "SKIPPED: ThreadSanitizer does not live through clone() with CLONE_VM";
    if (::unshare(CLONE_NEWNET) < 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        GTEST_SKIP() << "this host refuses a network namespace";
    control::VmConfig config;
    config.network_interfaces = {{.iface_id = "eth0", .host_dev_name = "tap0", .guest_mac = "02:00:00:00:00:01"},
                                 {.iface_id = "eth1", .host_dev_name = "tap1", .guest_mac = "02:00:00:00:00:02"}};
    auto without = HostFiles::open(config);
    if (!without)
        GTEST_SKIP() << without.error().message;
    EXPECT_TRUE((*without)->metadata_listeners().empty());
    without->reset();
    config.mmds = control::MmdsConfig{.network_interfaces = {"eth1"}};
    auto with = HostFiles::open(config);
    ASSERT_TRUE(with) << with.error().message;
    ASSERT_EQ((*with)->metadata_listeners().size(), 1U);
    EXPECT_EQ((*with)->network("eth1").front()->label(), "tap tap1");
    with->reset();

    // A guest from outside takes the configuration along.
    auto foreign = ForeignConfig::parse(control::print_vm_config(config));
    ASSERT_TRUE(foreign);
    const auto settled = (*std::move(foreign))
                             .settle({.networks = {{.iface_id = "eth0", .host_dev_name = "tap2"},
                                                   {.iface_id = "eth1", .host_dev_name = "tap3"}}},
                                     {.command = "aerate restore vm.snap"});
    ASSERT_TRUE(settled) << settled.error().message;
    EXPECT_EQ(settled->files->metadata_listeners().size(), 1U);
}

} // namespace
} // namespace aerate
