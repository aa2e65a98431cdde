"""What crosses between judge and candidate: frames of JSON that hold plain values and references.

JSON, because reading it runs no code, whoever wrote it. Types that JSON lacks are tables with a
type's name. A value of any other type stays where it is and is named by a number.
"""

import datetime
import decimal
import fractions
import json
import os
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

Refer = Callable[[Any], Any]
"""What stands for a value that does not cross; raises TypeError where nothing can."""

LARGEST_FRAME_BYTES = 16 << 20
_LARGEST_PLAIN_INT = 1 << 53
_LENGTH_BYTES = 8
_ORDERED: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}
_TABLES: dict[str, Callable[[Any], Any]] = {
    "dict": dict,
    "Counter": Counter,
    "OrderedDict": OrderedDict,
}
_DATES = (datetime.datetime, datetime.date, datetime.time)  # a datetime is a date too


class EndOfFramesError(Exception):
    """The other side is gone, or sent what is no frame."""


def send(descriptor: int, value: Any) -> None:
    """Write one JSON value as a frame."""
    send_bytes(descriptor, json.dumps(value).encode())


def send_bytes(descriptor: int, data: bytes | bytearray) -> None:
    """Write one frame."""
    view = memoryview(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    while view:
        view = view[os.write(descriptor, view) :]


def receive(descriptor: int) -> Any:
    """The next frame's JSON value.

    Raises:
        EndOfFramesError: the other side is gone, or its frame is damaged or too large.
    """
    data = receive_bytes(descriptor)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise EndOfFramesError(f"a frame is no JSON: {error}") from error


def receive_bytes(descriptor: int) -> bytearray:
    """The next frame. A bytearray, so that its owner can wipe it."""
    length = int.from_bytes(_exactly(descriptor, _LENGTH_BYTES), "big")
    if length > LARGEST_FRAME_BYTES:
        raise EndOfFramesError(f"a frame of {length:,} bytes")
    return _exactly(descriptor, length)


def _exactly(descriptor: int, count: int) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    while view:
        read = os.readv(descriptor, [view])
        if not read:
            raise EndOfFramesError("the other side is gone")
        view = view[read:]
    return data


def encode(value: Any, refer: Refer) -> Any:
    """A value as JSON. Subclasses of plain types cross as those types."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < _LARGEST_PLAIN_INT else {"t": "int", "v": hex(value)}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if type(value) is list or (isinstance(value, list) and not isinstance(value, tuple)):
        return [encode(one, refer) for one in list.__iter__(value)]
    return _encode_table(value, refer)


def _encode_table(value: Any, refer: Refer) -> Any:
    if isinstance(value, dict):
        kinds = (("Counter", Counter), ("OrderedDict", OrderedDict))
        name = next((name for name, kind in kinds if isinstance(value, kind)), "dict")
        pairs = [[encode(key, refer), encode(one, refer)] for key, one in dict.items(value)]
        return {"t": name, "v": pairs}
    for name, kind in _ORDERED.items():
        if isinstance(value, kind):
            return {"t": name, "v": [encode(one, refer) for one in value]}
    if isinstance(value, complex):
        return {"t": "complex", "v": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"t": type(value).__name__, "v": value.hex()}
    if isinstance(value, range):
        bounds = (value.start, value.stop, value.step)
        return {"t": "range", "v": [encode(one, refer) for one in bounds]}
    if isinstance(value, (decimal.Decimal, fractions.Fraction)):
        return {"t": type(value).__name__, "v": str(value)}
    for date in _DATES:
        if isinstance(value, date):
            return {"t": date.__name__, "v": value.isoformat()}
    if isinstance(value, datetime.timedelta):
        return {"t": "timedelta", "v": [value.days, value.seconds, value.microseconds]}
    return refer(value)


def decode(value: Any, resolve: Refer) -> Any:
    """The value that JSON stands for; `resolve` finds what a reference names.

    Raises:
        ValueError, TypeError, KeyError: the JSON is not one that `encode` writes.
    """
    if isinstance(value, list):
        return [decode(one, resolve) for one in value]
    if not isinstance(value, dict):
        return value
    name = value.get("t")
    if name is None:
        return resolve(value)
    inner = value["v"]
    if name in _TABLES:
        pairs = [(decode(key, resolve), decode(one, resolve)) for key, one in inner]
        return _TABLES[name](pairs) if name != "Counter" else Counter(dict(pairs))
    if name in _ORDERED:
        return _ORDERED[name](decode(one, resolve) for one in inner)
    return _decode_scalar(name, inner, resolve)


def _decode_scalar(name: str, inner: Any, resolve: Refer) -> Any:
    if name == "int":
        return int(inner, 16)
    if name == "complex":
        return complex(*inner)
    if name in ("bytes", "bytearray"):
        data = bytes.fromhex(inner)
        return data if name == "bytes" else bytearray(data)
    if name == "range":
        return range(*(decode(one, resolve) for one in inner))
    if name == "timedelta":
        return datetime.timedelta(*inner)
    if name == "Decimal":
        return decimal.Decimal(inner)
    if name == "Fraction":
        return fractions.Fraction(inner)
    for date in _DATES:
        if name == date.__name__:
            return date.fromisoformat(inner)
    raise ValueError(f"no type {name!r}")
