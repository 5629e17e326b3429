#include "boot/memory_layout.hpp"
#include "control/vm_config.hpp"

#include <gtest/gtest.h>

namespace aerate::control {
namespace {

using namespace literals;

VmConfig everything() {
    return {.name = "web1",
            .machine = {.vcpu_count = 4, .mem_size = 2_GiB, .backing = Backing::memfd, .track_dirty_pages = true},
            .boot = BootSource{"/k", "/i", "console=ttyS0", KernelEntry::pvh},
            .drives = {{.drive_id = "root", .path_on_host = "/d", .is_root_device = true},
                       {.drive_id = "data",
                        .path_on_host = "/e,\"f",
                        .is_read_only = true,
                        .cache_type = CacheType::writeback,
                        .io_engine = IoEngine::sync}},
            .balloon = BalloonConfig{512_MiB, true, std::chrono::seconds(3), true, true},
            .entropy = EntropyConfig{},
            .vsock = VsockConfig{.guest_cid = 3, .uds_path = "/v.sock", .vsock_id = "v", .max_connections = 7}};
}

std::string error_of(std::string_view json) {
    const auto config = parse_vm_config(json);
    return config ? "" : config.error().message;
}

TEST(VmConfig, PrintedAndReadAgainIsTheSame) {
    for (const VmConfig& config : {VmConfig{}, everything()}) {
        const auto again = parse_vm_config(print_vm_config(config));
        ASSERT_TRUE(again) << again.error().message;
        EXPECT_EQ(*again, config);
    }
}

TEST(VmConfig, ReadsAFirecrackerFile) {
    const auto config = parse_vm_config(R"({
        "boot-source": {"kernel_image_path": "vmlinux", "boot_args": "console=ttyS0 reboot=k", "initrd_path": null},
        "drives": [{"drive_id": "rootfs", "partuuid": null, "is_root_device": true, "cache_type": "Unsafe",
                    "is_read_only": false, "path_on_host": "root.ext4", "io_engine": "Sync", "rate_limiter": {"bandwidth": {"size": 1000, "refill_time": 100}},
                    "socket": null}],
        "machine-config": {"vcpu_count": 2, "mem_size_mib": 1024, "smt": false, "track_dirty_pages": false,
                           "huge_pages": "None", "cpu_template": null},
        "balloon": {"amount_mib": 10, "deflate_on_oom": false, "stats_polling_interval_s": 1,
                    "free_page_hinting": true, "free_page_reporting": false},
        "entropy": {"rate_limiter": null}})");
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->machine.mem_size, 1_GiB);
    EXPECT_EQ(config->machine.backing, Backing::anonymous);
    EXPECT_EQ(config->drives.at(0).io_engine, IoEngine::sync);
    EXPECT_EQ(config->balloon->target, 10_MiB);
    EXPECT_TRUE(config->entropy);
    const TokenBucketConfig bandwidth{.size = 1000, .refill_time = std::chrono::milliseconds(100)};
    EXPECT_EQ(config->drives.at(0).rate_limiter, RateLimiterConfig{.bandwidth = bandwidth});
    EXPECT_EQ(parse_vm_config(print_vm_config(*config)).value(), *config);
}

TEST(RateLimiterConfig, AChangeIsRecordedAndNoLimitIsNone) {
    const TokenBucketConfig slow{.size = 1, .refill_time = std::chrono::milliseconds(1)};
    std::optional<RateLimiterConfig> config;
    update(config, std::nullopt);
    EXPECT_FALSE(config);
    update(config, RateLimiterConfig{.ops = slow});
    EXPECT_EQ(config, (RateLimiterConfig{.ops = slow}));
    update(config, RateLimiterConfig{.bandwidth = slow});
    EXPECT_EQ(config, (RateLimiterConfig{.bandwidth = slow, .ops = slow}));
    update(config, RateLimiterConfig{.bandwidth = TokenBucketConfig{}});
    EXPECT_EQ(config, (RateLimiterConfig{.ops = slow}));
    update(config, RateLimiterConfig{.ops = TokenBucketConfig{.size = 5}});
    EXPECT_FALSE(config);
}

