#include "host/recorder.hpp"

#include "base/host.hpp"
#include "base/log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <string_view>

namespace aerate::hostd {

Result<Recorder> Recorder::create(const std::string& path) {
    FileDescriptor file =
        host::descriptor([&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600); });
    if (!file.valid())
        return fail_errno("cannot make the history {} (give the name of a file that is not there)", path);
    Recorder recorder(std::move(file));
    TRY(recorder.write(control::print_history_header()));
    return recorder;
}

void Recorder::add(const control::HostTick& tick) {
    if (!file_.valid())
        return;
    if (const auto written = write(control::print_host_tick(tick)); !written) {
        log::warning("host: the history ends here: {}", written.error().message);
        file_.close();
    }
}

Result<void> Recorder::write(std::string line) const {
    line += '\n';
    std::string_view left = line;
    while (!left.empty()) {
        const ssize_t written = ::write(file_.get(), left.data(), left.size());
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return fail_errno("cannot write the history");
        left.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
}

} // namespace aerate::hostd
