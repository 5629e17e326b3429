#include "host/vm_directory.hpp"

#include "base/host.hpp"
#include "control/host_history.hpp"
#include "control/runtime_directory.hpp"

#include <unistd.h>

#include <sys/inotify.h>

#include <array>

namespace aerate::hostd {

Result<std::unique_ptr<VmDirectory>> VmDirectory::watch(EventLoop& loop, std::filesystem::path path,
                                                        std::function<void()> changed) {
    FileDescriptor inotify = host::descriptor([] { return ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK); });
    if (!inotify.valid())
        return fail_errno("cannot watch a directory (fs.inotify.max_user_instances may be too low)");
    // A socket gets its name when it listens already: base/unix_listener.hpp.
    if (::inotify_add_watch(inotify.get(), path.c_str(), IN_CREATE | IN_MOVE | IN_DELETE | IN_ONLYDIR) < 0)
        return fail_errno("cannot watch the runtime directory {}", path.string());
    std::unique_ptr<VmDirectory> directory(new VmDirectory(std::move(path), std::move(inotify), std::move(changed)));
    directory->readable_ = TRY(loop.try_watch(directory->inotify_.get(), [self = directory.get()] { self->read(); }));
    return directory;
}

/// What has changed is of no interest, also when the kernel has lost count (IN_Q_OVERFLOW): the directory is read
/// again.
void VmDirectory::read() {
    alignas(inotify_event) std::array<char, 4096> events;
    bool any = false;
    while (::read(inotify_.get(), events.data(), events.size()) > 0)
        any = true;
    if (any)
        changed_();
}

std::vector<std::string> VmDirectory::names() const {
    auto names = control::list_vms(path_);
    if (names.size() > control::host_tick_guests_max)
        names.resize(control::host_tick_guests_max);
    return names;
}

} // namespace aerate::hostd
