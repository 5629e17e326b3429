"""Scenarios with a network card: a tap of this host, and passt. They make their own interfaces, in whatever machine they run."""
import contextlib
import hashlib
import json
import os
import socket
import subprocess

from registry import require, scenario
from vm import PATIENCE


def ip(*words):
    subprocess.run(["ip", *words], check=True, timeout=20 * PATIENCE)


@contextlib.contextmanager
def tap(name, address, default_route=False, queues=1):
    """A tap of this host that is up and has an address."""
    several = ["multi_queue"] if queues > 1 else []
    ip("tuntap", "add", "dev", name, "mode", "tap", "vnet_hdr", *several)
    try:
        ip("address", "add", f"{address}/24", "dev", name)
        ip("link", "set", name, "up")
        if default_route:
            ip("route", "add", "default", "via", address.rsplit(".", 1)[0] + ".254", "dev", name)
        yield
    finally:
        ip("tuntap", "del", "dev", name, "mode", "tap", *several)


def port_of(mac):
    """What the bridge knows of an address."""
    table = subprocess.run(["bridge", "fdb", "show"], capture_output=True, text=True, check=True, timeout=20 * PATIENCE).stdout
    return "\n".join(line for line in table.splitlines() if line.startswith(mac))


def up(vm, address):
    vm.check(f"ip address add {address}/24 dev eth0; ip link set eth0 up")
    # The carrier is there at once; the address is tried until it answers.
    vm.wait_until(lambda: vm.run(f"ping -c 1 -W 2 {address.rsplit('.', 1)[0]}.1 >/dev/null")[0] == 0 or "no answer to ping", 30, 0.5)


def send_to_guest(vm, address, data):
    """What the guest's nc has received, as its md5sum says."""
    # passt takes a connection before the guest does: who connects too early sends into nothing, and is told so only later.
    listens = "grep -q ':1B58 [0-9A-F]*:0000 0A' /proc/net/tcp /proc/net/tcp6"
    # Its standard input never ends: nc would close its own direction, after which Debian's passt (2023-03-09) sends the first 64 KiB again and again.
    vm.check(f"mkfifo /tmp/open 2>/dev/null; (nc -l -p 7000 <>/tmp/open | md5sum >/tmp/came) & until {listens}; do usleep 20000; done", 30)
    with socket.create_connection((address, 7000), timeout=10 * PATIENCE) as connection:
        connection.sendall(data)
    return vm.check("wait; cat /tmp/came", 60).split()[0]


def receive_from_guest(vm, address, count):
    """The md5sum of what the guest sends from /tmp/out, and of what came."""
    digest = hashlib.md5()
    with socket.create_server((address, 7001)) as server:
        server.settimeout(60 * PATIENCE)
        vm.send(f"dd if=/dev/urandom of=/tmp/out bs=1M count={count} 2>/dev/null; md5sum </tmp/out; nc {address} 7001 </tmp/out; rm /tmp/out")
        connection, _ = server.accept()
        with connection:
            while piece := connection.recv(1 << 20):
                digest.update(piece)
    match, _ = vm.wait_for(r"^([0-9a-f]{32})", 60)
    vm.wait_for(r"##END", 60)
    return match[1], digest.hexdigest()


def counter(vm, name):
    return sum(entry["value"] for entry in vm.status()["counters"] if entry["name"] == name)


@scenario(usually="6.1")
def network_by_a_tap(context):
    """Both ways with checksums; what was negotiated; a limiter while it runs; a clone on another tap with another address."""
    mac = "02:00:00:00:00:11"
    with tap("gtap0", "10.99.0.1"), tap("gtap1", "10.98.0.1"):
        with context.vm(arguments=["--net", f"tap=gtap0,mac={mac},mtu=1400"]) as vm:
            vm.wait_ready()
            require(vm.check("cat /sys/class/net/eth0/address").strip() == mac, "the guest has another address")
            require(vm.check("cat /sys/class/net/eth0/mtu").strip() == "1400", "the guest does not know its MTU")
            up(vm, "10.99.0.2")
            data = os.urandom(4 << 20)
            require(send_to_guest(vm, "10.99.0.2", data) == hashlib.md5(data).hexdigest(), "other bytes came than were sent")
            said, came = receive_from_guest(vm, "10.99.0.1", 4)
            require(said == came, "the guest sent other bytes than came")
            require(counter(vm, "net_rx_bytes_count") > 4 << 20 and counter(vm, "net_tx_bytes_count") > 4 << 20, "the counters do not say so")
            vm.api("PATCH", "/network-interfaces/net0",
                   {"iface_id": "net0", "tx_rate_limiter": {"bandwidth": {"size": 200000, "refill_time": 1000}}})
            receive_from_guest(vm, "10.99.0.1", 1)
            require(counter(vm, "net_tx_rate_limiter_throttled") > 0, "the limiter holds nothing back")
            vm.api("PATCH", "/network-interfaces/net0", {"iface_id": "net0", "tx_rate_limiter": {"bandwidth": {"size": 0, "refill_time": 0}}})
            context.cli("snapshot", vm.name, context.file("net.snap"))
            refused = context.cli("restore", context.file("net.snap"), check=False)
            require(refused.returncode != 0 and "net0=tap=gtap0" in refused.stderr, f"a tap of a snapshot is opened: {refused.stderr}")
            with context.other("restore", context.file("net.snap"), "--net", "net0=tap=gtap1,mac=02:00:00:00:00:12") as clone:
                clone.wait_until(lambda: clone.run("dmesg | grep -c 'link.*down\\|carrier' >/dev/null; ip address flush dev eth0")[0] == 0 or "no shell", 30)
                up(clone, "10.98.0.2")
                require(send_to_guest(clone, "10.98.0.2", data) == hashlib.md5(data).hexdigest(), "the clone received other bytes")
                require(counter(clone, "net_announcements") == 0, "a clone announced itself")
            up_again = send_to_guest(vm, "10.99.0.2", data)
            require(up_again == hashlib.md5(data).hexdigest(), "the guest lost its network to its clone")


