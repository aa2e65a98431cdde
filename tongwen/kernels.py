"""How kernels are compiled: with numba, once on a machine, again as soon as their sources change.

Numba's own cache compares only the file of the function that Python calls, but the machine code
contains the functions and constants of other files too. So each state of the sources has a cache
folder of its own, named by a digest of the modules that define kernels and of all they import. The
machine needs no place in the name: numba's index of a function holds numba's version, name and
features of the CPU and the types of the arguments, and its file name the version of Python.
"""

import contextlib
import fcntl
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import llvmlite.binding
import numba
import numba.core.event as events
import numpy as np

from tongwen.files import cache_folder, file_digest, value_digest
from tongwen.progress import Progress, duration_text
from tongwen.sources import source_digest

_Function = TypeVar("_Function", bound=Callable[..., Any])

ZERO: Any = np.int64(0)
"""Where a place that is handed to another kernel starts. With a plain 0 numba would compile that
one for the constant first, and then again for any number."""

_DECORATED = re.compile(rb"^@(?:kernel|inner)\b", re.M)
_UNUSED_SECONDS = 30 * 86_400
_LOCK = ".lock"
_SHARED: dict[str, Any] = {"error_model": "numpy", "nogil": True}
_INNER: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_defined: list[Any] = []
"""Every function that `kernel` and `inner` were given, in the modules imported so far."""


@overload
def kernel(function: _Function, /) -> _Function: ...
@overload
def kernel(*, allocates: bool = False) -> Callable[[_Function], _Function]: ...
def kernel(function: Any = None, /, *, allocates: bool = False) -> Any:
    """Compile a function that Python calls; later processes load the machine code.

    Division is that of C: no kernel divides by what can be zero, and the checks for it are branches
    that keep loops from being vectorised. All kernels release the interpreter's lock.

    Args:
        function: what to compile; left out where there are options.
        allocates: whether it makes, slices or returns arrays. If not, numba does not count who
            holds the arguments, which took nine tenths of the page reader's time (2026-11).
    """

    def compiled(function: _Function) -> _Function:
        with _cache_in(kernel_folder()):
            return _compiled(function, allocates, cache=True)

    return compiled if function is None else compiled(function)


@overload
def inner(function: _Function, /) -> _Function: ...
@overload
def inner(
    *, allocates: bool = False, forceinline: bool = False
) -> Callable[[_Function], _Function]: ...
def inner(function: Any = None, /, *, allocates: bool = False, forceinline: bool = False) -> Any:
    """Compile a function that only kernels call: it has no entry for Python and no file of its own.

    Args:
        function: what to compile; left out where there are options.
        allocates: as for `kernel`.
        forceinline: copy it into its callers even where LLVM would not; for small functions that
            take many arguments.
    """

    def compiled(function: _Function) -> _Function:
        return _compiled(function, allocates, **_INNER, forceinline=forceinline)

    return compiled if function is None else compiled(function)


def _compiled(function: _Function, allocates: bool, **options: Any) -> _Function:
    _defined.append(function)
    if not allocates:
        options["_nrt"] = False
    njit: Any = numba.njit  # whose types lack some of its options
    return cast(_Function, njit(**_SHARED, **options)(function))


@contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Numba chooses a function's cache when it is decorated."""
    config: Any = numba.config  # its attributes come from the environment
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before


@cache
def kernel_folder() -> Path:
    """Where the machine code made from just these sources is kept."""
    modules = [".".join(("tongwen", *path.with_suffix("").parts)) for path in _kernel_files()]
    folder = _base_folder() / f"{source_digest(modules)[:16]}-numba-{numba.__version__}"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # `_remove_unused` looks at it
    return folder


def _kernel_files() -> list[Path]:
    """Files of this package, relative to it, that define kernels."""
    package = Path(__file__).parent
    return sorted(
        path.relative_to(package)
        for path in package.rglob("*.py")
        if _DECORATED.search(path.read_bytes())
    )


@cache
def _base_folder() -> Path:
    """Folder of all states of the sources. Where there is no cache folder, one that only this user
    can write to: what numba loads from it is run.
    """
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        return Path(named)
    if (found := cache_folder()) is not None:
        return found / "kernels"
    folder = Path(tempfile.gettempdir()) / f"tongwen-kernels-{os.getuid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if status.st_uid == os.getuid() and status.st_mode & 0o777 == 0o700:
            return folder
    return Path(tempfile.mkdtemp(prefix="tongwen-kernels-"))


def compile_once(trials: Mapping[str, Callable[[], object]], progress: Progress) -> None:
    """Compile what some trials call, in this process, unless this machine has done so before.

    Another process that asks for the same meanwhile waits, and then finds it done.

    Args:
        trials: by a name, which no other trial has: calls kernels as the stage's workers will, with
            arguments of the same types.
        progress: where this is said, and how many kernels are done.
    """
    config: Any = numba.config
    if config.DISABLE_JIT or not _waiting(trials):
        return
    with _locked(kernel_folder(), progress):
        if not (waiting := _waiting(trials)):
            return
        progress.say("  compiling kernels, once on this machine")
        progress.start()
        started = time.monotonic()
        counter = _Counter(progress)
        with events.install_listener("numba:compile", counter):
            for name in waiting:
                trials[name]()
                with contextlib.suppress(OSError):
                    _mark(name).touch()
        progress.end()
        seconds = duration_text(time.monotonic() - started)
        progress.say(f"  compiled {len(counter.done)} kernels in {seconds}")
    _remove_unused()


class _Counter(events.Listener):
    """Shows how many of the imported modules' kernels are compiled."""

    def __init__(self, progress: Progress) -> None:
        self.done: set[Any] = set()
        self._progress = progress

    def on_start(self, event: Any) -> None:
        pass

    def on_end(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        if function in _defined:
            self.done.add(function)
            self._progress.update("kernels", len(self.done), len(_defined))


def _waiting(trials: Iterable[str]) -> list[str]:
    return [name for name in trials if not _mark(name).exists()]


def _mark(name: str) -> Path:
    """The file that says a trial has been run with these sources, on a machine of this kind."""
    return kernel_folder() / f"{name}-{_machine()}.compiled"


@cache
def _machine() -> str:
    """All that numba compares, so that no mark is there where numba would compile again: its index
    is stale after a change of a comment, too, which leaves the folder as it is.
    """
    package = Path(__file__).parent
    features = llvmlite.binding.get_host_cpu_features().flatten()
    kind = [llvmlite.binding.get_host_cpu_name(), features, sys.implementation.cache_tag]
    files = [file_digest(package / path) for path in _kernel_files()]
    return value_digest([kind, str(package), files])[:16]


@contextmanager
def _locked(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold a folder's lock; where there can be none, as on some network disks, go without."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            file = stack.enter_context((folder / _LOCK).open("wb"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.say("  waiting for another process that is compiling the same kernels")
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_unused() -> None:
    """Remove the folders of other sources that no process has opened for 30 days.

    A folder changes its name before it goes: two processes that clean do not meet in it, and one
    that starts with these sources makes it anew.
    """
    before = time.time() - _UNUSED_SECONDS
    for folder in _base_folder().glob("*-numba-*"):
        with contextlib.suppress(OSError):
            if folder != kernel_folder() and folder.stat().st_mtime < before:
                removed = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
                folder.rename(removed)
                shutil.rmtree(removed, ignore_errors=True)
