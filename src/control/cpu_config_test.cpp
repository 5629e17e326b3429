#include "base/testing/temporary_directory.hpp"
#include "control/configuration.hpp"
#include "control/cpu_config.hpp"
#include "control/run_flags.hpp"
#include "control/schema_json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <variant>

namespace aerate::control {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view sample = R"({"kvm_capabilities": ["!56", "171"],
    "cpuid_modifiers": [{"leaf": "0x7", "subleaf": "0x0", "flags": 1,
                         "modifiers": [{"register": "ebx", "bitmap": "0b1x0"}, {"register": "ecx", "bitmap": "0b1"}]}],
    "msr_modifiers": [{"addr": "0x10a", "bitmap": "0b0_0xx"}]})";

Result<CpuConfig> read(std::string_view json) {
    return read_object<CpuConfig>(TRY(parse_json(json)));
}

TEST(CpuConfig, ReadsAndPrintsFirecrackersTemplates) {
    const auto config = read(sample);
    ASSERT_TRUE(config) << config.error().message;
    const CpuTemplate wanted = config->as_template();
    ASSERT_EQ(wanted.cpuid.size(), 2U);
    EXPECT_EQ(wanted.cpuid[0].leaf, 7U);
    EXPECT_EQ(wanted.cpuid[0].flags, 1U);
    EXPECT_EQ(wanted.cpuid[0].part, CpuidRegister::ebx);
    EXPECT_EQ(wanted.cpuid[0].bits, (RegisterBits<std::uint32_t>{.changed = 5, .value = 4}));
    EXPECT_EQ(wanted.cpuid[1].part, CpuidRegister::ecx);
    ASSERT_EQ(wanted.msrs.size(), 1U);
    EXPECT_EQ(wanted.msrs[0].number, 0x10aU);
    EXPECT_EQ(wanted.msrs[0].bits, (RegisterBits<std::uint64_t>{.changed = 12, .value = 0}));
    EXPECT_EQ(wanted.capabilities.size(), 2U);
    EXPECT_EQ(read(print_json(print_object(*config).value())).value(), *config);
    EXPECT_TRUE(read("{}")->as_template().empty());
}

TEST(CpuConfig, C7_WhatIsWrongIsNamed) {
    const auto wrong = [](std::string_view json) { return read(json).error().message; };
    EXPECT_THAT(wrong(R"({"reg_modifiers": []})"), HasSubstr("reg_modifiers: unknown field"));
    EXPECT_THAT(wrong(R"({"cpuid_modifiers": 1})"), HasSubstr("cpuid_modifiers: must be a list"));
    EXPECT_THAT(wrong(R"({"kvm_capabilities": ["many"]})"), HasSubstr("kvm_capabilities: must be the number"));
    EXPECT_THAT(wrong(R"({"kvm_capabilities": [56]})"), HasSubstr("kvm_capabilities"));
    EXPECT_THAT(wrong(R"({"msr_modifiers": [{"addr": "0x10a"}]})"), HasSubstr("msr_modifiers.bitmap: is missing"));
    EXPECT_THAT(wrong(R"({"msr_modifiers": [{"addr": "266", "bitmap": "0b1"}]})"),
                HasSubstr("msr_modifiers.addr: must be a number that begins with 0x or 0b"));
    EXPECT_THAT(wrong(R"({"msr_modifiers": [{"addr": "0x1", "bitmap": "0b2"}]})"), HasSubstr("bitmap: must be"));
    EXPECT_THAT(wrong(R"({"cpuid_modifiers": [{"leaf": "0x1", "subleaf": "0x0", "flags": 8, "modifiers": []}]})"),
                HasSubstr("cpuid_modifiers.flags"));
    EXPECT_THAT(wrong(R"({"cpuid_modifiers": [{"leaf": "0x1", "subleaf": "0x0", "flags": 0,
                          "modifiers": [{"register": "ekx", "bitmap": "0b1"}]}]})"),
                HasSubstr("modifiers.register: must be one of: eax, ebx, ecx, edx"));
}

TEST(CpuConfig, TheLastOfItAndATemplatesNameCounts) {
    VmConfig config;
    const auto ask = [&](const Request& request) { return configure(config, VmState::not_started, request); };
    ask(PutCpuConfig{read(sample).value()});
    EXPECT_TRUE(config.cpu);
    ask(PatchMachineConfig{{.vcpu_count = 2}});
    EXPECT_TRUE(config.cpu) << "nothing is said of it";
    ask(PatchMachineConfig{{.cpu_template = CpuTemplateName::none}});
    EXPECT_FALSE(config.cpu);
    EXPECT_FALSE(config.machine.plain_cpu) << "that is what the request says, not the VM";
    EXPECT_TRUE(std::holds_alternative<Failure>(*configure(config, VmState::running, PutCpuConfig{})));
}

TEST(CpuConfig, S2_AFilesPathIsTheOperatorsToGive) {
    const TemporaryDirectory directory;
    std::ofstream(directory / "cpu.json") << sample;
    const std::string json =
        fmt::format(R"({{"machine-config": {{"vcpu_count": 1, "mem_size_mib": 128}}, "cpu-config": "{}"}})",
                    directory / "cpu.json");
    std::ofstream(directory / "vm.json") << json;
    const auto config = config_from({.config_file = directory / "vm.json", .name = "vm"});
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->cpu, read(sample).value());
    EXPECT_FALSE(parse_vm_config(json)) << "what came with a guest opens no file";
}

} // namespace
} // namespace aerate::control
