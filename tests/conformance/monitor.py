"""A monitor that was started by Firecracker's name, and what can be asked of it."""
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LARGEST_BODY = 51200


class Place:
    """The files that the cases name: one of each for all of them, and a directory for each monitor."""

    def __init__(self, work, have_kvm):
        self.work = work
        self.count = 0
        self.program = work / "firecracker"  # Aerate knows by this name what it is
        shutil.copy(ROOT / "build/release/aerate", work / "aerate")  # a build meanwhile must not pull it away
        shutil.copy(ROOT / "build/release/bubble", work / "bubble")
        self.program.symlink_to("aerate")
        self.names = {"KERNEL": work / "bubble", "FILE": work / "text"}
        (work / "text").write_text("not a disk, nor a snapshot")
        for number, disk in enumerate(("DISK", "DISK2", "DISK3", "POOL0", "POOL1", "POOL2", "POOL3"), 1):
            self.names[disk] = work / disk.lower()
            with open(self.names[disk], "wb") as file:
                file.truncate(number << 20)
        if have_kvm:
            self.take_snapshot()

    def take_snapshot(self):
        self.names |= {"STATE": self.work / "saved", "MEMORY": self.work / "saved.memory"}
        with Monitor(self) as monitor:
            monitor.bring_to("paused")
            monitor.ask("PUT", "/snapshot/create", {"snapshot_path": "@STATE@", "mem_file_path": "@MEMORY@"})

    def directory(self):
        self.count += 1
        made = self.work / str(self.count)
        made.mkdir()
        os.mkfifo(made / "fifo")
        return made

    def fill_in(self, text, directory):
        for name, path in (*self.names.items(), ("DIR", directory), ("FIFO", directory / "fifo"), ("HANDLER", directory / "handler.sock")):
            text = text.replace(f"@{name}@", str(path))
        return text.replace("@LARGE@", json.dumps({"kernel_image_path": "x" * LARGEST_BODY}))


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=15)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Monitor:
    def __init__(self, place, flags=()):
        self.place = place
        self.directory = place.directory()
        self.socket = self.directory / "api.sock"
        self.handler = None
        flags = [place.fill_in(flag, self.directory) for flag in flags]
        with open(self.directory / "output", "wb") as output:
            self.process = subprocess.Popen([place.program, "--api-sock", self.socket, "--id", "conformance", *flags],
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def start_handler(self):
        """A page fault handler for the memory of the snapshot that the cases load."""
        command = [sys.executable, HERE / "fault_handler.py", self.directory / "handler.sock", self.place.names["MEMORY"]]
        self.handler = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.handler.stdout.readline()

    def __enter__(self):
        deadline = time.monotonic() + 3  # as long as the Go SDK waits
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"it serves no API: {(self.directory / 'output').read_text()}")
            time.sleep(0.002)
        return self

    def answers(self):
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def fill_in(self, case):
        """The case with the files that it names in what is expected."""
        return case if "has" not in case else {**case, "has": json.loads(self.place.fill_in(json.dumps(case["has"]), self.directory))}

    def __exit__(self, *_):
        for process in filter(None, (self.process, self.handler)):
            process.kill()
            process.wait()
        shutil.rmtree(self.directory)

    def ask(self, method, path, body=None, raw=None):
        """The status, and the body as JSON; None if there is none."""
        text = raw if raw is not None else json.dumps(body) if body is not None else ""
        if "@HANDLER@" in text:
            self.start_handler()
        text = self.place.fill_in(text, self.directory)
        connection = UnixConnection(self.socket)
        connection.putrequest(method, path.replace(" ", "%20"), skip_accept_encoding=True)
        connection.putheader("Content-Type", "application/json")
        if text or method != "GET":
            connection.putheader("Content-Length", str(len(text)))
        connection.endheaders(text.encode() or None)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, json.loads(content) if content else None

    def must(self, method, path, body):
        status, said = self.ask(method, path, body)
        if status != 204:
            raise RuntimeError(f"{method} {path}: {status} {said}")

    def bring_to(self, state):
        """fresh, or words of: bootable, running, paused, disk, balloon, plain, tracked."""
        words = set(state.split())
        if "fresh" in words:
            return
        self.must("PUT", "/boot-source", {"kernel_image_path": "@KERNEL@", "boot_args": "bubble.script=serial"})
        self.must("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 64, "track_dirty_pages": "tracked" in words})
        if "disk" in words:
            self.must("PUT", "/drives/d1", {"drive_id": "d1", "path_on_host": "@DISK@", "is_root_device": False})
        if "balloon" in words:
            everything = {} if "plain" in words else {"stats_polling_interval_s": 1, "free_page_hinting": True, "free_page_reporting": True}
            self.must("PUT", "/balloon", {"amount_mib": 0, "deflate_on_oom": True, **everything})
        if "bootable" in words:
            return
        self.must("PUT", "/actions", {"action_type": "InstanceStart"})
        if "paused" in words:
            self.must("PATCH", "/vm", {"state": "Paused"})
