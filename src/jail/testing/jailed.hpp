// Jails of a test's own: a program that does nothing, and starts of it in a process of their own.
#pragma once

#include "base/check.hpp"
#include "base/testing/temporary_directory.hpp"
#include "jail/launcher.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

namespace aerate::testing {

/// Only root can make a jail for somebody else, with devices: others skip the test, and say so.
#define AERATE_NEEDS_ROOT()                                                                                            \
    if (::geteuid() != 0)                                                                                              \
    GTEST_SKIP() << "NOT TESTED: this needs root, to make a jail for another user"

inline constexpr std::uint32_t jailed_user = 65533; ///< of nobody here

inline void write_file(const std::string& path, std::string_view content, mode_t mode = 0644) {
    std::ofstream(path) << content;
    CHECK(::chmod(path.c_str(), mode) == 0);
}

inline std::string read_file(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// Writes a statically linked program that waits for ever.
inline void write_idle_program(const std::string& path) {
    constexpr std::uint64_t place = 0x400000;
    constexpr std::uint64_t headers = 64 + 56;
    std::string program("\x7f"
                        "ELF\2\1\1\0\0\0\0\0\0\0\0\0",
                        16);
    const auto add = [&](std::uint64_t value, unsigned bytes) {
        for (unsigned i = 0; i < bytes; ++i)
            program += static_cast<char>(value >> (8 * i));
    };
    add(2, 2), add(62, 2), add(1, 4), add(place + headers, 8), add(64, 8), add(0, 8), add(0, 4); // ET_EXEC, x86-64
    add(64, 2), add(56, 2), add(1, 2), add(0, 6);
    add(1, 4), add(5, 4), add(0, 8), add(place, 8), add(place, 8), add(headers + 9, 8), add(headers + 9, 8);
    add(0x1000, 8);
    program += std::string("\xb8\x22\0\0\0\x0f\x05\xeb\xf7", 9); // pause(), again and again
    write_file(path, program, 0755);
}

/// A base directory with a program, and the jails that are started below it.
class Jails {
public:
    Jails() {
        CHECK(::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
        CHECK(::mkdir(base().c_str(), 0755) == 0 && ::chmod(directory_.path().c_str(), 0755) == 0);
        write_idle_program(program());
    }
    Jails(const Jails&) = delete;
    Jails& operator=(const Jails&) = delete;
    ~Jails() {
        for (const pid_t pid : running_)
            end(pid);
    }

    [[nodiscard]] std::string base() const { return directory_ / "base"; }
    [[nodiscard]] std::string program() const { return directory_ / "idle"; }
    [[nodiscard]] std::string operator/(const std::string& name) const { return directory_ / name; }
    [[nodiscard]] std::string of_program() const { return base() + "/idle"; }
    [[nodiscard]] std::string root(const std::string& id = "vm1") const { return of_program() + "/" + id + "/root"; }

    [[nodiscard]] jail::Request request(const std::string& id = "vm1") const {
        return {.id = *jail::Id::parse(id),
                .name = *jail::ProgramName::of_path(program()),
                .program = program(),
                .user = ::geteuid() == 0 ? jailed_user : ::geteuid(),
                .group = ::geteuid() == 0 ? jailed_user : ::getegid(),
                .base = base(),
                .daemonize = true};
    }

    /// Makes the directories down to the root, as an operator does who puts files there first.
    void prepare_root(const std::string& id = "vm1") const {
        for (const std::string& path : {of_program(), of_program() + "/" + id, root(id)})
            ::mkdir(path.c_str(), 0755);
    }

    /// Starts it, and returns what went wrong; nothing if it runs.
    [[nodiscard]] std::string start(const jail::Request& request, const jail::BeforeStep& before = {}) {
        return finish(begin(request, before), request);
    }
    struct Beginning {
        pid_t launcher;
        std::FILE* said;
    };
    [[nodiscard]] static Beginning begin(const jail::Request& request, const jail::BeforeStep& before = {}) {
        std::FILE* const said = std::tmpfile();
        const pid_t launcher = ::fork();
        if (launcher == 0) {
            ::dup2(::fileno(said), STDERR_FILENO); // all else is closed
            const auto launched = jail::launch(request, before);
            if (!launched)
                (void)!::write(STDERR_FILENO, launched.error().message.data(), launched.error().message.size());
            ::_exit(launched ? 0 : 1);
        }
        return {launcher, said};
    }
    [[nodiscard]] std::string finish(const Beginning& beginning, const jail::Request& request) {
        int status = 0;
        CHECK(::waitpid(beginning.launcher, &status, 0) == beginning.launcher);
        std::array<char, 2048> text{};
        std::rewind(beginning.said);
        const std::string said(text.data(), std::fread(text.data(), 1, text.size(), beginning.said));
        std::fclose(beginning.said);
        if (WIFSIGNALED(status))
            return "killed";
        if (WEXITSTATUS(status) != 0)
            return said.empty() ? "failed" : said;
        if (const pid_t pid = pid_of(request.id.text()); pid > 0)
            running_.push_back(pid);
        return "";
    }
    [[nodiscard]] pid_t pid_of(const std::string& id = "vm1") const {
        return static_cast<pid_t>(std::atoi(read_file(root(id) + "/idle.pid").c_str()));
    }
    void end_all() {
        for (const pid_t pid : std::exchange(running_, {}))
            end(pid);
    }

private:
    static void end(pid_t pid) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }
    TemporaryDirectory directory_;
    std::vector<pid_t> running_;
};

} // namespace aerate::testing
