#include "machine/monitor_files.hpp"

#include "base/append_file.hpp"
#include "base/log.hpp"
#include "platform/limited_output.hpp"

#include <unistd.h>

#include <cerrno>
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

namespace {

std::optional<protocol::TokenBucket> bucket_of(const std::optional<control::TokenBucketConfig>& config) {
    if (!config)
        return std::nullopt;
    return protocol::TokenBucket::create({config->size, config->one_time_burst, config->refill_time},
                                         std::chrono::steady_clock::now());
}

} // namespace

Result<ConsoleOptions> serial_output(const control::SerialConfig& config, ConsoleOptions otherwise) {
    ConsoleOptions console = std::move(otherwise);
    if (config.serial_out_path)
        console = {.kind = control::ConsoleKind::file,
                   .output = std::make_shared<OutputSink>(TRY(OutputSink::open_file(*config.serial_out_path)))};
    if (const auto bucket = bucket_of(config.rate_limiter))
        console.output = std::make_shared<LimitedOutput>(std::move(console.output), *bucket);
    return console;
}

Result<> MetricsFile::open(const std::string& path) {
    file_ = TRY(open_to_append(path, "the metrics"));
    path_ = path;
    return {};
}

Result<> MetricsFile::flush() {
    while (!unfinished_.empty()) {
        const ssize_t written = ::write(file_.get(), unfinished_.data(), unfinished_.size());
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN)
            return fail("cannot write the metrics: {} takes no more, since nobody reads it", path_);
        if (written < 0)
            return fail_errno("cannot write the metrics to {}", path_);
        unfinished_.erase(0, static_cast<std::size_t>(written));
    }
    return {};
}

Result<> MetricsFile::write(const control::VmStatus& status) {
    if (!is_open())
        return {};
    TRY(flush());
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    unfinished_ = metrics_.line(status, std::chrono::duration_cast<std::chrono::milliseconds>(now));
    const std::size_t length = unfinished_.size();
    auto flushed = flush();
    if (unfinished_.size() == length)
        unfinished_.clear(); // a later line says all of it
    else
        metrics_.delivered(); // what is missing goes before the next one
    return flushed;
}

void MetricsFile::write_or_warn(const control::VmStatus& status) {
    const auto written = write(status);
    if (!written && !warned_)
        log::warning("{}", written.error().message);
    warned_ = !written;
}

} // namespace aerate
