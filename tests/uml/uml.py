"""A guest of User Mode Linux whose balloon is served by `aerate vhost-user`, and that daemon."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../guest"))
from vm import GuestError, Vm  # noqa: E402


class Daemon:
    """`aerate vhost-user` on one socket. A context manager."""

    def __init__(self, binary, directory, name="guest", arguments=(), prefix=()):
        self.socket = os.path.join(directory, name + ".vu")
        self.name = name
        self.log = open(os.path.join(directory, name + ".log"), "a+", encoding="utf-8")
        self.process = subprocess.Popen([*prefix, binary, "vhost-user", "--socket", self.socket, *arguments], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 10
        while True:  # the socket is there before anybody listens on it
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(self.socket)
                return
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise GuestError(f"the daemon does not listen: {error}: {self.said()}") from error
                time.sleep(0.01)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(10)
        self.log.close()

    def cpu_seconds(self):
        """User and system time."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class LateBackEnd:
    """tests/late_hints/back_end.cpp, for one guest."""

    def __init__(self, binary, directory, use):
        self.socket, self.name = os.path.join(directory, use + ".vu"), use
        self.process = subprocess.Popen([binary, use, self.socket], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.expect("listening")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def publish(self):
        self.process.send_signal(signal.SIGUSR1)
        self.expect("held")

    def read_hints(self):
        self.process.send_signal(signal.SIGUSR2)
        return self.expect("read")

    def expect(self, word):
        line = self.process.stderr.readline().strip()
        if word not in line:
            raise GuestError(f"the back-end says '{line}', not '{word}'")
        return line


class Served(Vm):
    """A guest that the daemon serves."""

    def counter(self, name, **labels):
        return sum(counter["value"] for counter in self.status()["counters"]
                   if counter["name"] == name and all(counter.get("labels", {}).get(key) == value for key, value in labels.items()))


class QemuWithOtherDevice(Served):
    """QEMU, emulating, whose vhost-user front-end is connected to the daemon. Debian's QEMU has none for a balloon: the guest has
    an entropy device instead, and the daemon finds its one queue to be a strange balloon's."""

    def __init__(self, kernel, initrd, daemon_socket, name, directory):
        self.name, self.runtime = name, os.environ["AERATE_RUNTIME_DIR"]
        self.qmp_path = os.path.join(directory, "qmp")
        self.start(["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-M", "q35,memory-backend=ram", "-m", "256", "-object", "memory-backend-memfd,id=ram,size=256M,share=on",
                    # Its entropy device accepts features that the back-end has not offered, were it not told.
                    "-chardev", f"socket,id=back-end,path={daemon_socket}", "-device", "vhost-user-rng-pci,chardev=back-end,indirect_desc=off",
                    "-qmp", f"unix:{self.qmp_path},server=on,wait=off", "-kernel", kernel, "-initrd", initrd,
                    "-append", "console=ttyS0 mitigations=off quiet panic=-1", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"])

    def qmp(self, *commands):
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rw") as stream:
            connection.settimeout(20)
            connection.connect(self.qmp_path)
            stream.readline()
            for command in ("qmp_capabilities", *commands):
                stream.write(json.dumps({"execute": command}) + "\n")
                stream.flush()
                while "return" not in json.loads(stream.readline()):
                    pass


class Uml(Served):
    """`daemon_socket` is a vhost-user socket; `name` what the daemon calls this guest."""

    def __init__(self, initrd, daemon_socket, name, directory, memory="512M", append=(), randomise=False):
        self.name = name
        self.runtime = os.environ["AERATE_RUNTIME_DIR"]
        # A directory for its own socket, and for the file that is its memory.
        self.private = os.path.join(directory, f"uml-{time.monotonic_ns()}")
        os.mkdir(self.private, 0o700)
        command = ["linux.uml", f"mem={memory}", f"initrd={initrd}", "con=null", "con0=fd:0,fd:1", "ssl=null", "quiet",
                   f"umid={name}", f"uml_dir={self.private}", f"virtio_uml.device={daemon_socket}:5", *append]
        self.start(command if randomise else ["setarch", "-R", *command])

    def __exit__(self, *arguments):
        # A signal to the first process alone would leave its helpers, which keep the console's pipe open.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        super().__exit__(*arguments)
        shutil.rmtree(self.private, ignore_errors=True)

    def load_driver(self):
        self.check("insmod /modules/virtio_balloon.ko")

    def negotiated(self, feature):
        return self.check("cat /sys/bus/virtio/devices/virtio0/features")[feature] == "1"

    def unload_driver(self):
        self.check("rmmod virtio_balloon")

    def fill(self, name, mib):
        """Writes random bytes to a file in memory; its checksum."""
        self.check(f"dd if=/dev/urandom of=/tmp/{name} bs=1M count={mib} 2>/dev/null")
        return self.checksum(name)

    def checksum(self, name):
        return self.check(f"md5sum </tmp/{name}").split()[0]

    def ballooned_mib(self):
        return self.status()["memory"]["ballooned_bytes"] / 2**20
