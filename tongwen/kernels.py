"""How kernels are compiled: with numba, once on a machine, stale as soon as their sources change.

Numba looks for changes only in the file of the function that Python calls, but what it compiles has
functions and constants of other files baked in. So the folder it keeps its results in is named by a
digest of the sources of all kernels, numba's version and the processor's features are its own.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from tongwen.files import cache_folder
from tongwen.sources import source_digest

# The reader's arrays live as long as the call: counting who holds them took nine tenths of its
# time (2026-11). Python calls none of the inner functions, so none gets an entry from there.
_OPTIONS: dict[str, Any] = {"_nrt": False, "error_model": "numpy"}
_Compiled = TypeVar("_Compiled", bound=Callable[..., Any])
_INNER: dict[str, Any] = _OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def inner(function: _Compiled) -> _Compiled:
    """Compile a function that only compiled functions call."""
    return cast(_Compiled, numba.njit(**_INNER)(function))


def outer(function: _Compiled) -> _Compiled:
    """Compile a function that Python calls, once a machine."""
    with _cache_in(kernel_folder()):
        return cast(_Compiled, numba.njit(**_OPTIONS, cache=True)(function))


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
    """Where compiled kernels of just these sources are kept."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(named) if named else (cache_folder() or Path(tempfile.gettempdir())) / "kernels"
    return base / f"{source_digest(_kernel_modules())[:16]}-numba-{numba.__version__}"


def _kernel_modules() -> list[str]:
    """Modules of this package whose text names this one."""
    package = Path(__file__).parent
    return sorted(
        ".".join(("tongwen", *path.relative_to(package).with_suffix("").parts))
        for path in package.rglob("*.py")
        if b"tongwen.kernels" in path.read_bytes()
    )
