// Writes what the law saw and decided into a file, for "aerate host replay".
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "control/host_history.hpp"

#include <string>

namespace aerate::hostd {

class Recorder {
public:
    /// Makes the file. Fails if there is one: a history begins with a law that remembers nothing, so none can be
    /// continued.
    [[nodiscard]] static Result<Recorder> create(const std::string& path);
    /// Once it has failed nothing more is written: a line that lacks its end is the last.
    void add(const control::HostTick&);

private:
    explicit Recorder(FileDescriptor file)
        : file_(std::move(file)) {}
    Result<void> write(std::string line) const;
    FileDescriptor file_; ///< none: it has failed
};

} // namespace aerate::hostd