TEST(VmConfig, ADriveThatIsTheRootMayNameItsPartition) {
    const auto line = [](std::string_view drive) {
        const auto config = parse_vm_config(fmt::format(
            R"({{"boot-source": {{"kernel_image_path": "k", "boot_args": "quiet"}}, "drives": [{{"drive_id": "r", "path_on_host": "/r", {}}}]}})",
            drive));
        return config ? kernel_command_line(*config) : config.error().message;
    };
    EXPECT_EQ(line(R"("is_root_device": true, "partuuid": "0eaa91a0-01")"), "quiet root=PARTUUID=0eaa91a0-01 rw");
    EXPECT_EQ(line(R"("is_root_device": true, "is_read_only": true, "partuuid": "0e")"), "quiet root=PARTUUID=0e ro");
    EXPECT_EQ(line(R"("is_root_device": true, "partuuid": "0e rw init=/bin/sh")"),
              "drive.partuuid: must be hexadecimal digits and '-', as blkid prints it");
    EXPECT_EQ(line(R"("is_root_device": false, "partuuid": "0e")"),
              "drive.partuuid: says something of the root device only; leave it out");
}

TEST(VmConfig, WhereTheMonitorWritesGoesWithNoGuest) {
    const auto config = parse_vm_config(
        R"({"logger": {"level": "warn"}, "metrics": {"metrics_path": "m"}, "serial": {"serial_out_path": "s"}})");
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->monitor.logger->level, log::Level::warning);
    EXPECT_EQ(parse_vm_config(print_vm_config(*config)), *config);
    EXPECT_EQ(without_monitor(*config), VmConfig{});
}

TEST(VmConfig, HugePagesAndBackingAgree) {
    const auto backing = [](std::string_view fields) {
        const auto config = parse_vm_config(
            fmt::format(R"({{"machine-config": {{"vcpu_count": 1, "mem_size_mib": 128, {}}}}})", fields));
        return config ? std::optional(config->machine.backing) : std::nullopt;
    };
    EXPECT_EQ(backing(R"("huge_pages": "2M")"), Backing::hugetlb);
    EXPECT_EQ(backing(R"("huge_pages": "Transparent")"), Backing::anonymous);
    EXPECT_EQ(backing(R"("huge_pages": "None", "backing": "memfd")"), Backing::memfd);
    EXPECT_EQ(backing(R"("huge_pages": "2M", "backing": "memfd")"), std::nullopt);
    EXPECT_EQ(backing(R"("huge_pages": "None", "backing": "hugetlb")"), std::nullopt);
}

TEST(VmConfig, WhatMayBeAskedForCanBeLaidOut) {
    for (const ByteCount size : {mem_size_min, mem_size_max})
        EXPECT_TRUE(ram_regions(size)) << size.value;
    EXPECT_FALSE(ram_regions(mem_size_max + ram_granule)) << "else it could be asked for";
}

TEST(VmConfig, ASocketsPathIsOneThatCanBeBound) {
    const auto parsed = [](std::size_t length) {
        const std::string path = "/" + std::string(length - 1, 'v');
        return parse_vm_config(R"({"vsock": {"guest_cid": 3, "uds_path": ")" + path + R"("}})");
    };
    EXPECT_TRUE(parsed(107));
    const auto refused = parsed(108);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message,
              "vsock.uds_path: must be a path of 1 to 107 bytes, as that of every unix socket");
}

TEST(VmConfig, H5_ErrorsNameTheFieldAndTheFix) {
    const std::pair<std::string_view, std::string_view> cases[] = {
        {R"({"machine-config": {"vcpu_count": 33, "mem_size_mib": 128}})",
         "machine-config.vcpu_count: must be a whole number from 1 to 32"},
        {R"({"machine-config": {"vcpu_count": 1, "mem_size_mib": 129}})",
         "machine-config.mem_size_mib: must be even: RAM is laid out in steps of 2 MiB"},
        {R"({"machine-config": {"vcpu_count": 1, "mem_size_mib": 17592186044416}})",
         "machine-config.mem_size_mib: must be a whole number from 16 to 4194304"},
        {R"({"machine-config": {"mem_size_mib": 128}})", "machine-config.vcpu_count: is missing"},
        {R"({"machine-config": {"vcpu_count": 1, "mem_size_mib": 128, "backing": "tape"}})",
         "machine-config.backing: must be one of: anonymous, memfd, hugetlb"},
        {R"({"machine-config": {"vcpu_count": 3, "mem_size_mib": 128, "smt": true}})",
         "machine-config.vcpu_count: must be 1 or even with smt, since each core has two threads"},
        {R"({"boot-source": {}})", "boot-source.kernel_image_path: is missing"},
        {R"({"boot-source": {"kernel_image_path": ""}})", "boot-source.kernel_image_path: must not be empty"},
        {R"({"drives": {}})", "drives: must be a list"},
        {R"({"drives": [1]})", "drive: must be a JSON object"},
        {R"({"balloon": {"amount_mib": 600, "deflate_on_oom": true}})",
         "balloon.amount_mib: 600 is more than the VM's 512 MiB of RAM"},
        {R"({"balloon": {"amount_mib": 2, "deflate_on_oom": "yes"}})", "balloon.deflate_on_oom: must be true or false"},
        {R"({"vsock": {"uds_path": "/v"}})", "vsock.guest_cid: is missing"},
        {R"({"vsock": {"guest_cid": 3}})", "vsock.uds_path: is missing"},
        {R"({"vsock": {"guest_cid": 3, "uds_path": ""}})",
         "vsock.uds_path: must be a path of 1 to 107 bytes, as that of every unix socket"},
        {R"({"vsock": {"guest_cid": 2, "uds_path": "/v"}})",
         "vsock.guest_cid: must be a whole number from 3 to 4294967294"},
        {R"({"vsock": {"guest_cid": 4294967295, "uds_path": "/v"}})",
         "vsock.guest_cid: must be a whole number from 3 to 4294967294"},
        {R"({"vsock": {"guest_cid": 3, "uds_path": "/v", "max_connections": 0}})",
         "vsock.max_connections: must be a whole number from 1 to 16384"},
        {R"({"vsockets": {}})", "vsockets: unknown field"},
        {R"({"name": "../web1"})", "name: must be 1 to 64 letters, digits, '_', '.' or '-', and not start with '.'"},
        {R"([])", "body: must be a JSON object"},
    };
    for (const auto& [json, message] : cases)
        EXPECT_EQ(error_of(json), message) << json;
}

