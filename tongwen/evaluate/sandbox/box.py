"""A worker: sets up namespaces once, then forks a judge and a candidate for every program.

Runs as a Python process of its own, without site-packages: `main` is called by `pool.py`. It reads
pairs of frames from standard input (the program; the tests with their sentinel) and writes one
frame for each pair to standard output. It copies the second frame from pipe to pipe and wipes it,
so that no process forked later holds a sentinel or tests.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any, NoReturn

from tongwen.evaluate.sandbox import kernel
from tongwen.evaluate.sandbox.candidate import leave, serve
from tongwen.evaluate.sandbox.judge import CandidateDiedError, Link, judge
from tongwen.evaluate.sandbox.wire import (
    EndOfFramesError,
    receive,
    receive_bytes,
    send,
    send_bytes,
)

_USER = 1000
"""The user inside whose processes are judge and candidate."""
_NOBODY = 65534
"""That user outside, where whoever starts the worker is root."""
# How late a limit of memory or CPU time is noticed, against looking all the time.
_LOOK_SECONDS = 0.02
_MOUNT_POINTS = ("/mnt", "/media", "/srv", "/opt", "/tmp")
_SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_FOLDER_BYTES = 32 << 20
_FOLDER_FILES = 1024  # a program under test may fill the memory with empty files as well
_OFTEN_IMPORTED = (
    "bisect", "collections", "copy", "datetime", "decimal", "fractions", "functools", "hashlib",
    "heapq", "itertools", "json", "math", "operator", "random", "re", "statistics", "string",
    "typing",
)  # fmt: skip


def main(isolated: bool) -> None:
    """Serve programs until standard input ends; the first frame says whether that is possible."""
    for name in _OFTEN_IMPORTED:
        importlib.import_module(name)
    try:
        if isolated:
            _isolate()
    except (kernel.NotPermittedError, OSError) as error:
        send(1, {"error": str(error)})
        return
    send(1, {"ready": True})
    while True:
        try:
            program = receive_bytes(0)
            tests = receive_bytes(0)
        except EndOfFramesError:
            return
        send(1, _run(program, tests, isolated=isolated))


def _isolate() -> None:
    """Go on as the first process of new namespaces; the outer process waits and ends with it."""
    kernel.check_architecture()
    _enter_user_namespace()
    kernel.unshare(kernel.NEWNS | kernel.NEWPID | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS)
    child = os.fork()
    if child:
        os.close(0)
        os.close(1)
        os.waitpid(child, 0)
        os._exit(0)
    kernel.end_with_parent()
    kernel.make_mounts_private()
    kernel.forbid_namespaces()
    _make_root()
    # A trial, so that what a program will need is refused now and not then.
    trial = os.fork()
    if trial == 0:
        try:
            _own_namespaces()
            _give_up_rights()
            kernel.filter_calls()
        except (kernel.NotPermittedError, OSError) as error:
            os.write(2, f"{error}\n".encode())
            os._exit(1)
        os._exit(0)
    if os.waitpid(trial, 0)[1] != 0:
        raise kernel.NotPermittedError("namespaces inside the first ones")


def _enter_user_namespace() -> None:
    """A namespace whose root is whoever starts us, with a second user where that is root.

    The second map needs rights outside, so a process that stayed there writes it.
    """
    is_root = os.getuid() == 0
    outside_uid, outside_gid = os.getuid(), os.getgid()
    asked, answered = os.pipe(), os.pipe()
    worker = os.getpid()
    helper = os.fork() if is_root else 0
    if is_root and helper == 0:
        os.close(asked[1])
        os.read(asked[0], 1)
        try:
            for name in ("uid_map", "gid_map"):
                text = f"0 0 1\n{_USER} {_NOBODY} 1\n"
                Path(f"/proc/{worker}/{name}").write_text(text)
            os.write(answered[1], b"1")
        except OSError:
            os.write(answered[1], b"0")
        os._exit(0)
    kernel.unshare(kernel.NEWUSER)
    os.write(asked[1], b"1")
    is_mapped = is_root and os.read(answered[0], 1) == b"1"
    if is_root:
        os.waitpid(helper, 0)
    for descriptor in (*asked, *answered):
        os.close(descriptor)
    if not is_mapped:
        kernel.map_user(0, outside_uid, outside_gid)


def _make_root() -> None:
    """A root with Python's library, read-only, four devices, and nothing of the user's."""
    sources = _sources()
    point = next(
        (
            place
            for place in _MOUNT_POINTS
            if Path(place).is_dir() and not any(Path(one).is_relative_to(place) for one in sources)
        ),
        None,
    )
    if point is None:
        raise kernel.NotPermittedError(f"none of {', '.join(_MOUNT_POINTS)} can be mounted on")
    kernel.mount_tmpfs(point, size_bytes=1 << 20, files=4096)
    for source in sources:
        _show(source, point)
    for device in _DEVICES:
        target = Path(point + device)
        target.parent.mkdir(exist_ok=True)
        target.touch()
        kernel.bind(device, str(target))
    for name in ("tmp", "proc"):
        Path(point, name).mkdir()
    kernel.mount_proc(f"{point}/proc")
    os.umask(0o022)
    kernel.enter_root(point)


def _show(source: str, point: str) -> None:
    target = Path(point + source)
    target.parent.mkdir(parents=True, exist_ok=True)
    if Path(source).is_symlink():
        target.symlink_to(Path(source).readlink())
        return
    target.mkdir(exist_ok=True)
    kernel.bind(source, str(target))
    for packages in Path(target).glob("**/site-packages" if "python" in source else "*-packages"):
        if packages.is_dir():
            kernel.mount_tmpfs(str(packages), size_bytes=4096, files=1)
    kernel.make_read_only(str(target))


def _sources() -> list[str]:
    """Folders that a Python program reads: the standard library and the libraries it loads."""
    paths = sysconfig.get_paths(vars={"base": sys.base_prefix, "platbase": sys.base_exec_prefix})
    wanted = [paths["stdlib"], paths["platstdlib"], *_SYSTEM_LIBRARIES]
    found: list[str] = []
    for path in wanted:
        is_shown = any(Path(path).is_relative_to(one) for one in found)
        if Path(path).is_dir() and not is_shown:
            found.append(path)
    return sorted(found)


def _own_namespaces() -> None:
    """Processes, files and messages that this program shares with no other one."""
    kernel.unshare(kernel.NEWPID | kernel.NEWNS | kernel.NEWIPC)
    kernel.make_mounts_private()
    if any(Path("/proc").iterdir()):
        kernel.unmount("/proc")
    kernel.mount_tmpfs("/tmp", size_bytes=_FOLDER_BYTES, files=_FOLDER_FILES, mode="0777")


def _give_up_rights() -> None:
    """Become a user without rights, where the namespace has one."""
    # Refused where the map has one user only; the capabilities go all the same.
    with contextlib.suppress(OSError):
        os.setgroups([])
    with contextlib.suppress(OSError):
        os.setresgid(_USER, _USER, _USER)
        os.setresuid(_USER, _USER, _USER)
    kernel.drop_privileges()


def _run(program: bytearray, tests: bytearray, *, isolated: bool) -> Any:
    """One program and its tests, from the fork to the end of the last process."""
    requests, results = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _close_all_but(requests[0], results[1])
        _judge_process(requests[0], results[1], isolated=isolated)
    os.close(requests[0])
    os.close(results[1])
    try:
        send_bytes(requests[1], program)
        limits = _limits_of(program)
        send_bytes(requests[1], tests)
    except OSError:
        limits = {}  # the judge is gone; its result is read below
    tests[:] = bytes(len(tests))
    os.close(requests[1])
    candidates: list[int] = []
    try:
        return _wait(results[0], limits, candidates, isolated=isolated)
    finally:
        os.close(results[0])
        _end_all([child, *candidates], isolated=isolated)


def _limits_of(program: bytearray) -> dict[str, Any]:
    limits: dict[str, Any] = json.loads(program)["limits"]
    return limits


def _wait(results: int, limits: dict[str, Any], candidates: list[int], *, isolated: bool) -> Any:
    """The judge's result, or why there is none."""
    deadline = time.monotonic() + limits.get("seconds", 1.0)
    while True:
        readable, _, _ = select.select([results], [], [], _LOOK_SECONDS)
        if readable:
            try:
                result = receive(results)
            except EndOfFramesError:
                return {"verdict": "died", "message": "the judge was ended"}
            if "candidate" not in result:
                return result
            candidates.append(result["candidate"])
        elif time.monotonic() > deadline:
            return {"verdict": "timeout", "message": f"{limits['seconds']} seconds"}
        elif isolated:
            memory_bytes, cpu_seconds = _used()
            if memory_bytes > limits["memory_bytes"]:
                return {"verdict": "memory", "message": f"{memory_bytes >> 20} MiB"}
            if cpu_seconds > limits["cpu_seconds"] + 1:
                return {"verdict": "timeout", "message": f"{cpu_seconds:.1f} CPU seconds"}


