"""Three hosts in namespaces of this machine, with corosync and Pacemaker, an etcd of three members between them, and one VM, `web`."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import secrets
import shutil
import socket
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NODES = ("n1", "n2", "n3")
HUB = "10.77.0.254"


class Failed(Exception):
    pass


def require(condition, message):
    if not condition:
        raise Failed(message)


def command(*words, check=True, timeout=60):
    result = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL)
    require(not check or result.returncode == 0, f"{' '.join(map(str, words))}: {result.stdout}{result.stderr}")
    return result


def until(what, holds, seconds):
    """Returns what `holds` returns when that is true, and how long it took."""
    began = time.monotonic()
    while not (value := holds()):
        require(time.monotonic() - began < seconds, f"not within {seconds} s: {what}")
        time.sleep(0.1)
    return value, time.monotonic() - began


class LocalHttp(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=2)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Etcd:
    """Its members run beside the hosts, so that no host's end is theirs."""

    def __init__(self, state, prefix):
        self.state, self.prefix, self.members = state, prefix, {}
        for number in range(3):
            self.start(number)

    def start(self, number):
        client, peer = f"http://{HUB}:{2379 + number}", f"http://{HUB}:{2479 + number}"
        self.members[number] = subprocess.Popen(
            ["ip", "netns", "exec", f"{self.prefix}hub", "etcd", "--name", f"e{number}", "--data-dir", self.state / f"etcd{number}", "--listen-client-urls", client, "--advertise-client-urls",
             client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", ",".join(f"e{each}=http://{HUB}:{2479 + each}" for each in range(3)),
             "--logger", "zap", "--log-level", "error"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self, number):
        self.members[number].kill()
        self.members[number].wait()

    def address(self):
        return f"etcd:{','.join(f'{HUB}:{2379 + number}' for number in range(3))}/%n,plain"


class Fleet:
    def __init__(self, state):
        self.state, self.prefix = state, f"fleet{os.getpid()}-"
        self.processes, self.over, self.fenced = {}, threading.Event(), []
        (state / "fence").mkdir()
        (state / "bin").mkdir()
        (state / "etc").mkdir()
        for name in ("aerate", "bubble"):  # copies, which no build pulls away
            shutil.copy(ROOT / "build/release" / name, state / "bin")
        shutil.copy(ROOT / "contrib/pacemaker/aerate-intake", state / "bin")
        # The guest keeps a processor busy, which corosync may not wait for.
        (state / "bin/nice").mkdir()
        (state / "bin/nice/aerate").write_text(f'#!/bin/sh\nexec nice -n 15 {state}/bin/aerate "$@"\n')
        (state / "bin/nice/aerate").chmod(0o755)
        (state / "psk").write_bytes(secrets.token_bytes(32))
        (state / "psk").chmod(0o600)
        nodes = "".join(f"  node {{\n    ring0_addr: 10.77.0.{number}\n    name: {name}\n    nodeid: {number}\n  }}\n" for number, name in enumerate(NODES, 1))
        (state / "corosync.conf").write_text("totem {\n  version: 2\n  cluster_name: fleet\n  transport: knet\n  crypto_cipher: none\n  crypto_hash: none\n  token: 1000\n}\n"
                                             f"nodelist {{\n{nodes}}}\nquorum {{\n  provider: corosync_votequorum\n}}\n"
                                             "logging {\n  to_stderr: no\n  to_logfile: yes\n  logfile: /var/log/corosync.log\n  to_syslog: no\n}\n")
        (state / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"10.77.0.{number} {name}\n" for number, name in enumerate(NODES, 1)))
        (state / "etc/web.json").write_text(json.dumps({"boot-source": {"kernel_image_path": str(state / "bin/bubble"), "boot_args": "bubble.script=churn bubble.seconds=100000 bubble.driver=stock-linux"},
                                                        "machine-config": {"mem_size_mib": 64, "vcpu_count": 1}}))

    def __enter__(self):
        hub = self.prefix + "hub"
        try:
            command("ip", "netns", "add", hub)
            command("ip", "-n", hub, "link", "add", "br0", "type", "bridge")
            command("ip", "-n", hub, "addr", "add", f"{HUB}/24", "dev", "br0")
            for device in ("br0", "lo"):
                command("ip", "-n", hub, "link", "set", device, "up")
            for number, name in enumerate(NODES, 1):
                own = self.prefix + name
                command("ip", "netns", "add", own)
                command("ip", "-n", hub, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", own)
                command("ip", "-n", hub, "link", "set", name, "master", "br0", "up")
                command("ip", "-n", own, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
                command("ip", "-n", own, "link", "set", "eth0", "up")
            self.etcd = Etcd(self.state, self.prefix)
            threading.Thread(target=self.power_switch, daemon=True).start()
            for name in NODES:
                self.start(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.over.set()
        for name in list(self.processes):
            self.pull_the_plug(name)
        if hasattr(self, "etcd"):
            for number in self.etcd.members:
                self.etcd.kill(number)
        for name in (*NODES, "hub"):
            command("ip", "netns", "del", self.prefix + name, check=False)

    def start(self, name):
        """A host that was without power comes back, with nothing of what it had in memory."""
        (self.state / f"{name}.up").unlink(missing_ok=True)
        log = open(self.state / f"{name}.log", "ab")  # pylint: disable=consider-using-with
        self.processes[name] = subprocess.Popen(["ip", "netns", "exec", self.prefix + name, "unshare", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", HERE / "node", name, self.state],
                                                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)

    def first_process(self, name):
        """The host's process 1, as seen from here; None while it is without power."""
        process = self.processes.get(name)
        if process is None or process.poll() is not None:
            return None
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def pull_the_plug(self, name):
        """All of its processes are gone when this returns: no guest runs there."""
        process = self.processes.get(name)
        if process is not None:
            process.kill()  # --kill-child: its child, and with that the whole PID namespace
            process.wait()
            del self.processes[name]

    def power_switch(self):
        """Does what fence agents ask for; a host that was fenced is started again by bring_back()."""
        while not self.over.wait(0.05):
            for request in (self.state / "fence").glob("*.ask"):
                name = request.read_text().strip()
                self.pull_the_plug(name)
                self.fenced.append(name)
                request.rename(request.with_suffix(".done"))

    def bring_back(self):
        for name in NODES:
            command("ip", "-n", self.prefix + "hub", "link", "set", name, "up")
            if name not in self.processes:
                self.start(name)

    def cut(self, name):
        command("ip", "-n", self.prefix + "hub", "link", "set", name, "down")

    def run(self, name, *words, check=True, timeout=60):
        pid = self.first_process(name)
        require(pid, f"{name} is without power")
        return command("nsenter", "-t", pid, "-a", "--", "env", "AERATE_RUNTIME_DIR=/run/aerate", *words, check=check, timeout=timeout)

    def crm(self, *words, check=True, **options):
        """Asks whichever host answers: one that has come back this moment does not do so at once."""
        said = None
        for name in NODES:
            if self.first_process(name):
                said = self.run(name, *words, check=False, **options)
                if said.returncode == 0 or not re.search("not connected|could not connect|connection refused|disconnected", said.stdout + said.stderr, re.IGNORECASE):
                    break
        require(said and (not check or said.returncode == 0), f"{' '.join(map(str, words))}: {said}")
        return said

    def status(self, name):
        """What the VM's monitor on that host says of it; None where there is none, or it does not answer."""
        pid = self.first_process(name)
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            connection = LocalHttp(f"/proc/{pid}/root/run/aerate/web.sock")
            with contextlib.closing(connection):
                connection.request("GET", "/aerate/status")
                return json.loads(connection.getresponse().read())
        return None

    def configure(self):
        shared = {"psk": self.state / "psk", "lease": f'"{self.etcd.address()}"', "aerate": self.state / "bin/nice/aerate", "intake": self.state / "bin/aerate-intake"}
        common = " ".join(f"{name}={value}" for name, value in shared.items())
        for name in NODES:
            self.crm("crm_attribute", "-t", "nodes", "-N", name, "-z", "-n", "memory", "-v", "1000")
        template = (ROOT / "contrib/pacemaker/example.crm").read_text()
        for old, new in (("@INTAKE@", f"{common} config={self.state}/etc"), ("@VM@", f"{common} config={self.state}/etc/web.json record={self.state}/given"),
                         ("@FENCING@", f'primitive power stonith:fence_fleet params state={self.state} pcmk_host_list="{" ".join(NODES)}" pcmk_host_check=static-list op monitor interval=0')):
            template = template.replace(old, new)
        (self.state / "cluster.crm").write_text(template)
        self.crm("crm", "-F", "configure", "load", "update", self.state / "cluster.crm", timeout=120)

    def logs(self):
        """The last words of each host, for whoever looks for a reason."""
        text = ""
        with contextlib.suppress(Failed):
            text = self.crm("crm_mon", "-1", check=False).stdout
        for name in NODES:
            if pid := self.first_process(name):
                with contextlib.suppress(OSError):
                    lines = pathlib.Path(f"/proc/{pid}/root/var/log/pacemaker/pacemaker.log").read_text(errors="replace").splitlines()
                    text += f"--- {name}\n" + "\n".join([line[:300] for line in lines if re.search(r"\b(notice|warning|error): ", line)][-25:]) + "\n"
        return text