TEST(VmConfig, H6_DriveIdsAreNamesNotPaths) {
    for (const auto* id : {"", ".", "..", "a/b", "../x", "a b", "ä"}) {
        const std::string json =
            fmt::format(R"({{"drives": [{{"drive_id": "{}", "path_on_host": "/d", "is_root_device": false}}]}})", id);
        EXPECT_TRUE(error_of(json).starts_with("drive.drive_id: must be 1 to 64 letters")) << id;
    }
}

TEST(VmConfig, ValidationAcrossFields) {
    VmConfig config = everything();
    config.drives[1].is_root_device = true;
    EXPECT_FALSE(validate(config));
    config = everything();
    config.drives[1].drive_id = "root";
    EXPECT_FALSE(validate(config));
    config = everything();
    config.machine.mem_size = 3_MiB;
    EXPECT_FALSE(validate(config));
    config.machine.mem_size = 1_GiB + 1_MiB;
    EXPECT_FALSE(validate(config));
    config.machine.mem_size = 512_MiB;
    EXPECT_TRUE(validate(config));
}

TEST(VmConfig, ACardHasAPairOfQueuesForEachVcpuAtTheMost) {
    const auto wrong = [](unsigned vcpus, NetworkInterface card, bool metadata = false) -> std::string {
        VmConfig config;
        config.machine.vcpu_count = vcpus;
        card.iface_id = "eth0";
        config.network_interfaces.push_back(std::move(card));
        if (metadata)
            config.mmds = MmdsConfig{.network_interfaces = {"eth0"}};
        const auto valid = validate(config);
        return valid ? "" : valid.error().message;
    };
    EXPECT_EQ(wrong(2, {.host_dev_name = "tap0", .queues = 2}), "");
    EXPECT_EQ(wrong(1, {.host_dev_name = "tap0", .queues = 2}),
              "network-interfaces: eth0 has 2 queues and the VM 1 vCPUs: one for each at the most");
    EXPECT_NE(wrong(2, {.fd = 5, .more_fds = {6, 7}}), "");
    EXPECT_EQ(wrong(2, {.fd = 5, .more_fds = {5}}), "network-interfaces: fd 5 is used twice");
    EXPECT_NE(wrong(2, {.host_dev_name = "tap0", .queues = 2}, true), "");
    EXPECT_EQ(wrong(2, {.host_dev_name = "tap0"}, true), "");
}

TEST(VmConfig, TheMemoryPolicyTravelsUnlessItSaysNothing) {
    VmConfig config;
    EXPECT_FALSE(print_vm_config(config).contains("memory-policy")) << "older monitors do not know it";
    config.memory_policy = {.floor = ByteCount{64U << 20}, .shares = 7, .priority = 0};
    const auto read = parse_vm_config(print_vm_config(config));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->memory_policy, config.memory_policy);
    EXPECT_EQ(parse_vm_config(R"({"memory-policy": {"memory_shares": 2}})")->memory_policy,
              (MemoryPolicy{.shares = 2}));
    for (const char* wrong : {R"({"memory_floor_mib": 1048576})", R"({"memory_shares": 0})",
                              R"({"memory_priority": 10})", R"({"memory_floor_bytes": 1})"})
        EXPECT_FALSE(parse_vm_config(fmt::format(R"({{"memory-policy": {}}})", wrong))) << wrong;
}

} // namespace
} // namespace aerate::control