def _used() -> tuple[int, float]:
    """Memory and CPU time of all processes but this one; zero where they cannot be listed."""
    memory, ticks = 0, 0
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == "1":
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended just now
        memory += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        ticks += int(fields[11]) + int(fields[12])
    return memory, ticks / os.sysconf("SC_CLK_TCK")


def _end_all(processes: list[int], *, isolated: bool) -> None:
    """Kill what a program has left and wait until it is gone."""
    if isolated and os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # of a first process: everything else in its namespace
    else:
        for process in processes:
            for end in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    end(process, signal.SIGKILL)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _close_all_but(*kept: int) -> None:
    """Close every descriptor but these; standard streams read and write nothing."""
    null = os.open("/dev/null", os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    start = 3
    for descriptor in sorted(kept):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, 1024)


def _judge_process(requests: int, results: int, *, isolated: bool) -> NoReturn:
    """Start the program, then read the tests, then judge. Never returns to the worker's code."""
    try:
        os.setsid()
        request = receive(requests)
        here, there = socket.socketpair()
        if isolated:
            _own_namespaces()
        candidate = os.fork()
        if candidate == 0:
            _candidate_process(request, there.fileno(), isolated=isolated)
        there.close()
        send(results, {"candidate": candidate})
        kernel.hide_memory()
        _confine(request["limits"], isolated=isolated)
        send(results, _verdict(here.fileno(), receive(requests)))
    finally:
        leave()


def _verdict(link: int, tests: dict[str, str]) -> dict[str, str]:
    try:
        verdict = judge(Link(link), tests)
    except CandidateDiedError as error:
        return {"verdict": "died", "message": str(error)}
    if verdict["verdict"] == "passed":
        return verdict | {"sentinel": tests["sentinel"]}
    return verdict


def _candidate_process(request: dict[str, Any], link: int, *, isolated: bool) -> NoReturn:
    """Run the program; it has nothing but the link to its judge."""
    try:
        os.setsid()
        _close_all_but(link)
        os.chdir("/tmp")
        del sys.path[0]  # where this package is from; not there any more
        _confine(request["limits"], isolated=isolated)
        serve(request["program"], link)
    finally:
        leave()


def _confine(limits: dict[str, Any], *, isolated: bool) -> None:
    if isolated:
        _give_up_rights()
    kernel.limit(
        memory_bytes=limits["memory_bytes"],
        cpu_seconds=limits["cpu_seconds"],
        file_bytes=_FOLDER_BYTES,
        processes=limits["processes"],
    )
    if isolated:
        kernel.filter_calls()
