// A file that appears under its name whole or not at all: written without a name (O_TMPFILE; under a temporary one
// where the file system has no such thing), brought to the disk, then named. Destroyed before publish(), it leaves
// nothing.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"
#include "snapshot/file_operations.hpp"

#include <cstddef>
#include <span>
#include <string>

namespace aerate::snapshot {

enum class Existing : bool { refuse, replace };

class NewFile {
public:
    /// `path` may name nothing, or a regular file that may be replaced; anything else is refused, symbolic links too.
    [[nodiscard]] static Result<NewFile> create(const std::string& path, Existing, FileOperations&);
    NewFile(NewFile&&) noexcept = default;
    NewFile& operator=(NewFile&&) = delete;
    ~NewFile();

    [[nodiscard]] Result<> resize(ByteCount length);
    [[nodiscard]] Result<> write(std::span<const std::byte>, ByteCount offset);
    /// Makes a hole, or writes zeros where the file system has none.
    [[nodiscard]] Result<> clear(ByteCount offset, ByteCount length);
    /// After an error the path holds what it held before, or, when only the directory could not be brought to the disk,
    /// the new file.
    [[nodiscard]] Result<> publish();
    [[nodiscard]] const std::string& path() const { return path_; }
    /// In its directory.
    [[nodiscard]] const std::string& name() const { return name_; }

private:
    NewFile(std::string path, Existing existing, FileOperations& operations)
        : operations_(&operations)
        , path_(std::move(path))
        , existing_(existing) {}
    [[nodiscard]] Result<> open();
    [[nodiscard]] Result<> check_target() const;
    [[nodiscard]] Result<> give_name();
    [[nodiscard]] std::unexpected<Error> cannot(const char* what) const;

    FileOperations* operations_;
    std::string path_;
    Existing existing_;
    FileDescriptor directory_;
    std::string name_;
    std::string temporary_; ///< our name in the directory now; empty when we have none
    FileDescriptor file_;
};

} // namespace aerate::snapshot
