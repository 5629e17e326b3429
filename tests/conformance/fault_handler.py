#!/usr/bin/env python3
"""Supplies the memory of one guest that is restored with mem_backend "Uffd": fault_handler.py SOCKET MEMORY_FILE

What Firecracker's users have in place of it is a program of theirs. This one does what theirs must do, and no more."""
import array
import ctypes
import errno
import fcntl
import json
import mmap
import os
import select
import socket
import struct
import sys

COPY, WAKE = 0xC028AA03, 0x8010AA02  # UFFDIO_COPY, UFFDIO_WAKE (linux/userfaultfd.h)
PAGEFAULT, REMOVE = 0x12, 0x15
MESSAGE = struct.Struct("=B7xQQQ")  # event, then of a page fault: flags, address; of a removal: start, end


def main():
    path, memory = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(1)
        print("listening", flush=True)
        connection, _ = listening.accept()
    text, descriptors, _, _ = socket.recv_fds(connection, 1024, 1)
    regions, [faults] = json.loads(text), descriptors
    with open(memory, "rb") as file:
        content = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    serve(faults, regions, content)


def serve(faults, regions, content):
    page = regions[0]["page_size"]
    removed = set()
    poll = select.poll()
    poll.register(faults, select.POLLIN)
    while poll.poll():
        try:
            event, first, second, _ = MESSAGE.unpack(os.read(faults, MESSAGE.size))
        except BlockingIOError:
            continue
        if event == REMOVE:
            removed.update(range(first, second, page))
        elif event == PAGEFAULT:
            address = second // page * page
            region = next(r for r in regions if r["base_host_virt_addr"] <= address < r["base_host_virt_addr"] + r["size"])
            at = address - region["base_host_virt_addr"] + region["offset"]
            copy(faults, address, bytes(page) if address in removed else content[at:at + page])


def copy(faults, address, data):
    buffer = ctypes.create_string_buffer(data, len(data))
    request = array.array("Q", [address, ctypes.addressof(buffer), len(data), 0, 0])
    try:
        fcntl.ioctl(faults, COPY, request, True)
    except OSError as error:
        if error.errno == errno.ESRCH:  # the monitor has ended
            sys.exit(0)
        # EAGAIN: an event is to be read first. EEXIST: the page is there. Whoever waits looks again.
        fcntl.ioctl(faults, WAKE, array.array("Q", [address, len(data)]), True)


if __name__ == "__main__":
    main()