@scenario(usually="6.12")
def network_moves_with_its_guest(context):
    """Two taps on a bridge: where the guest is now, the bridge knows from the guest's new monitor, and the guest has said so too."""
    with tap("gtap0", "10.96.0.8"), tap("gtap1", "10.96.0.9"):
        ip("link", "add", "gbr0", "type", "bridge")
        try:
            for name in ("gtap0", "gtap1"):
                ip("address", "flush", "dev", name)
                ip("link", "set", name, "master", "gbr0")
            ip("address", "add", "10.96.0.1/24", "dev", "gbr0")
            ip("link", "set", "gbr0", "up")
            with context.vm(arguments=["--net", "tap=gtap0,mac=02:00:00:00:00:21"]) as vm:
                vm.wait_ready()
                up(vm, "10.96.0.2")
                require("gtap0" in port_of("02:00:00:00:00:21"), "the bridge does not know the guest where it is")
                with context.other("receive", f"unix:{context.file('net.move')}", "--net", "net0=tap=gtap1") as there:
                    there.wait_for("waiting for a guest", 30)
                    context.cli("migrate", vm.name, f"unix:{context.file('net.move')}")
                    there.wait_until(lambda: "gtap1" in port_of("02:00:00:00:00:21") or port_of("02:00:00:00:00:21"), 10, 0.05)
                    there.wait_until(lambda: counter(there, "net_announcements") > 0 or "no announcement", 10)
                    data = os.urandom(1 << 20)
                    require(send_to_guest(there, "10.96.0.2", data) == hashlib.md5(data).hexdigest(), "other bytes came than were sent")
        finally:
            ip("link", "del", "gbr0")


def queues_used(name):
    """The pairs of a tap that its monitor has attached."""
    return len([queue for queue in os.listdir(f"/sys/class/net/{name}/queues") if queue.startswith("tx-")])


@scenario(usually="6.12")
def network_with_several_queues(context):
    """Two pairs of queues for two vCPUs: the guest uses both, with checksums, and so does its clone."""
    def has_two(vm):
        queues = vm.check("ls /sys/class/net/eth0/queues | grep -c rx-").split()[-1]
        require(queues == "2", f"the guest's card has {queues} pairs of queues")
        for cpu in (0, 1):
            mask = vm.check(f"cat /sys/class/net/eth0/queues/tx-{cpu}/xps_cpus").split()[-1]
            require(int(mask, 16) == 1 << cpu, f"queue {cpu} is that of the processors {mask}")

    def both_send(vm, address):
        """One connection from each vCPU at once; what either sends is what comes."""
        with socket.create_server((address, 7002)) as server:
            server.settimeout(60 * PATIENCE)
            sends = " & ".join(f"(dd if=/dev/urandom of=/tmp/out{cpu} bs=1M count=2 2>/dev/null; taskset {1 << cpu} nc {address} 7002 </tmp/out{cpu}; md5sum </tmp/out{cpu} >/tmp/sum{cpu})"
                               for cpu in (0, 1))
            vm.send(f"{sends} & wait; cat /tmp/sum0 /tmp/sum1 | sort | tr -d ' -' | tr '\\n' '+'; echo")
            digests = []
            for _ in range(2):
                connection, _ = server.accept()
                digests.append(hashlib.md5())
                with connection:
                    while piece := connection.recv(1 << 20):
                        digests[-1].update(piece)
            match, _ = vm.wait_for(r"^([0-9a-f]{32}\+[0-9a-f]{32})\+", 60)
            vm.wait_for(r"##END", 60)
        came = "+".join(sorted(digest.hexdigest() for digest in digests))
        require(match[1] == came, f"the guest sent {match[1]}, and {came} came")

    def receives(vm, address):
        data = os.urandom(2 << 20)
        require(send_to_guest(vm, address, data) == hashlib.md5(data).hexdigest(), "other bytes came than were sent")

    with tap("gtap0", "10.93.0.1", queues=2), tap("gtap1", "10.92.0.1", queues=2):
        with context.vm(vcpus=2, arguments=["--net", "tap=gtap0,queues=2,mac=02:00:00:00:00:41"]) as vm:
            vm.wait_ready()
            has_two(vm)
            up(vm, "10.93.0.2")
            require(queues_used("gtap0") == 2, f"the tap has {queues_used('gtap0')} queues")
            receives(vm, "10.93.0.2")
            both_send(vm, "10.93.0.1")
            context.cli("snapshot", vm.name, context.file("queues.snap"))
            with context.other("restore", context.file("queues.snap"), "--net", "net0=tap=gtap1,mac=02:00:00:00:00:42") as clone:
                clone.wait_until(lambda: clone.run("ip address flush dev eth0")[0] == 0 or "no shell", 30)
                up(clone, "10.92.0.2")
                has_two(clone)
                require(queues_used("gtap1") == 2, "the clone's tap has another number of queues")
                receives(clone, "10.92.0.2")
                both_send(clone, "10.92.0.1")
                require(counter(clone, "net_tx_fails") == 0, "frames of the clone went nowhere")


