#include "machine/monitor_files.hpp"

#include "base/append_file.hpp"
#include "base/log.hpp"

#include <unistd.h>

#include <chrono>
#include <utility>

namespace aerate {

Result<> set_up_log(const control::LoggerConfig& config, const std::string& vm) {
    if (config.log_path)
        log::write_to(TRY(open_to_append(*config.log_path, "the log")), vm);
    if (config.level)
        log::set_level(*config.level);
    if (config.show_level)
        log::show_level(*config.show_level);
    return {};
}

Result<ConsoleOptions> serial_output(const control::SerialConfig& config, ConsoleOptions otherwise) {
    if (!config.serial_out_path)
        return otherwise;
    return ConsoleOptions{.kind = control::ConsoleKind::file,
                          .output = std::make_shared<OutputSink>(TRY(OutputSink::open_file(*config.serial_out_path)))};
}

Result<> MetricsFile::open(const std::string& path) {
    file_ = TRY(open_to_append(path, "the metrics"));
    return {};
}

bool MetricsFile::flush() {
    const ssize_t written = ::write(file_.get(), unfinished_.data(), unfinished_.size());
    if (written > 0)
        unfinished_.erase(0, static_cast<std::size_t>(written));
    return unfinished_.empty();
}

void MetricsFile::write(const control::VmStatus& status) {
    if (!is_open() || (!unfinished_.empty() && !flush()))
        return;
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    unfinished_ = metrics_.line(status, std::chrono::duration_cast<std::chrono::milliseconds>(now));
    const std::size_t length = unfinished_.size();
    if (!flush() && unfinished_.size() == length)
        unfinished_.clear();
}

} // namespace aerate
