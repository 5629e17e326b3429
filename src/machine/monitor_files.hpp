// The files into which the monitor writes for its operator: its log, Firecracker's metrics, the serial port's output.
// The process opens each once, and lends it to one machine after the other.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "control/firecracker_metrics.hpp"
#include "control/monitor_config.hpp"
#include "machine/console_options.hpp"

#include <string>

namespace aerate {

/// Takes over what the configuration says of the log; what it leaves out stays.
[[nodiscard]] Result<> set_up_log(const control::LoggerConfig&, const std::string& vm);

/// Returns where the serial port's output goes; `otherwise`, if it names no file.
[[nodiscard]] Result<ConsoleOptions> serial_output(const control::SerialConfig&, ConsoleOptions otherwise);

/// Metrics as Firecracker's, a line at a time, in a file or FIFO. One thread.
class MetricsFile {
public:
    [[nodiscard]] Result<> open(const std::string& path);
    [[nodiscard]] bool is_open() const { return file_.valid(); }
    void set_start_up(control::FirecrackerMetrics::StartUp start_up) { metrics_.set_start_up(start_up); }
    /// Fails where the line cannot be written whole: the disk is full, or nobody reads the FIFO. Nothing that was
    /// counted is lost with it: the next line says it too, or begins where this one was broken off.
    [[nodiscard]] Result<> write(const control::VmStatus&);
    /// Does the same for nobody who waits: logs the first failure of a row.
    void write_or_warn(const control::VmStatus&);

private:
    /// Fails if there is still something of an earlier line that must go first.
    [[nodiscard]] Result<> flush();

    std::string path_;
    FileDescriptor file_;
    control::FirecrackerMetrics metrics_;
    std::string unfinished_; ///< the rest of a line of which a part was taken
    bool warned_ = false;
};

} // namespace aerate
