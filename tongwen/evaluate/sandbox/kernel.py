"""Linux system calls that the standard library does not offer, by ctypes. No torch, no numpy."""

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
from pathlib import Path

NEWNS = 0x0002_0000  # CLONE_NEW* of linux/sched.h
NEWUTS = 0x0400_0000
NEWIPC = 0x0800_0000
NEWUSER = 0x1000_0000
NEWPID = 0x2000_0000
NEWNET = 0x4000_0000
_NEW_NAMESPACES = 0x7E02_0080  # any of the clone flags that make a namespace

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 1, 2, 4, 32
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_SETATTR = 442  # on every architecture
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_CAPABILITY_VERSION_3 = 0x2008_0522  # _LINUX_CAPABILITY_VERSION_3 of linux/capability.h
_LAST_CAPABILITY = 40  # CAP_CHECKPOINT_RESTORE, Linux 5.9
_AF_UNIX = 1

_KILL, _ERRNO, _ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
_LD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
# An x86-64 kernel takes the calls of x32 too, with this bit set: a way round the list.
_X32_CALLS = 0x4000_0000

# What no test of a function needs: new namespaces, mounts, other processes' memory, memory that no
# limit counts, keys, kernel interfaces with a history of holes.
_DENIED = {
    "x86_64": {
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "unshare": 272,
        "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
        "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsmount": 432, "mount_setattr": 442,
        "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425,
        "keyctl": 250, "add_key": 248, "request_key": 249, "memfd_create": 319,
        "memfd_secret": 447, "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240,
        "pidfd_open": 434, "pidfd_getfd": 438, "init_module": 175, "finit_module": 313,
        "kexec_load": 246, "reboot": 169, "swapon": 167, "personality": 135, "quotactl": 179,
        "name_to_handle_at": 303, "open_by_handle_at": 304, "syslog": 103, "acct": 163,
    },
    "aarch64": {
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "unshare": 97,
        "setns": 268, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51,
        "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsmount": 432, "mount_setattr": 442,
        "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "io_uring_setup": 425,
        "keyctl": 219, "add_key": 217, "request_key": 218, "memfd_create": 279,
        "memfd_secret": 447, "shmget": 194, "msgget": 186, "semget": 190, "mq_open": 180,
        "pidfd_open": 434, "pidfd_getfd": 438, "init_module": 105, "finit_module": 273,
        "kexec_load": 104, "reboot": 142, "swapon": 224, "personality": 92, "quotactl": 60,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "syslog": 116, "acct": 89,
    },
}  # fmt: skip
_CALLS = {  # audit number of the architecture, clone, clone3, socket
    "x86_64": (0xC000_003E, 56, 435, 41),
    "aarch64": (0xC000_00B7, 220, 435, 198),
}

_libc = ctypes.CDLL(None, use_errno=True)


class NotPermittedError(Exception):
    """The kernel does not let this process isolate another."""


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise NotPermittedError(f"{what}: {os.strerror(number)}")


def check_architecture() -> str:
    """The machine's architecture.

    Raises:
        NotPermittedError: the numbers of its system calls are not known here.
    """
    if not hasattr(_libc, "unshare"):
        raise NotPermittedError(f"{platform.system()} has no namespaces")
    machine = platform.machine()
    if machine not in _DENIED or struct.calcsize("P") != 8:
        raise NotPermittedError(f"system calls of {machine} are not listed")
    return machine


def unshare(flags: int) -> None:
    """Move this process (for NEWPID: its next child) into new namespaces."""
    _checked(_libc.unshare(flags), "unshare")


def map_user(inside: int, outside_uid: int, outside_gid: int) -> None:
    """Name the one user and group that exist in this process's new user namespace."""
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{inside} {outside_uid} 1")
        Path("/proc/self/gid_map").write_text(f"{inside} {outside_gid} 1")
    except OSError as error:
        raise NotPermittedError(f"user map: {error.strerror}") from error


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    result = _libc.mount(
        source.encode(),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _checked(result, f"mount {target}")


def make_mounts_private() -> None:
    """Keep what is mounted from now on out of the namespace we came from."""
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)


def mount_tmpfs(target: str, *, size_bytes: int, files: int, mode: str = "0755") -> None:
    """An empty file system in memory, bounded in bytes and files."""
    data = f"size={size_bytes},nr_inodes={files},mode={mode}"
    _mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, data)


