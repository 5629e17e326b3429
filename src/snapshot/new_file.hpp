// A file that appears under its name whole or not at all: written without a name, brought to the disk, then named.
// Destroyed before publish(), it leaves nothing.
//
// What the file system can do is found out by create(), before anything is written that could be lost:
//
//     O_TMPFILE and hard links    no name until publish(), which links it; gone even when this process is killed
//     else                        a temporary name from the start, which publish() renames
//
// A name that was taken meanwhile is refused, not replaced: by the link, by RENAME_NOREPLACE, or, where neither is to
// be had, by an empty file that takes the name first.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/units.hpp"
#include "snapshot/file_operations.hpp"

#include <cstddef>
#include <functional>
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

    /// Copies the file that is at the path, if it has this length; shares its blocks where the file system can. Holes
    /// stay holes. Fails when another user could have written it, or `cancelled` says so.
    [[nodiscard]] Result<> begin_with_existing(ByteCount length, const std::function<bool()>& cancelled);
    [[nodiscard]] Result<> resize(ByteCount length);
    [[nodiscard]] Result<> write(std::span<const std::byte>, ByteCount offset);
    [[nodiscard]] Result<> write_zeros(ByteCount offset, ByteCount length);
    /// Makes a hole, or writes zeros where the file system has none.
    [[nodiscard]] Result<> clear(ByteCount offset, ByteCount length);
    /// Removes what is at the path already, if it may be replaced.
    [[nodiscard]] Result<> make_way();
    /// Gives the file its name. After an error the path holds what it held before, or, when only the directory could
    /// not be flushed, the new file.
    [[nodiscard]] Result<> publish();
    [[nodiscard]] const std::string& path() const { return path_; }
    /// Returns its name in its directory.
    [[nodiscard]] const std::string& name() const { return name_; }

private:
    NewFile(std::string path, Existing existing, FileOperations& operations)
        : operations_(&operations)
        , path_(std::move(path))
        , existing_(existing) {}
    [[nodiscard]] Result<> open();
    [[nodiscard]] Result<> check_target() const;
    [[nodiscard]] bool can_link_unnamed() const;
    [[nodiscard]] Result<> give_name();
    [[nodiscard]] Result<> take_free_name();
    [[nodiscard]] Result<> sync_directory();
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
