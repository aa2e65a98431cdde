"""The process that holds the tests: it calls the program's functions and compares their results."""

import builtins
import importlib
import sys
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

from tongwen.evaluate.sandbox.wire import EndOfFramesError, decode, encode, receive, send

_LONGEST_MESSAGE = 500  # a program chooses it: it goes into the results
Verdict = dict[str, str]


class CandidateError(Exception):
    """An exception of the program whose type only the program knows."""


class CandidateDiedError(BaseException):
    """The program's process is gone or sent what is no reply. No test can catch it by accident."""


class Link:
    """The way to the program's process. Values it sends are built anew here."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.known: dict[int, Remote] = {}

    def receive(self) -> Mapping[str, Any]:
        """The next reply."""
        try:
            reply = receive(self.descriptor)
        except (EndOfFramesError, OSError) as error:
            raise CandidateDiedError(str(error)) from error
        if not isinstance(reply, dict):
            raise CandidateDiedError("a reply is no table")
        return reply

    def ask(self, target: Any, operation: str, *arguments: Any, **keywords: Any) -> Any:
        """The result of an operation on the program's side, with changed arguments changed here."""
        try:
            request = {
                "target": target,
                "operation": operation,
                "arguments": [encode(argument, _refer) for argument in arguments],
                "keywords": encode(keywords, _refer),
            }
            send(self.descriptor, request)
        except OSError as error:
            raise CandidateDiedError(str(error)) from error
        reply = self.receive()
        if "error" in reply:
            raise _exception(str(reply["error"]), str(reply.get("message", "")))
        try:
            for index, value in reply.get("changed", {}).items():
                _replace(arguments[int(index)], decode(value, self.resolve))
            return decode(reply["value"], self.resolve)
        except (ValueError, TypeError, KeyError, AttributeError, LookupError) as error:
            raise CandidateDiedError(f"a damaged reply: {error}") from error

    def resolve(self, reference: Any) -> "Remote":
        """The value on the program's side that has a number, one object for each number."""
        number = int(reference["object"])
        if number not in self.known:
            self.known[number] = Remote(self, {"object": number})
        return self.known[number]


class Remote:
    """A value on the program's side. It equals only itself: the program has no say in that."""

    def __init__(self, link: Link, target: Any) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_target", target)

    def _ask(self, operation: str, *arguments: Any, **keywords: Any) -> Any:
        return self._link.ask(self._target, operation, *arguments, **keywords)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._ask("call", *arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", key)

    def __len__(self) -> int:
        return int(self._ask("length"))

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        iterator = self._ask("iterate")
        if not isinstance(iterator, Remote):
            raise TypeError("not an iterator")
        while value := iterator._ask("next"):
            yield value[0]


def _refer(value: Any) -> Any:
    if isinstance(value, Remote):
        return value._target
    name = getattr(value, "__name__", None)
    if isinstance(name, str) and getattr(builtins, name, None) is value:
        return {"builtin": name}  # a type or function that both sides have
    raise TypeError(f"a {type(value).__name__} cannot be handed to the program")


def _replace(old: Any, new: Any) -> None:
    """Give a mutable argument the content it has on the program's side."""
    if isinstance(old, (list, bytearray)):
        old[:] = new
    elif isinstance(old, (dict, set)):
        old.clear()
        old.update(new)


def _exception(name: str, message: str) -> Exception:
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(message)
        except TypeError:  # such as UnicodeDecodeError, which wants more
            pass
    return CandidateError(f"{name}: {message}")


def judge(link: Link, tests: Mapping[str, str]) -> Verdict:
    """Whether the program passes its tests, and if not, why.

    Args:
        link: to the program's process, which has been started.
        tests: `setup`, run first and trusted; `tests`, whose end is reached only by a program
            that passes; `entry`, a name that is the program's even where the setup has it.
    """
    reply = link.receive()
    if "error" in reply:
        kind = "syntax" if reply.get("syntax") else "error"
        if reply["error"] == "MemoryError":
            kind = "memory"
        return {"verdict": kind, "message": f"{reply['error']}: {reply.get('message', '')}"}
    names = reply.get("names")
    if not isinstance(names, dict):
        raise CandidateDiedError("no names")
    values: dict[str, Any] = {"__name__": "tests"}
    code = [compile(tests[part], f"<{part}>", "exec", optimize=0) for part in ("setup", "tests")]
    try:
        exec(code[0], values)
        wanted = _names_in(code[1])
        names = {name: module for name, module in names.items() if name in wanted}
        _add_names(link, names, values, tests["entry"])
        exec(code[1], values)
    except MemoryError:
        return {"verdict": "memory", "message": ""}
    except AssertionError as error:
        return {"verdict": "wrong", "message": str(error)[:_LONGEST_MESSAGE]}
    except Exception as error:
        message = f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE]
        return {"verdict": "error", "message": message}
    return {"verdict": "passed", "message": ""}


def _add_names(link: Link, names: dict[str, Any], values: dict[str, Any], entry: str) -> None:
    """Let the tests see the program's functions.

    Built-in names, modules of the standard library and what the setup defines stay the judge's
    own, whatever the program calls so: a program with its own `abs` judges nothing by it.
    """
    for name, module in names.items():
        is_known = name in values or hasattr(builtins, name)
        if name == entry or not (is_known or name in sys.stdlib_module_names):
            if isinstance(module, str) and module.split(".")[0] in sys.stdlib_module_names:
                values[name] = importlib.import_module(module)
            else:
                values[name] = _value(link, name)
        elif not is_known:
            values[name] = importlib.import_module(name)


def _names_in(code: CodeType) -> set[str]:
    """Every global name and attribute that compiled code mentions."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names_in, inner))


def _value(link: Link, name: str) -> Any:
    """A plain value of the program, or a way to call it."""
    return link.ask({"name": name}, "value")
