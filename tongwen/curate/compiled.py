"""How the compiled parts of the page reader are compiled."""

from collections.abc import Callable
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

    A change of an inner function is not noticed: the file of the outer one has to change too.
    """
    return cast(_Compiled, numba.njit(**_OPTIONS, cache=True)(function))