def mount_proc(target: str) -> bool:
    """Whether the processes of this namespace can be listed at `target`."""
    try:
        _mount("proc", target, "proc", _MS_NOSUID | _MS_NODEV)
    except NotPermittedError:  # a container that hides parts of its own
        return False
    return True


def bind(source: str, target: str) -> None:
    """Show a file or folder at a second place."""
    _mount(source, target, None, _MS_BIND | _MS_REC)


def make_read_only(target: str) -> None:
    """Let nobody write below a mount, nor use its devices and set-user-id files."""
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV
    attributes = struct.pack("=QQQQ", flags, 0, 0, 0)  # the first three bits mean the same here
    result = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR), _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE,
        attributes, ctypes.c_size_t(len(attributes)),
    )  # fmt: skip
    if result != 0 and ctypes.get_errno() == errno.ENOSYS:  # Linux before 5.12
        _mount("none", target, None, _MS_REMOUNT | _MS_BIND | flags)
        return
    _checked(result, f"mount {target} read-only")


def unmount(target: str) -> None:
    """Take a mount away, now or when its last user ends."""
    _checked(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"unmount {target}")


def enter_root(folder: str) -> None:
    """Make a mounted folder the root, and everything outside it unreachable."""
    os.chdir(folder)
    # The old root is stacked under the new one and detached (pivot_root(2), "."-"." form).
    number = {"x86_64": 155, "aarch64": 41}[platform.machine()]
    _checked(_libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    unmount(".")
    os.chdir("/")
    # The root alone: programs must find nothing that an earlier one left.
    _mount("none", "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)


def forbid_namespaces() -> None:
    """Let no process of this user namespace make another one, where the kernel can be told so."""
    try:
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
    except OSError:
        return  # the filter of system calls refuses them too


def drop_privileges() -> None:
    """Give up every capability for good, also over a program that is executed."""
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # newer kernels have more, older fewer
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, b"\0" * 24), "capset")


def end_with_parent() -> None:
    """Be killed when the process that forked this one ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "parent's death")


def hide_memory() -> None:
    """Let no process of the same user read this one's memory or dump it."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def filter_calls() -> None:
    """Refuse system calls that judged programs do not need; only local sockets can be made."""
    machine = check_architecture()
    architecture, clone, clone3, socket = _CALLS[machine]
    program = _Filter()
    program.load(4)
    program.jump(_JEQ, architecture, over_false=1, action=_KILL)
    program.load(0)
    if machine == "x86_64":
        program.unless(_JGE, _X32_CALLS, _ERRNO | errno.EPERM)
    for number in _DENIED[machine].values():
        program.unless(_JEQ, number, _ERRNO | errno.EPERM)
    program.unless(_JEQ, clone3, _ERRNO | errno.ENOSYS)  # libc then calls clone
    program.add(_JEQ, clone, 0, 3)
    program.load(16)
    program.unless(_JSET, _NEW_NAMESPACES, _ERRNO | errno.EPERM)
    program.load(0)
    program.add(_JEQ, socket, 0, 3)
    program.load(16)
    program.add(_JEQ, _AF_UNIX, 1, 0)
    program.add(_RET, _ERRNO | errno.EACCES)
    program.add(_RET, _ALLOW)
    code = ctypes.create_string_buffer(program.code, len(program.code))
    pointer = struct.pack("HxxxxxxP", len(program.code) // 8, ctypes.addressof(code))
    _checked(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, pointer, 0, 0), "seccomp")


class _Filter:
    """A classic BPF program, instruction by instruction."""

    def __init__(self) -> None:
        self.code = b""

    def add(self, operation: int, value: int, if_true: int = 0, if_false: int = 0) -> None:
        self.code += struct.pack("=HBBI", operation, if_true, if_false, value)

    def load(self, offset: int) -> None:
        """Load a word of seccomp_data: 0 the number, 4 the architecture, 16 the first argument."""
        self.add(_LD, offset)

    def unless(self, test: int, value: int, action: int) -> None:
        """Return `action` where the test holds, go on where it does not."""
        self.add(test, value, 0, 1)
        self.add(_RET, action)

    def jump(self, test: int, value: int, *, over_false: int, action: int) -> None:
        """Return `action` where the test does not hold."""
        self.add(test, value, over_false, 0)
        self.add(_RET, action)


def limit(*, memory_bytes: int, cpu_seconds: int, file_bytes: int, processes: int) -> None:
    """Bound what this process and its children may use; limits cannot be raised again."""
    bounds = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_NPROC: processes,
    }
    for name, value in bounds.items():
        _, hard = resource.getrlimit(name)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(name, (value, value))
