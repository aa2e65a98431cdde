"""How the compiled parts of the page reader are compiled."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

# The reader's arrays live as long as the call: counting who holds them took nine tenths of its
# time (2026-11). Python calls none of the inner functions, so none gets an entry from there.
_OPTIONS: dict[str, Any] = {"_nrt": False, "error_model": "numpy"}
_Compiled = TypeVar("_Compiled", bound=Callable[..., Any])
_INNER: dict[str, Any] = _OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def inner(function: _Compiled) -> _Compiled:
    """Compile a function that only compiled functions call."""
    return cast(_Compiled, numba.njit(**_INNER)(function))


def outer(function: _Compiled) -> _Compiled:
    """Compile a function that Python calls, once a machine.

    Numba looks only at the file of the outer function; here a change of any file of the reader
    makes what is stored stale.
    """
    compiled = numba.njit(**_OPTIONS, cache=True)(function)
    # Private to numba, and no public way: the stamp that a stored function must have.
    compiled._cache._cache_file._source_stamp = _sources()
    return cast(_Compiled, compiled)


@cache
def _sources() -> str:
    """SHA-256 of the files that the reader's functions and constants come from."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted([*folder.glob("html*.py"), folder / "priors.py", folder / "compiled.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()
