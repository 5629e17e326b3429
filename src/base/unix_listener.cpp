#include "base/unix_listener.hpp"

#include "base/host.hpp"
#include "base/peer.hpp"
#include "base/unix_socket.hpp"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <string_view>

namespace aerate {

SocketFile::~SocketFile() {
    struct stat status{};
    if (!path_.empty() && ::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_)
        ::unlink(path_.c_str());
}

namespace {

mode_t mode_for(SocketAccess access) {
    switch (access) {
    case SocketAccess::own_user:
        return 0600;
    case SocketAccess::everybody:
        return 0666;
    case SocketAccess::as_umask_says:
        break;
    }
    return 0777;
}

/// The directory of a socket, and the names in it.
class Place {
public:
    static Result<Place> open(const std::string& path) {
        const auto slash = path.rfind('/');
        const std::string directory = slash == path.npos ? "." : path.substr(0, slash + 1);
        FileDescriptor fd =
            host::descriptor([&] { return ::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); });
        if (!fd.valid())
            return fail_errno("cannot open the directory of {}", path);
        std::uint32_t random = 0;
        if (::getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random))
            return fail_errno("cannot have a random number");
        return Place(std::move(fd), path, slash == path.npos ? path : path.substr(slash + 1),
                     fmt::format(".{:08x}", random));
    }

    [[nodiscard]] int directory() const { return directory_.get(); }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] const char* name() const { return name_.c_str(); }
    [[nodiscard]] const char* aside() const { return aside_.c_str(); }
    /// Returns the path of the name aside, however long the directory's is.
    [[nodiscard]] std::string path_aside() const {
        const std::string beside = path_.substr(0, path_.size() - name_.size()) + aside_;
        return unix_address(beside) ? beside : fmt::format("/proc/self/fd/{}/{}", directory(), aside_);
    }

private:
    Place(FileDescriptor directory, std::string path, std::string name, std::string aside)
        : directory_(std::move(directory))
        , path_(std::move(path))
        , name_(std::move(name))
        , aside_(std::move(aside)) {}
    FileDescriptor directory_;
    std::string path_, name_, aside_;
};

/// bind() gives the file the mode that the socket has, less the umask (net/unix/af_unix.c): there is no moment in which
/// others may connect.
Result<> bind_aside(const FileDescriptor& socket, const Place& place, mode_t mode) {
    const std::string path = place.path_aside();
    const sockaddr_un address = TRY(unix_address(path));
    if (::fchmod(socket.get(), mode) != 0 || ::bind(socket.get(), generic(address), sizeof address) != 0)
        return fail_errno("cannot bind {}", place.path());
    return {};
}

/// A umask is the whole process's, but for a thread that has one of its own. chmod(2) of the path would not do: in a
/// directory of others it may be another file's by then.
Result<> bind_without_umask(const FileDescriptor& socket, const Place& place, mode_t mode) {
    Result<> bound;
    const auto bind = [&](const std::stop_token&) {
        if (::unshare(CLONE_FS) != 0) {
            bound = fail_errno("cannot bind {}", place.path());
            return;
        }
        ::umask(0);
        bound = bind_aside(socket, place, mode);
    };
    TRY(host::start_thread("bind", bind)).join();
    return bound;
}

/// Fails if what is at `path` is not a socket that we may remove, with EADDRINUSE if somebody listens there.
Result<> check_dead(const std::string& path, std::string_view shown) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0)
        return fail_errno("cannot examine {}", shown);
    // connect() is refused by a file that is no socket, too.
    if (!S_ISSOCK(status.st_mode))
        return fail("{} exists and is not a socket; remove it", shown);
    const auto connected = connect_unix(path);
    // EAGAIN: more wait there than it takes (unix(7)).
    if (connected || connected.error().system_error == EAGAIN)
        return std::unexpected(Error{fmt::format("somebody else listens at {}: give another path", shown), EADDRINUSE});
    if (connected.error().system_error != ECONNREFUSED)
        return std::unexpected(connected.error());
    if (!is_trusted_user(status.st_uid, ::geteuid()))
        return fail("{} is a socket of user {}, at which nobody listens; remove it", shown, status.st_uid);
    return {};
}

/// Gives the socket aside the name, in place of a dead one; that is aside then, or is not there any more.
Result<> take_name(const Place& place) {
    const int directory = place.directory();
    const auto exchange = [&] {
        return ::renameat2(directory, place.aside(), directory, place.name(), RENAME_EXCHANGE) == 0;
    };
    constexpr unsigned patience = 64; // whoever may write to the directory could make and remove the name for ever
    for (unsigned tries = 0; ::linkat(directory, place.aside(), directory, place.name(), 0) != 0; ++tries) {
        if (errno != EEXIST || tries == patience)
            return fail_errno("cannot bind {}", place.path());
        if (auto dead = check_dead(place.path(), place.path()); !dead) {
            if (dead.error().system_error == ENOENT)
                continue; // it has gone in the meantime
            return dead;
        }
        if (exchange()) {
            // Another process may have been faster: what we have taken away listens then, and gets its name back.
            auto dead = check_dead(place.path_aside(), place.path());
            if (!dead && !exchange() &&
                ::renameat2(directory, place.aside(), directory, place.name(), RENAME_NOREPLACE) != 0)
                return fail_errno("cannot put back what was at {}", place.path());
            return dead;
        }
        if (errno != ENOENT)
            return fail_errno("cannot replace the stale socket {}", place.path());
    }
    return {};
}

} // namespace

Result<UnixListener> UnixListener::bind(const std::string& path, SocketAccess access) {
    TRY(unix_address(path));
    const Place place = TRY(Place::open(path));
    FileDescriptor fd = TRY(unix_stream_socket());
    TRY(access == SocketAccess::everybody ? bind_without_umask(fd, place, mode_for(access))
                                          : bind_aside(fd, place, mode_for(access)));
    const auto listen = [&]() -> Result<SocketFile> {
        if (::listen(fd.get(), SOMAXCONN) != 0)
            return fail_errno("cannot listen at {}", path);
        struct stat status{}; // before it has the name, which others may be about to look at
        if (::fstatat(place.directory(), place.aside(), &status, AT_SYMLINK_NOFOLLOW) != 0)
            return fail_errno("cannot listen at {}", path);
        TRY(take_name(place));
        return SocketFile(path, status.st_dev, status.st_ino);
    };
    auto file = listen();
    ::unlinkat(place.directory(), place.aside(), 0);
    if (!file)
        return std::unexpected(std::move(file).error());
    return UnixListener(std::move(fd), *std::move(file));
}

} // namespace aerate
