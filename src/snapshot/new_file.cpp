#include "snapshot/new_file.hpp"

#include "base/regular_file.hpp"
#include "snapshot/file_path.hpp"
#include "snapshot/manifest.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <vector>

namespace aerate::snapshot {
namespace {

constexpr ByteCount copied_at_once{1U << 20};

std::string temporary_name() {
    std::uint64_t random = 0;
    if (::getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
        random = static_cast<std::uint64_t>(::getpid()); // it need not be secret: O_EXCL and link() refuse a taken name
    return fmt::format(".snapshot-{:016x}.tmp", random);
}

} // namespace

Result<NewFile> NewFile::create(const std::string& path, Existing existing, FileOperations& operations) {
    NewFile made(path, existing, operations);
    TRY(made.open());
    return made;
}

NewFile::~NewFile() {
    if (directory_.valid() && !temporary_.empty())
        static_cast<void>(operations_->unlink(directory_.get(), temporary_));
}

Result<> NewFile::open() {
    const FilePath path(path_);
    name_ = path.name;
    if (!is_file_name(name_))
        return fail("cannot write '{}': the path does not end with the name of a file", path_);
    directory_ = FileDescriptor(operations_->open(AT_FDCWD, path.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory_.valid())
        return cannot("open the directory");
    TRY(check_target());

    if (can_link_unnamed()) {
        file_ = FileDescriptor(operations_->open(directory_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC));
    } else {
        const std::string name = temporary_name();
        file_ = FileDescriptor(operations_->open(directory_.get(), name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC));
        if (file_.valid())
            temporary_ = name;
    }
    if (!file_.valid())
        return cannot("create a file");
    return {};
}

/// Tries with a file of its own: one that had a name once cannot get another (fs/namei.c, vfs_link()). What fails for
/// another reason will fail again, where it is reported.
bool NewFile::can_link_unnamed() const {
    const FileDescriptor probe(operations_->open(directory_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC));
    const std::string name = temporary_name();
    if (!probe.valid() || operations_->link(probe.get(), directory_.get(), name) != 0)
        return false;
    static_cast<void>(operations_->unlink(directory_.get(), name));
    return true;
}

Result<> NewFile::check_target() const {
    struct stat status{};
    if (operations_->stat(directory_.get(), name_, status) != 0) {
        if (errno == ENOENT)
            return {};
        return cannot("inspect the path");
    }
    if (!S_ISREG(status.st_mode))
        return fail("cannot write {}: the path is there and is not a regular file", path_);
    if (existing_ == Existing::refuse)
        return fail("cannot write {}: the file exists already", path_);
    return {};
}

Result<> NewFile::begin_with_existing(ByteCount length, const std::function<bool()>& cancelled) {
    struct stat status{};
    if (operations_->stat(directory_.get(), name_, status) != 0 ||
        static_cast<std::uint64_t>(status.st_size) != length.value)
        return {};
    const RegularFile there = TRY(open_regular(name_, Link::refuse, directory_.get()));
    TRY(check_only_we_write(there, path_));
    if (operations_->clone(file_.get(), there.fd.get()) == 0)
        return {};
    std::vector<std::byte> buffer(copied_at_once.value);
    for (std::uint64_t at = 0; at < length.value;) {
        if (cancelled())
            return fail("it was cancelled while {} was copied", path_);
        const off_t data = ::lseek(there.fd.get(), static_cast<off_t>(at), SEEK_DATA);
        if (data < 0 && errno == ENXIO) // the rest is a hole
            return {};
        const off_t hole = data < 0 ? -1 : ::lseek(there.fd.get(), data, SEEK_HOLE);
        if (hole < 0)
            return cannot("find the holes of what is there");
        const auto part = std::min({static_cast<std::uint64_t>(hole - data), copied_at_once.value,
                                    length.value - static_cast<std::uint64_t>(data)});
        const std::span bytes = std::span(buffer).first(part);
        TRY(read_at(there.fd.get(), bytes, {static_cast<std::uint64_t>(data)}));
        TRY(write(bytes, {static_cast<std::uint64_t>(data)}));
        at = static_cast<std::uint64_t>(data) + part;
    }
    return {};
}

Result<> NewFile::resize(ByteCount length) {
    if (operations_->truncate(file_.get(), length) == 0)
        return {};
    struct stat status{};
    const int code = errno;
    const bool longer = ::fstat(file_.get(), &status) == 0 && length.value > static_cast<std::uint64_t>(status.st_size);
    errno = code;
    if (code != EPERM || !longer)
        return cannot("make room");
    // ftruncate(2): a file system may extend a file by nothing but what is written behind its end.
    constexpr std::byte last{};
    return write(std::span(&last, 1), {length.value - 1});
}

Result<> NewFile::write(std::span<const std::byte> bytes, ByteCount offset) {
    while (!bytes.empty()) {
        const ssize_t written = operations_->write(file_.get(), bytes, offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return cannot("write");
        if (written == 0)
            return fail("cannot write {}: the file takes no more bytes", path_);
        bytes = bytes.subspan(static_cast<std::size_t>(written));
        offset.value += static_cast<std::uint64_t>(written);
    }
    return {};
}

Result<> NewFile::clear(ByteCount offset, ByteCount length) {
    if (operations_->punch_hole(file_.get(), offset, length) == 0)
        return {};
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return cannot("punch a hole");
    return write_zeros(offset, length);
}

Result<> NewFile::write_zeros(ByteCount offset, ByteCount length) {
    static constexpr std::array<std::byte, 16 * page_size.value> zeros{};
    while (length.value > 0) {
        const std::size_t part = std::min<std::size_t>(zeros.size(), length.value);
        TRY(write(std::span(zeros).first(part), offset));
        offset.value += part;
        length.value -= part;
    }
    return {};
}

Result<> NewFile::make_way() {
    TRY(check_target());
    if (operations_->unlink(directory_.get(), name_) != 0)
        return errno == ENOENT ? Result<>() : cannot("remove what was there");
    return sync_directory();
}

/// Makes sure that the file has a temporary name.
Result<> NewFile::give_name() {
    if (!temporary_.empty())
        return {};
    const std::string name = temporary_name();
    if (operations_->link(file_.get(), directory_.get(), name) != 0)
        return cannot("name the file");
    temporary_ = name;
    return {};
}

Result<> NewFile::publish() {
    if (operations_->sync(file_.get()) != 0)
        return cannot("flush it to the disk");
    TRY(check_target());
    if (existing_ == Existing::replace) {
        TRY(give_name());
        if (operations_->rename(directory_.get(), temporary_, name_) != 0)
            return cannot("rename the file");
        temporary_.clear();
    } else if (temporary_.empty()) {
        if (operations_->link(file_.get(), directory_.get(), name_) != 0)
            return cannot("name the file");
    } else {
        TRY(take_free_name());
        temporary_.clear();
    }
    return sync_directory();
}

/// Renames the file unless its name was taken meanwhile.
Result<> NewFile::take_free_name() {
    if (operations_->rename_to_free_name(directory_.get(), temporary_, name_) == 0)
        return {};
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
        return cannot("name the file");
    const FileDescriptor place(
        operations_->open(directory_.get(), name_, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!place.valid())
        return cannot("name the file");
    if (operations_->rename(directory_.get(), temporary_, name_) == 0)
        return {};
    const auto refused = cannot("rename the file");
    static_cast<void>(operations_->unlink(directory_.get(), name_));
    return refused;
}

Result<> NewFile::sync_directory() {
    // EINVAL: the file system keeps names in a way that needs none (fsync(2)).
    if (operations_->sync(directory_.get()) == 0 || errno == EINVAL)
        return {};
    return fail_errno("{} is written, but its directory cannot be flushed to the disk: after a power cut the file may "
                      "be gone",
                      path_);
}

std::unexpected<Error> NewFile::cannot(const char* what) const {
    const int code = errno;
    const char* const hint = code == EFBIG    ? ": raise the file size limit (ulimit -f)"
                             : code == ENOSPC ? ": make room, or write elsewhere"
                                              : "";
    return std::unexpected(
        Error{fmt::format("cannot write {}: cannot {}: {}{}", path_, what, describe_errno(code), hint), code});
}

} // namespace aerate::snapshot
