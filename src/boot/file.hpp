// The files that a VM boots from. They stay open for as long as the VM lives: a guest that resets itself boots what it
// has booted before, whatever has become of the path meanwhile.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace aerate {

struct BootFile {
    /// Opens a regular file. `what` is for messages: "kernel image".
    [[nodiscard]] static Result<BootFile> open(const std::string& path, const char* what);
    /// Takes a file that is already open.
    [[nodiscard]] static Result<BootFile> adopt(FileDescriptor, const std::string& path, const char* what);
    /// Fills `into` from the start of the file; an error when it has become shorter.
    [[nodiscard]] Result<> read(std::span<std::byte> into) const;
    /// Returns whether somebody has written to the file since it was opened: what the guest boots, or takes along,
    /// would be another or half of one. A file that is renamed, removed or replaced by another is as it was.
    [[nodiscard]] bool has_changed() const;

    std::string path{};
    const char* what = "";
    FileDescriptor fd{};
    ByteCount length{};
    ByteCount offset{};                        ///< where it begins in `fd`
    std::optional<std::int64_t> modified_ns{}; ///< when it was opened; absent: a file of our own
};

/// What a VM boots; either may be absent.
struct BootFiles {
    std::optional<BootFile> kernel{};
    std::optional<BootFile> initrd{};
};

/// A kernel or an initrd that comes in pieces from elsewhere. It is kept in a file without a name, on disk rather than
/// in memory where the host has room for that, and is gone with its VM.
class IncomingBootFile {
public:
    [[nodiscard]] static Result<IncomingBootFile> create(const char* what);
    [[nodiscard]] Result<> append(std::span<const std::byte>);
    [[nodiscard]] ByteCount length() const { return length_; }
    /// `from` is for messages: where it came from.
    [[nodiscard]] BootFile finish(std::string from) &&;

private:
    IncomingBootFile(FileDescriptor fd, const char* what)
        : fd_(std::move(fd))
        , what_(what) {}
    FileDescriptor fd_;
    const char* what_;
    ByteCount length_{};
};

} // namespace aerate
