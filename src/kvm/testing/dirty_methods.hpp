// A guest that does as it is told, for each way in which KVM can log what it writes.
#pragma once

#include "kvm/dirty_log.hpp"
#include "kvm/testing/tiny_guest.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace aerate::testing {

using Program = std::vector<std::uint8_t>;

inline std::string name_of_method(const ::testing::TestParamInfo<DirtyMethod>& info) {
    constexpr std::array names{"eager_bitmap", "manual_bitmap", "manual_bitmap_sliced", "ring"};
    return names.at(static_cast<std::size_t>(info.param));
}

struct EveryDirtyMethod : WithKvm, ::testing::WithParamInterface<DirtyMethod> {
    void SetUp() override {
        WithKvm::SetUp();
        if (IsSkipped())
            return;
        const auto kvm = Kvm::open();
        if (const auto offered = check_offered(*kvm, GetParam()); !offered)
            GTEST_SKIP() << "NOT TESTED: " << offered.error().message;
    }
    static std::optional<TinyGuest> make(const Program& program, unsigned vcpus, ByteCount size) {
        return make(program, vcpus, {{{0}, size}});
    }
    static std::optional<TinyGuest> make(const Program& program, unsigned vcpus, std::vector<MemoryRegion> regions) {
        auto guest = TinyGuest::create(program, vcpus, GetParam(), std::move(regions));
        if (!guest) {
            ADD_FAILURE() << guest.error().message;
            return std::nullopt;
        }
        return std::move(*guest);
    }
};

// mov [address], al for each, with an exit after it.
inline Program writes_to(std::initializer_list<std::uint32_t> addresses) {
    Program program;
    for (const std::uint32_t address : addresses) {
        program.push_back(0xa2);
        for (unsigned byte = 0; byte < 4; ++byte)
            program.push_back(static_cast<std::uint8_t>(address >> 8 * byte));
        program.insert(program.end(), {0xe6, 0x42}); // out 0x42, al
    }
    return program;
}

inline void let_it_write_once(TinyGuest& guest) {
    const auto exit = guest.vcpu().run();
    ASSERT_TRUE(exit) << exit.error().message;
    ASSERT_TRUE(std::holds_alternative<PortWrite>(*exit)) << "exit kind " << exit->index();
}

} // namespace aerate::testing
