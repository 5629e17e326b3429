// Every value that Firecracker's documentation allows a flag of its launcher, and what is refused.
#include "jail/settings.hpp"

#include <gtest/gtest.h>

#include <string>

namespace aerate::jail {
namespace {

using Words = std::vector<std::string>;

TEST(JailSettings, J1_AnIdIsOneNameOfLettersDigitsAndHyphens) {
    for (const std::string& good : Words{"a", "551e7604-e35c-42b3-b825-416853441234", "-", "A-9", std::string(64, 'x')})
        EXPECT_EQ(Id::parse(good).value().text(), good);
    for (const std::string& bad : Words{"", ".", "..", "../x", "a/b", "/", "a_b", "a b", "a\n", std::string("a\0b", 3),
                                        "\xc3\xa4", "a.b", "~", std::string(65, 'x')})
        EXPECT_FALSE(Id::parse(bad)) << bad;
}

TEST(JailSettings, J9_AProgramHasANameOfItsOwn) {
    EXPECT_EQ(ProgramName::of_path("/usr/bin/firecracker")->text(), "firecracker");
    EXPECT_EQ(ProgramName::of_path("aerate")->text(), "aerate");
    for (const std::string& bad : Words{"", "/", "/usr/bin/", "..", "/usr/..", ".", "/usr/bin/.", "a\nb",
                                        std::string("a\0b", 3), std::string(252, 'x')})
        EXPECT_FALSE(ProgramName::of_path(bad)) << bad;
}

TEST(JailSettings, J17_ACgroupSettingIsAFileOfAController) {
    const auto setting = CgroupSetting::parse("cpuset.cpus=0-3,7");
    EXPECT_EQ(setting->file(), "cpuset.cpus");
    EXPECT_EQ(setting->value(), "0-3,7");
    EXPECT_EQ(setting->controller(), "cpuset");
    EXPECT_EQ(CgroupSetting::parse("io.max=8:0 rbps=1048576")->value(), "8:0 rbps=1048576");
    EXPECT_EQ(CgroupSetting::parse("hugetlb.2MB.limit_in_bytes=0")->controller(), "hugetlb");
    for (const std::string& bad :
         Words{"", "=", "memory.max", "memory.max=", "=1", "memory=1", ".max=1", "memory.=1", "memory..max=1",
               "../memory.max=1", "memory.max/../../x.y=1", "/memory.max=1", "cgroup.procs=1", "cgroup.kill=1",
               "memory.max=1\n2", std::string("memory.max=1\0", 13), "me mory.max=1",
               "memory.max=" + std::string(4096, '1')})
        EXPECT_FALSE(CgroupSetting::parse(bad)) << bad;
}

TEST(JailSettings, J18_AParentCgroupIsBelowTheHierarchy) {
    EXPECT_EQ(CgroupPath::parse("all_uvms/external_uvms")->parts(), (Words{"all_uvms", "external_uvms"}));
    EXPECT_EQ(CgroupPath::parse("machine.slice")->text(), "machine.slice");
    for (const std::string& bad : Words{"", "/", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.", "a\nb", "cgroup.x",
                                        std::string("a\0b", 3), std::string(256, 'x')})
        EXPECT_FALSE(CgroupPath::parse(bad)) << bad;
}

TEST(JailSettings, TheCgroupsVersionIsOneOfTwo) {
    EXPECT_EQ(*parse_cgroup_version("1"), CgroupVersion::v1);
    EXPECT_EQ(*parse_cgroup_version("2"), CgroupVersion::v2);
    for (const std::string& bad : Words{"", "0", "3", "v2", "2 ", "-1", "12"})
        EXPECT_FALSE(parse_cgroup_version(bad)) << bad;
}

TEST(JailSettings, AResourceLimitIsANumber) {
    EXPECT_EQ(ResourceLimit::parse("no-file=1024")->value(), 1024U);
    EXPECT_EQ(ResourceLimit::parse("no-file=1024")->resource(), RLIMIT_NOFILE);
    EXPECT_EQ(ResourceLimit::parse("fsize=18446744073709551615")->value(), 18446744073709551615U);
    EXPECT_EQ(ResourceLimit::parse("fsize=0")->resource(), RLIMIT_FSIZE);
    for (const std::string& bad : Words{"", "no-file", "no-file=", "=1", "nofile=1", "core=0", "fsize=-1", "fsize=1K",
                                        "fsize=1=1", "fsize=18446744073709551616", "fsize= 1", "no-file=0x10"})
        EXPECT_FALSE(ResourceLimit::parse(bad)) << bad;
}

TEST(JailSettings, AnOwnerIsANumberThatNamesSomebody) {
    EXPECT_EQ(*parse_owner("0"), 0U);
    EXPECT_EQ(*parse_owner("4294967294"), 4294967294U);
    for (const std::string& bad : Words{"", "-1", "root", "4294967295", "4294967296", "1.5", " 1", "0x1"})
        EXPECT_FALSE(parse_owner(bad)) << bad;
}

} // namespace
} // namespace aerate::jail
