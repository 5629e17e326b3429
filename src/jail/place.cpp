#include "jail/place.hpp"

#include "base/host.hpp"
#include "jail/devices.hpp"
#include "jail/occupants.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>

#include <cerrno>

namespace aerate::jail {
namespace {

/// Removes an entry that is a launcher's to make, whatever it is by now; the entry, not what a link of that name leads
/// to.
Result<> remove_entry(int directory, const std::string& name, const std::string& path) {
    if (::unlinkat(directory, name.c_str(), 0) == 0 || errno == ENOENT)
        return {};
    if (errno == EISDIR || errno == EPERM)
        return fail("{} is in the way: remove it", path);
    return fail_errno("cannot remove {}", path);
}

/// Removes a directory if nothing is in it.
bool is_gone(int above, const std::string& name) {
    return ::unlinkat(above, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT;
}

Result<> copy_bytes(int from, int to) {
    if (::ioctl(to, FICLONE, from) == 0) // a file of its own all the same, with pages of its own
        return {};
    constexpr std::size_t piece = std::size_t{1} << 30;
    for (;;) {
        const ssize_t copied = ::sendfile(to, from, nullptr, piece);
        if (copied < 0 && errno != EINTR)
            return fail_errno("cannot write the copy");
        if (copied == 0)
            return {};
    }
}

} // namespace

Result<Place> Place::open(const Request& request, Missing missing) {
    const FileDescriptor base = TRY(open_operators_directory(request.base, missing));
    std::string path = request.base + "/" + request.name.text();
    FileDescriptor all = TRY(open_below(base.get(), request.name.text(), path, missing));
    path += "/" + request.id.text();
    Place place(request, path + "/root");
    place.all_jails_ = std::move(all);
    place.jail_ = TRY(open_below(place.all_jails_.get(), request.id.text(), path, missing));
    if (missing == Missing::make)
        TRY(place.close_to_others(path));
    if (::flock(place.jail_.get(), LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? fail("{} is being started or removed by another process", path)
                                    : fail_errno("cannot lock {}", path);
    if (TRY(status_of(place.jail_.get(), path)).st_nlink == 0)
        return fail("{} was removed meanwhile: try again", path);
    // Only root, or we, could make that in there. Who removes it need not know whose it was to be.
    if (struct stat status{};
        missing == Missing::refuse && ::fstatat(place.jail_.get(), "root", &status, AT_SYMLINK_NOFOLLOW) == 0)
        place.user_ = status.st_uid;
    auto root = open_below(place.jail_.get(), "root", place.path_, Missing::refuse, place.user_);
    if (!root && root.error().system_error == ENOENT && missing == Missing::make) {
        root = open_below(place.jail_.get(), "root", place.path_, Missing::make, place.user_);
    } else if (root) {
        if (const auto occupant = TRY(process_in(root->get())))
            return fail("the jail {} runs, as process {}", path, *occupant);
    }
    if (!root && root.error().system_error != ENOENT)
        return std::unexpected(std::move(root).error());
    if (root)
        place.root_ = *std::move(root);
    return place;
}

/// Keeps other users out of the directory. A user who can open it can hold its lock for ever; one who can enter it can
/// use what the jail's program offers in there: devices, and files that run as its user.
Result<> Place::close_to_others(const std::string& path) const {
    if (::geteuid() == 0 && ::fchown(jail_.get(), 0, group_) != 0)
        return fail_errno("cannot give {} to the group {}", path, group_);
    return ::fchmod(jail_.get(), ::geteuid() == 0 ? 0710 : 0700) == 0 ? Result<>()
                                                                      : fail_errno("cannot close {} to others", path);
}

Result<> Place::clear() {
    if (::fchown(root_.get(), ::geteuid(), ::getegid()) != 0 || ::fchmod(root_.get(), 0700) != 0)
        return fail_errno("cannot have {} for ourselves", path_);
    TRY(remove_entry(root_.get(), name_, path_ + "/" + name_));
    TRY(remove_entry(root_.get(), name_ + ".pid", path_ + "/" + name_ + ".pid"));
    TRY(clear_devices());
    return clear_sockets();
}

Result<> Place::clear_devices() const {
    const auto dev = open_to_clear(root_.get(), "dev", path_ + "/dev");
    if (!dev && dev.error().system_error == ENOENT)
        return {};
    if (!dev)
        return std::unexpected(dev.error());
    const auto net = open_to_clear(dev->get(), "net", path_ + "/dev/net");
    if (!net && net.error().system_error != ENOENT)
        return std::unexpected(net.error());
    for (const Device& device : devices())
        if (const auto& above = device.directory.empty() ? dev : net; above)
            TRY(remove_entry(above->get(), device.name, path_ + device.path()));
    (void)is_gone(dev->get(), "net"); // else it shows here:
    // One that holds more, or that the jail's program has put there, is not made its property.
    if (!is_gone(root_.get(), "dev"))
        return fail("{}/dev has other things in it than a launcher makes: remove it", path_);
    return {};
}

Result<> Place::clear_sockets() const {
    const auto run = open_to_clear(root_.get(), "run", path_ + "/run");
    if (!run)
        return run.error().system_error == ENOENT ? Result<>() : Result<>(std::unexpected(run.error()));
    TRY(remove_entry(run->get(), "firecracker.socket", path_ + "/run/firecracker.socket"));
    if (!is_gone(root_.get(), "run") && TRY(status_of(run->get(), path_ + "/run")).st_uid != user_)
        return fail("{}/run has something in it and is not the jail's user's: chown or remove it", path_);
    return {};
}

Result<> Place::copy_program(int program) {
    const std::string path = path_ + "/" + name_;
    const FileDescriptor copy = host::descriptor([&] {
        return ::openat(root_.get(), name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0700);
    });
    if (!copy.valid())
        return fail_errno("cannot make {}", path);
    if (auto copied = copy_bytes(program, copy.get()); !copied)
        return fail_because(std::move(copied).error(), "{}", path);
    // Nobody's to change in there, and everybody's to run.
    return ::fchmod(copy.get(), 0555) == 0 ? Result<>() : fail_errno("cannot make {} executable", path);
}

Result<FileDescriptor> Place::private_directory(int above, const std::string& name, const std::string& path) {
    FileDescriptor directory = TRY(open_below(above, name, path, Missing::make, user_));
    if (::fchmod(directory.get(), 0700) != 0)
        return fail_errno("cannot close {} to others", path);
    FileDescriptor again = host::descriptor([&] { return ::fcntl(directory.get(), F_DUPFD_CLOEXEC, 3); });
    if (!again.valid())
        return fail_errno("cannot keep {} open", path);
    gifts_.push_back({std::move(again), path});
    return directory;
}

Result<> Place::make_devices(bool bound) {
    // What clear() has left of them is the jail's user's already, who cannot enter our root: they stay that user's, so
    // that a start that fails changes nothing.
    TRY(private_directory(root_.get(), "run", path_ + "/run"));
    const FileDescriptor dev = TRY(private_directory(root_.get(), "dev", path_ + "/dev"));
    const FileDescriptor net = TRY(private_directory(dev.get(), "net", path_ + "/dev/net"));
    for (const Device& device : devices()) {
        const int directory = device.directory.empty() ? dev.get() : net.get();
        if (bound)
            TRY(bind_node(device, directory));
        else
            gifts_.push_back({TRY(make_node(device, directory)), path_ + device.path()});
    }
    return {};
}

Result<> Place::give_away() {
    pid_file_ = host::descriptor([&] {
        return ::openat(root_.get(), (name_ + ".pid").c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                        0644);
    });
    if (!pid_file_.valid())
        return fail_errno("cannot make {}/{}.pid", path_, name_);
    for (const Gift& gift : gifts_)
        if (::fchownat(gift.fd.get(), "", user_, group_, AT_EMPTY_PATH) != 0)
            return fail_errno("cannot give {} to the user {}", gift.path, user_);
    if (::fchown(root_.get(), user_, group_) != 0)
        return fail_errno("cannot give {} to the user {}", path_, user_);
    return {};
}

Result<> Place::write_pid(pid_t pid) {
    const std::string text = fmt::format("{}", pid);
    if (::write(pid_file_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        return fail_errno("cannot write {}/{}.pid", path_, name_);
    return {};
}

Result<bool> Place::remove() {
    if (root_.valid()) {
        TRY(clear());
        if (!is_gone(jail_.get(), "root"))
            return false;
    }
    return is_gone(all_jails_.get(), id_);
}

} // namespace aerate::jail
