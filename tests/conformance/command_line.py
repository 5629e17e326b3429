"""Firecracker's command line: what is printed, and how it ends."""
import json
import re
import signal
import subprocess
import time

from monitor import Monitor

WRONG_USAGE = 153
BAD_CONFIGURATION = 152


def run(place, *flags):
    directory = place.directory()
    words = [place.fill_in(flag, directory) for flag in flags]
    if "--api-sock" not in words:
        words += ["--api-sock", str(directory / "api.sock")]
    return subprocess.run([place.program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False)


def says(*flags, out="", err="", code=0, outcome="as Firecracker"):
    """A command that ends by itself."""
    def test(place):
        result = run(place, *flags)
        said = f"{result.returncode} {result.stdout!r} {result.stderr!r}"
        right = result.returncode == code and re.search(out, result.stdout) and re.search(err, result.stderr)
        return (outcome if right else "wrong"), said
    return " ".join(flags), test, False


def refused(*flags, name):
    return says(*flags, code=WRONG_USAGE, err=re.escape(name), outcome="refused")


def serves(*flags):
    """A command that serves the API, whose answer names the VM."""
    def test(place):
        with Monitor(place, flags) as monitor:
            status, said = monitor.ask("GET", "/")
        return ("as Firecracker" if status == 200 and said["id"] == "conformance" else "wrong"), f"{status} {said}"
    return " ".join(flags), test, False


def config(place, **more):
    """A configuration file of a guest that switches itself off, after what `script` says."""
    file = place.work / f"config{place.count}.json"
    script = more.pop("script", "fill-free bubble.seconds=1")
    file.write_text(json.dumps({"boot-source": {"kernel_image_path": str(place.names["KERNEL"]), "boot_args": f"bubble.script={script}"},
                                "drives": [], "machine-config": {"vcpu_count": 1, "mem_size_mib": 64, "smt": False},
                                "balloon": {"amount_mib": 0, "deflate_on_oom": False}, "cpu-config": None, "pmem": [], **more}))
    return str(file)


def a_guest_without_an_api_ends_with_0(place):
    result = run(place, "--no-api", "--config-file", config(place))
    return ("as Firecracker" if result.returncode == 0 else "wrong"), f"{result.returncode} {result.stderr!r}"


def a_file_and_an_api(place):
    with Monitor(place, ["--config-file", config(place, script="serial")]) as monitor:
        status, said = monitor.ask("GET", "/")
        repeated, _ = monitor.ask("PUT", "/actions", {"action_type": "InstanceStart"})
    return ("as Firecracker" if (status, said["state"], repeated) == (200, "Running", 400) else "wrong"), f"{said} {repeated}"


def a_signal_ends_it(place):
    with Monitor(place, ["--config-file", config(place, script="serial")]) as monitor:
        status, _ = monitor.ask("GET", "/")
        monitor.process.send_signal(signal.SIGTERM)
        code = monitor.process.wait(10)
    return ("as Firecracker" if status == 200 and code in (0, -signal.SIGTERM) else "wrong"), f"{status} {code}"


def the_log_and_the_metrics_are_written(place):
    flags = ["--log-path", "@DIR@/log", "--level", "Debug", "--show-level", "--metrics-path", "@DIR@/metrics", "--config-file", config(place, script="serial")]
    with Monitor(place, flags) as monitor:
        status, _ = monitor.ask("PUT", "/actions", {"action_type": "FlushMetrics"})
        lines = (monitor.directory / "metrics").read_text().splitlines()
        there = (monitor.directory / "log").exists()
    right = status == 204 and there and len(lines) == 1 and "utc_timestamp_ms" in json.loads(lines[0])
    return ("as Firecracker" if right else "wrong"), f"{status} {lines} {there}"


def the_jailers_times_are_in_the_metrics(place):
    started = int(time.monotonic() * 1e6)
    flags = [f"--start-time-us={started}", "--start-time-cpu-us=10", "--parent-cpu-time-us=20", "--metrics-path", "@DIR@/metrics", "--config-file", config(place, script="serial")]
    with Monitor(place, flags) as monitor:
        monitor.ask("PUT", "/actions", {"action_type": "FlushMetrics"})
        metrics = json.loads((monitor.directory / "metrics").read_text().splitlines()[0])
    took = metrics["api_server"]["process_startup_time_us"]
    return ("as Firecracker" if 0 < took < 5_000_000 else "wrong"), f"{metrics['api_server']}"


def the_serial_port_has_a_file(place):
    with Monitor(place, ["--config-file", config(place, script="serial", serial={"serial_out_path": str(place.work / "console")})]) as monitor:
        monitor.ask("GET", "/")
        deadline = time.monotonic() + 5
        while "BUBBLE" not in (place.work / "console").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
    text = (place.work / "console").read_text()
    return ("as Firecracker" if "BUBBLE" in text else "wrong"), repr(text)


def named(test):
    return test.__name__.replace("_", " "), test, True


CASES = [
    says("--version", out=r"^Firecracker v1\.\d+\.\d+\n"),
    says("--help", out="--api-sock"),
    says("--snapshot-version", out=r"^v\d+\.\d+\.\d+\n$"),
    says("--describe-snapshot", "@DIR@/none", code=1, err="none"),
    says("--describe-snapshot", "@FILE@", code=1, err="text"),
    says("--no-such-flag", code=WRONG_USAGE, err="no-such-flag"),
    says("--no-api", code=WRONG_USAGE, err="config-file"),
    says("--level", "Loud", code=BAD_CONFIGURATION, err="Loud"),
    says("--id", "../x", code=1, err="--id"),
    says("--config-file", "@DIR@/none", code=1, err="none"),
    says("--config-file", "@FILE@", code=1, err="text"),
    says("--api-sock", "@DIR@/none/api.sock", code=1, err="none"),
    says("--log-path", "@DIR@/none/log", code=1, err="none"),
    says("--metrics-path", "@DIR@/none/metrics", code=1, err="none"),
    says("--http-api-max-payload-size", "many", code=WRONG_USAGE),
    says("--metadata", "@DIR@/none", code=1, err="none"),
    says("--metadata", "@FILE@", code=1, err="text"),
    says("--mmds-size-limit", "many", code=WRONG_USAGE),
    says("--no-seccomp", "--seccomp-filter", "@FILE@", code=WRONG_USAGE),
    serves(),
    serves("--no-seccomp"),
    serves("--level", "warn"),
    serves("--http-api-max-payload-size=1000"),
    serves("--log-path", "@FIFO@", "--level", "Info", "--show-level"),
    serves("--metrics-path", "@FIFO@"),
    serves("--mmds-size-limit", "1000"),
    serves("--start-time-us=1", "--start-time-cpu-us=1", "--parent-cpu-time-us=1"),
    refused("--seccomp-filter", "@FILE@", name="--seccomp-filter"),
    serves("--boot-timer"),
    refused("--module", "api", name="--module"),
    refused("--show-log-origin", name="--show-log-origin"),
    refused("--enable-pci", name="--enable-pci"),
    *map(named, (a_guest_without_an_api_ends_with_0, a_file_and_an_api, a_signal_ends_it, the_log_and_the_metrics_are_written,
                 the_jailers_times_are_in_the_metrics, the_serial_port_has_a_file)),
]
