"""Scenarios of sockets between host and guest."""
import contextlib
import hashlib
import os
import random
import socket
import threading

from registry import require, scenario
from vm import PATIENCE

PORT = 52


def to_host(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20 * PATIENCE)
    connection.connect(path)
    return connection


def answers(path):
    with contextlib.suppress(OSError), to_host(path):
        return True
    return False


def to_guest(path, port=PORT):
    connection = to_host(path)
    connection.sendall(f"CONNECT {port}\n".encode())
    answer = b""
    while not answer.endswith(b"\n"):
        byte = connection.recv(1)
        require(byte, f"closed after {answer!r}")
        answer += byte
    require(answer.startswith(b"OK "), f"answers {answer!r}")
    return connection


def echoed(connection, data):
    """What comes back while all of it is sent, and this end is closed then."""
    def send():
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    back = b""
    while piece := connection.recv(1 << 16):
        back += piece
    sender.join()
    return back


@contextlib.contextmanager
def listen(path, port):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(20 * PATIENCE)
        listener.bind(f"{path}_{port}")
        listener.listen()
        try:
            yield listener
        finally:
            os.unlink(f"{path}_{port}")


def require_echo(path, size):
    data = random.randbytes(size)
    require(echoed(to_guest(path), data) == data, f"{size} bytes do not come back as they were")


@scenario(usually="6.1")
def vsock_carries_bytes_both_ways(context):
    path = context.file("v.sock")
    with context.vm(arguments=["--vsock", f"cid=3,path={path}"]) as vm:
        vm.wait_ready(60)
        vm.check(f"vsock echo {PORT} >/tmp/listening & while ! [ -s /tmp/listening ]; do sleep 0.1; done")
        for size in (0, 1, 4096, 8 << 20):
            require_echo(path, size)
        many = [to_guest(path) for _ in range(40)]
        for number, connection in enumerate(many):
            data = bytes([number]) * 1000
            require(echoed(connection, data) == data, f"connection {number} of {len(many)} has other bytes")
        refused = to_host(path)
        refused.sendall(b"CONNECT 53\n")
        require(refused.recv(100) == b"", "a port on which nobody listens answers")

        with listen(path, 5000) as listener:
            vm.send("dd if=/dev/urandom of=/tmp/data bs=64k count=64 2>/dev/null; vsock call 5000 </tmp/data | md5sum")
            connection, _ = listener.accept()
            received = b""
            while piece := connection.recv(1 << 16):
                received += piece
            connection.sendall(received[::-1])
            connection.close()
        said = vm.wait_for(r"##END", 60)
        digest = hashlib.md5(received[::-1]).hexdigest()
        require(len(received) == 4 << 20, f"{len(received)} bytes came from the guest")
        require(any(digest in line for line in vm.log), f"the guest got other bytes: {said}")
        require(vm.run("vsock call 5001 </dev/null")[0] != 0, "a call that nobody answers succeeds")


@scenario(usually="6.12")
def vsock_goes_on_after_a_restore(context):
    path, clone_path, file = context.file("v.sock"), context.file("clone.sock"), context.file("vsock.snap")
    with context.vm(arguments=["--vsock", f"cid=3,path={path}"]) as vm, listen(path, 5000) as listener:
        vm.wait_ready(60)
        vm.check(f"vsock echo {PORT} >/tmp/listening & while ! [ -s /tmp/listening ]; do sleep 0.1; done")
        kept = to_guest(path)
        vm.check("vsock hold 5000 /tmp/ended")
        held, _ = listener.accept()
        context.cli("snapshot", vm.name, file, "--force")
        require(echoed(kept, b"still here") == b"still here", "the one that was saved has lost a connection")
        require(vm.run("test -e /tmp/ended")[0] != 0, "the one that was saved was told that its connection is gone")
        require(b"--vsock" in context.cli("restore", file, check=False).stderr.encode(), "a socket is made where nobody said")
        with context.other("restore", file, "--vsock", f"path={clone_path}") as clone:
            clone.wait_until(lambda: answers(clone_path) or "no socket", 20)
            require_echo(clone_path, 1 << 20)
            clone.wait_until(lambda: "reset" in clone.run("cat /tmp/ended")[1] or "the connection of before is still there", 10)
            with listen(clone_path, 5001) as other:
                clone.send("echo hello | vsock call 5001")
                connection, _ = other.accept()
                require(connection.recv(100) == b"hello\n", "the clone says something else")
                connection.close()
        held.close()
