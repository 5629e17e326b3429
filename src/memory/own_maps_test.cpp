#include "memory/own_maps.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/wait.h>

#include <array>

namespace aerate {
namespace {

constexpr uid_t nobody = 65534;

bool readable(const FileDescriptor& file) {
    std::array<char, 64> some{};
    return file.valid() && ::pread(file.get(), some.data(), some.size(), 0) > 0;
}

/// Does as a monitor of a user without privileges: it is confined at its start, and again after each reset of its
/// guest. Returns what went wrong.
int keeps_over_a_reset() {
    keep_own_maps();
    if (::getuid() == 0 && ::setresuid(nobody, nobody, nobody) != 0)
        return 1;
    if (::prctl(PR_SET_DUMPABLE, 0) != 0 || ::access("/proc/self/pagemap", R_OK) == 0)
        return 2;
    keep_own_maps();
    return readable(own_smaps()) && own_pagemap().valid() ? 0 : 3;
}

TEST(OwnMaps, WhatCouldNotBeOpenedAgainIsKept) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0)
        ::_exit(keeps_over_a_reset());
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

} // namespace
} // namespace aerate
