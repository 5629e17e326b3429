// The process that becomes the jail's program, and the launcher that waits until it has: each ends when the other does
// before that.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <sys/types.h>

namespace aerate::jail {

class Start {
public:
    /// Returns in both. With `new_pid_namespace` the child is number 1 in one of its own.
    [[nodiscard]] static Result<Start> fork(bool new_pid_namespace);

    [[nodiscard]] bool is_parent() const { return pid_ > 0; }
    [[nodiscard]] pid_t pid() const { return pid_; } ///< the child's, in the launcher

    // In the launcher:
    [[nodiscard]] Result<> let_go();
    /// Returns the child's number when the program runs, or its reason why not.
    [[nodiscard]] Result<pid_t> wait();

    // In the child:
    [[nodiscard]] Result<> wait_for_parent();
    /// Again, after a change of the user: see wait_for_parent().
    [[nodiscard]] Result<> stay_with_parent();
    void about_to_execute();
    [[noreturn]] void give_up(const Error&);

private:
    Start(pid_t pid, FileDescriptor other)
        : pid_(pid)
        , other_(std::move(other)) {}
    pid_t pid_;
    FileDescriptor other_; ///< to the other process; closed by execve(2)
};

} // namespace aerate::jail