@scenario(None, kernels=("6.12",))
def network_has_metadata(context):
    """The metadata service: a session and what it shows, while the operator changes it; a clone has the service, and neither data nor sessions."""
    service = "169.254.169.254"
    mac = "02:00:00:00:00:31"

    def address(vm):
        vm.check(f"ip address add 10.95.0.2/24 dev eth0; ip link set eth0 up; ip route replace {service} dev eth0")

    def token(vm):
        text = vm.check(rf"printf 'PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 600\r\nConnection: close\r\n\r\n' | nc {service} 80 && echo")  # behind what has no line's end
        require("200 OK" in text, f"no token: {text}")
        return text.split()[-1]

    def get(vm, path, session):
        status, text = vm.run(f"wget -q -O - --header 'X-metadata-token: {session}' http://{service}{path} && echo")
        return text.split() if status == 0 else None

    file = context.file("mmds.json")
    with open(file, "w", encoding="utf-8") as config:
        json.dump({"network-interfaces": [{"iface_id": "eth0", "host_dev_name": "gtap0", "guest_mac": mac}],
                   "mmds-config": {"version": "V2", "network_interfaces": ["eth0"]}}, config)
    with tap("gtap0", "10.95.0.1"), tap("gtap1", "10.94.0.1"):
        with context.vm(arguments=["--config", file]) as vm:
            vm.wait_ready()
            address(vm)
            vm.api("PUT", "/mmds", {"latest": {"meta-data": {"local-hostname": "web", "network": {}}}})
            session = token(vm)
            require(get(vm, "/latest/meta-data", session) == ["local-hostname", "network/"], "the guest does not see its metadata")
            require(get(vm, "/latest/meta-data/local-hostname", session) == ["web"], "the guest does not know its name")
            require(get(vm, "/latest/meta-data", "x" * 64) is None, "a token that was made up is taken")
            vm.api("PATCH", "/mmds", {"latest": {"meta-data": {"local-hostname": "web2"}}})
            require(get(vm, "/latest/meta-data/local-hostname", session) == ["web2"], "the guest does not see the change")
            vm.check("ping -c 1 -W 20 10.95.0.1 >/dev/null")
            context.cli("snapshot", vm.name, context.file("mmds.snap"))
            with context.other("restore", context.file("mmds.snap"), "--net", "eth0=tap=gtap1,mac=02:00:00:00:00:32") as clone:
                clone.wait_until(lambda: clone.run("ip address flush dev eth0")[0] == 0 or "no shell", 30)
                address(clone)
                require(get(clone, "/latest/meta-data", session) is None, "a session goes on in a clone")
                require(get(clone, "/latest/meta-data", token(clone)) is None, "a clone has the metadata of the guest that was saved")
                clone.api("PUT", "/mmds", {"latest": {"meta-data": {"local-hostname": "clone"}}})
                require(get(clone, "/latest/meta-data/local-hostname", token(clone)) == ["clone"], "the clone does not see its own metadata")


@scenario(usually="6.1")
def network_without_privileges(context):
    """passt: an address by DHCP, a port of this host that leads to the guest, and the guest's way out."""
    with tap("gext0", "192.0.2.1", default_route=True):
        with context.vm(arguments=["--net", "user,forward=7000:7000"]) as vm:
            vm.wait_ready()
            vm.check("ip link set eth0 up; udhcpc -i eth0 -n -q -t 20", 60)
            require("192.0.2.1" in vm.check("ip address show dev eth0"), "no address by DHCP")
            data = os.urandom(2 << 20)
            require(send_to_guest(vm, "127.0.0.1", data) == hashlib.md5(data).hexdigest(), "other bytes came than were sent")
            require(counter(vm, "net_rx_packets_count") > 0, "the counters do not say so")
