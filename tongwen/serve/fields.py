"""The fields of a request's JSON object, taken one by one, and the refusal that names one."""

import json
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

_KIND_NAMES = {str: "a string", bool: "true or false", list: "a list", dict: "an object"}


class ApiError(Exception):
    """A refusal, as OpenAI's error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        error = {"message": message, "type": kind, "code": code, "param": param}
        # What the client sent is quoted, and may hold half a character, which no reply can.
        self.body = {
            "error": {
                key: value and value.encode("utf-8", "replace").decode("utf-8")
                for key, value in error.items()
            }
        }


def busy(message: str, *, retry_seconds: int = 5, code: str = "busy") -> ApiError:
    """The refusal of a request that may be sent again later."""
    return ApiError(
        429,
        message,
        kind="rate_limit_error",
        code=code,
        headers={"Retry-After": str(retry_seconds)},
    )


class Fields:
    """The fields of a JSON object, taken one by one; null counts as absent.

    Args:
        values: the object.
        prefix: what comes before a field's name in a message, as `stream_options.`.
    """

    def __init__(self, values: Mapping[str, Any], prefix: str = "") -> None:
        self._left = {key: value for key, value in values.items() if value is not None}
        self.prefix = prefix

    @property
    def names(self) -> tuple[str, ...]:
        """Of the fields that were not taken yet."""
        return tuple(self._left)

    @classmethod
    def of_body(cls, body: object) -> "Fields":
        """The fields of a whole request.

        Raises:
            ApiError: 400; the body is not an object.
        """
        if not isinstance(body, dict):
            raise ApiError(400, "the body must be a JSON object")
        return cls(body)

    @classmethod
    def of_item(cls, value: object, place: str) -> "Fields":
        """The fields of an object in a list.

        Args:
            value: the entry.
            place: where it is, as `messages[2]`.

        Raises:
            ApiError: 400; it is not an object.
        """
        if not isinstance(value, dict):
            raise ApiError(400, f"`{place}` must be an object", param=place)
        return cls(value, f"{place}.")

    def take_any(self, name: str) -> Any:
        return self._left.pop(name, None)

    def take(self, name: str, kind: type, default: Any) -> Any:
        value = self._left.pop(name, default)
        if value is not None and not isinstance(value, kind):
            self.refuse(name, value, _KIND_NAMES[kind])
        return value

    def nested(self, name: str) -> "Fields":
        """The fields of an object within this one; none when it is absent."""
        return Fields(self.take(name, dict, {}), f"{self.prefix}{name}.")

    def required(self, name: str, kind: type) -> Any:
        value = self.take(name, kind, None)
        if value is None:
            name = self.prefix + name
            raise ApiError(400, f"the field `{name}` is missing", param=name)
        return value

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        value = self._left.pop(name, default)
        if not isinstance(value, str) or value not in choices:
            self.refuse(name, value, f"one of {', '.join(choices)}")
        return str(value)

    def number(self, name: str, least: float, most: float, default: float) -> float:
        value = self._left.pop(name, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= value <= most:
            self.refuse(name, value, f"a number from {least} to {most}")
        return float(value)

    def whole_number(
        self, name: str, least: int, default: int | None, *, most: int = 2**31
    ) -> int | None:
        value = self._left.pop(name, default)
        if value is None:
            return None
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or not least <= value <= most:
            self.refuse(name, value, f"a whole number from {least} to {most}")
        return int(value)

    def ignore(self, *names: str) -> None:
        for name in names:
            self._left.pop(name, None)

    def only_off(self, off: Mapping[str, tuple[Any, ...]]) -> None:
        """Accept fields that ask for nothing, and refuse them otherwise.

        Raises:
            ApiError: 400 with the code `unsupported_parameter`.
        """
        for name, values in off.items():
            value = self._left.pop(name, None)
            if value is not None and value not in values:
                raise ApiError(
                    400,
                    f"`{self.prefix}{name}` is not supported; leave it out",
                    code="unsupported_parameter",
                    param=self.prefix + name,
                )

    def finish(self, *, refuses_unknown: bool = True) -> tuple[str, ...]:
        """Names of the fields that were not taken: nobody knows them.

        Raises:
            ApiError: 400 with the code `unknown_parameter`, when they are to be refused.
        """
        unknown = tuple(self.prefix + name for name in self._left)
        if unknown and refuses_unknown:
            raise ApiError(
                400, f"unknown field `{unknown[0]}`", code="unknown_parameter", param=unknown[0]
            )
        return unknown

    def refuse_type(self, kind: object, offered: str) -> NoReturn:
        """Say that this server has no such kind of thing, and which it has.

        Raises:
            ApiError: 400 with the code `unsupported_parameter`.
        """
        name = f"{self.prefix}type"
        raise ApiError(
            400,
            f"`{name}` is {str(kind)[:80]!r}; {offered}",
            code="unsupported_parameter",
            param=name,
        )

    def refuse(self, name: str, value: object, expected: str) -> None:
        """Say what a field holds and what it must be."""
        name = self.prefix + name
        shown = json.dumps(value, ensure_ascii=False)
        raise ApiError(400, f"`{name}` is {shown[:80]}; it must be {expected}", param=name)
