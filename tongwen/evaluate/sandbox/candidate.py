"""The process that runs a generated program and answers calls of its functions.

Nothing here is trusted once the program has started: it may replace any of it. It holds neither
tests nor sentinel.
"""

import builtins
import os
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

from tongwen.evaluate.sandbox.wire import EndOfFramesError, decode, encode, receive, send

_LONGEST_MESSAGE = 500  # a program chooses it: it goes into the results


def serve(program: str, link: int) -> None:
    """Run the program, report its names, then answer the judge until it hangs up."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    objects = _Objects(vars(module))
    try:
        code = compile(program, "<program>", "exec", dont_inherit=True, optimize=0)
    except BaseException as error:
        _send_error(link, error, syntax=True)
        return
    try:
        exec(code, vars(module))
    except BaseException as error:
        _send_error(link, error, syntax=False)
        return
    send(link, {"names": _names(vars(module))})
    while True:
        try:
            request = receive(link)
        except EndOfFramesError:
            return
        try:
            reply = objects.answer(request)
        except BaseException as error:
            _send_error(link, error, syntax=False)
        else:
            send(link, reply)


def _names(values: dict[str, Any]) -> dict[str, str]:
    """Each name of the program: the module it is, or nothing."""
    return {
        name: value.__name__ if isinstance(value, types.ModuleType) else ""
        for name, value in list(values.items())
        if isinstance(name, str) and not name.startswith("__")
    }


def _send_error(link: int, error: BaseException, *, syntax: bool) -> None:
    try:
        message = str(error)[:_LONGEST_MESSAGE]
    except Exception:
        message = ""
    is_memory = isinstance(error, MemoryError)
    name = "MemoryError" if is_memory else type(error).__name__
    send(link, {"error": name, "message": message, "syntax": syntax and not is_memory})


class _Objects:
    """The program's names, and the values that stay here and are referred to by number."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names
        self.kept: list[Any] = []
        self.numbers: dict[int, int] = {}

    def refer(self, value: Any) -> Any:
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.kept)
            self.kept.append(value)
        return {"object": number}

    def resolve(self, reference: Any) -> Any:
        if "object" in reference:
            return self.kept[reference["object"]]
        if "builtin" in reference:
            return getattr(builtins, reference["builtin"])
        return self.names[reference["name"]]

    def answer(self, request: Any) -> Any:
        """The result of one operation, and those of its arguments that it changed."""
        target = self.resolve(request["target"])
        arguments = decode(request["arguments"], self.resolve)
        keywords = decode(request["keywords"], self.resolve)
        value = _OPERATIONS[request["operation"]](target, *arguments, **keywords)
        reply: dict[str, Any] = {"value": encode(value, self.refer)}
        changed = {
            str(index): now
            for index, (argument, before) in enumerate(
                zip(arguments, request["arguments"], strict=True)
            )
            if isinstance(argument, (list, dict, set, bytearray))
            and (now := encode(argument, self.refer)) != before
        }
        return reply | {"changed": changed} if changed else reply


def _next(iterator: Any) -> list[Any]:
    """The next value in a list; an empty list at the end."""
    for value in iterator:
        return [value]
    return []


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "value": lambda target: target,
    "call": lambda target, *arguments, **keywords: target(*arguments, **keywords),
    "get": getattr,
    "set": setattr,
    "item": lambda target, key: target[key],
    "length": len,
    "iterate": iter,
    "next": _next,
}


def leave() -> NoReturn:
    """End the process at once, whatever the program has registered for its end."""
    os._exit(0)
