"""The line of each key of a TOML text, for error messages; `tomllib` does not say."""

import re
from collections.abc import Iterator, Mapping

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*([A-Za-z0-9_.\-"' ]+?)\s*=""")


def toml_lines(text: str) -> list[str]:
    """The lines as TOML counts them; `str.splitlines` also ends them at signs inside a string."""
    return [line.removesuffix("\r") for line in text.split("\n")]


def key_lines(text: str) -> dict[str, int]:
    """`table.key -> line number`, counted from 1, of a TOML text that has been parsed already.

    Array-of-table entries are numbered: `evaluate.tasks.0.name`. Keys inside an inline
    table have no line of their own; callers fall back to the longest known prefix.
    """
    lines: dict[str, int] = {}
    for name, number in written_keys(text):
        lines.setdefault(name, number)
    return lines


def written_keys(text: str) -> Iterator[tuple[str, int]]:
    """Every table and key with its line, in order; one that is written twice comes twice."""
    arrays: dict[str, int] = {}
    prefix = ""
    closing: str | None = None
    for number, line in enumerate(toml_lines(text), start=1):
        if closing is not None:
            if closing in line:
                closing = None
            continue
        header = _HEADER.match(line)
        if header and "=" not in header[2]:
            prefix = _plain(header[2])
            if header[1] == "[[":
                arrays[prefix] = arrays.get(prefix, -1) + 1
            prefix = _number_arrays(prefix, arrays)
            yield prefix, number
            continue
        key = _KEY.match(line)
        if key:
            name = _plain(key[1])
            yield f"{prefix}.{name}" if prefix else name, number
            closing = _unclosed(line.partition("=")[2])


def line_of(key: str, lines: Mapping[str, int]) -> int | None:
    """Line of `key`, or of the nearest table around it."""
    parts = key.split(".")
    while parts:
        if ".".join(parts) in lines:
            return lines[".".join(parts)]
        parts.pop()
    return None


def _plain(dotted: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in dotted.split("."))


def _number_arrays(prefix: str, arrays: dict[str, int]) -> str:
    """Put the entry number behind every array of tables in a dotted name."""
    parts: list[str] = []
    plain: list[str] = []
    for part in prefix.split("."):
        plain.append(part)
        parts.append(part)
        name = ".".join(plain)
        if name in arrays:
            parts.append(str(arrays[name]))
    return ".".join(parts)


def _unclosed(value: str) -> str | None:
    """The delimiter that ends a multi-line string begun in `value`, if one is left open."""
    for quotes in ('"""', "'''"):
        if value.count(quotes) % 2:
            return quotes
    return None
