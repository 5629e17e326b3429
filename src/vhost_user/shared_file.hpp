// A part of a file that the front-end handed over, mapped shared: the dirty log and the in-flight region.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"
#include "memory/file_loss.hpp"

#include <cstddef>
#include <optional>
#include <span>

namespace aerate::vhost_user {

class SharedFile {
public:
    /// Fails, naming `what`, when the file is not a regular file, does not hold the part, or the part is empty or
    /// larger than `most`.
    [[nodiscard]] static Result<SharedFile> map(const char* what, FileDescriptor, ByteCount offset, ByteCount size,
                                                ByteCount most);
    SharedFile(SharedFile&&) noexcept;
    SharedFile& operator=(SharedFile&&) = delete;
    ~SharedFile();

    /// Returns the bytes, page-aligned only when the offset is.
    [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }
    [[nodiscard]] int fd() const { return file_.get(); }
    /// Returns whether the file was cut short: see FileLossWatch.
    [[nodiscard]] bool lost() const { return watch_->lost(); }

private:
    SharedFile(FileDescriptor file, std::span<std::byte> mapping, std::span<std::byte> bytes)
        : file_(std::move(file))
        , mapping_(mapping)
        , bytes_(bytes) {}
    FileDescriptor file_;
    std::span<std::byte> mapping_; ///< whole pages
    std::span<std::byte> bytes_;   ///< the part
    std::optional<FileLossWatch> watch_;
};

} // namespace aerate::vhost_user
