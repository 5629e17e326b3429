"""Makes system calls in another process's threads, as someone would who had taken over the code that runs there."""
import ctypes
import os
import pathlib
import signal

PTRACE_PEEKDATA, PTRACE_POKEDATA, PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_SYSCALL = 2, 5, 12, 13, 24
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000
RED_ZONE = 512
REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs").split()
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in REGISTERS]


def ptrace(request, thread, address=0, data=0):
    result = libc.ptrace(ctypes.c_long(request), ctypes.c_long(thread), ctypes.c_void_p(address), data if isinstance(data, ctypes._Pointer) else ctypes.c_void_p(data))
    if result < 0 and request != PTRACE_PEEKDATA:
        raise OSError(ctypes.get_errno(), f"ptrace {request}: {os.strerror(ctypes.get_errno())}")
    return result


def threads(pid):
    """The threads of a process by their names."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        found.setdefault((task / "comm").read_text().strip(), int(task.name))
    return found


class Intruder:
    """Holds one thread, which waits in the kernel and so stands right behind a `syscall` instruction."""

    def __init__(self, thread):
        self.thread = thread
        ptrace(PTRACE_SEIZE, thread)
        ptrace(PTRACE_INTERRUPT, thread)
        os.waitpid(thread, WALL)
        self.before = Registers()
        ptrace(PTRACE_GETREGS, thread, 0, ctypes.pointer(self.before))

    def call(self, number, *arguments):
        """What the call returns; "SIGSYS" if it ends the process."""
        registers = Registers.from_buffer_copy(self.before)
        words, place = [], self.before.rsp - RED_ZONE - 256
        for argument in arguments:
            if isinstance(argument, bytes):
                for offset in range(0, len(argument) + 1, 8):
                    ptrace(PTRACE_POKEDATA, self.thread, place + offset, int.from_bytes(argument[offset:offset + 8].ljust(8, b"\0"), "little"))
                words.append(place)
                place -= 256
            else:
                words.append(argument & (1 << 64) - 1)
        registers.rax, registers.orig_rax, registers.rip = number, (1 << 64) - 1, self.before.rip - 2
        for name, word in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), words + [0] * 6):
            setattr(registers, name, word)
        ptrace(PTRACE_SETREGS, self.thread, 0, ctypes.pointer(registers))
        for _ in range(2):  # on its way in, and out again
            ptrace(PTRACE_SYSCALL, self.thread)
            _, status = os.waitpid(self.thread, WALL)
            if not os.WIFSTOPPED(status):
                return "gone"
        if self._is_to_get(signal.SIGSYS):
            ptrace(PTRACE_DETACH, self.thread)
            return "SIGSYS"
        after = Registers()
        ptrace(PTRACE_GETREGS, self.thread, 0, ctypes.pointer(after))
        return after.rax - (1 << 64) if after.rax >> 63 else after.rax

    def _is_to_get(self, which):
        pending = next(line for line in pathlib.Path(f"/proc/{self.thread}/status").read_text().splitlines() if line.startswith("SigPnd:"))
        return int(pending.split()[1], 16) >> (which - 1) & 1

    def leave(self):
        ptrace(PTRACE_SETREGS, self.thread, 0, ctypes.pointer(self.before))
        ptrace(PTRACE_DETACH, self.thread)
