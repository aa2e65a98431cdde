"""Addresses with keys in them: filled in for use, never shown."""

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from tongwen.errors import InputError

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class Secrets:
    """Values of environment variables that recipes name, and how to keep them out of messages."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def fill(self, text: str) -> str:
        """`text` with the value of each `${NAME}`.

        Raises:
            InputError: a variable is not set.
        """

        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            if not (found := os.environ.get(name, "")):
                raise InputError(
                    f"{text} needs the environment variable {name}, which is not set",
                    hint=f"export {name}=...",
                )
            self._values |= {found, quote(found), quote(found, safe="")}
            return found

        return _VARIABLE.sub(value, text)

    def options(self, storage: Mapping[str, str]) -> dict[str, Any]:
        """Options of a file system; "true" and "false" as what they mean."""
        meanings: dict[str, Any] = {"true": True, "false": False}
        return {name: meanings.get(value, self.fill(value)) for name, value in storage.items()}

    def redact(self, text: object) -> str:
        """A message without the values that were filled in, nor any address's query."""
        shown = str(text)
        for value in sorted(self._values, key=len, reverse=True):
            shown = shown.replace(value, "***")
        return re.sub(r"(\w+://[^\s?'\"]+)\?[^\s'\"]+", r"\1?***", shown)


def public_url(url: str) -> str:
    """An address without user, password, query and fragment: what may be shown and saved."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
