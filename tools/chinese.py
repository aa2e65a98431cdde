"""The Chinese of what the program says in English: options, keys of a recipe, commands.

`tools/chinese.toml` has a table for each, with the program's text as the key. Texts without an
entry stay English in the generated pages and fail their test, as do entries whose text is gone:

    python tools/chinese.py            # list both
"""

import functools
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

TABLE = Path(__file__).with_name("chinese.toml")
_TYPES = {
    "whole number": "整数", "number": "数", "string": "字符串", "path": "路径", "table": "表",
    "true or false": "true 或 false", "section": "节",
}  # fmt: skip


@functools.cache
def table(name: str) -> dict[str, str]:
    """English -> Chinese of one kind: `commands` or `keys`."""
    texts: dict[str, str] = tomllib.loads(TABLE.read_text(encoding="utf-8"))[name]
    return texts


def differences(name: str, needed: Iterable[str]) -> list[str]:
    """A line for each text without Chinese, and for each entry that nothing says any more."""
    present, wanted = table(name), dict.fromkeys(needed)
    lines = [f"no Chinese in [{name}] for: {text}" for text in wanted if not present.get(text)]
    return lines + [f"[{name}] has what is gone: {text}" for text in present if text not in wanted]


def type_words(words: str) -> str:
    """A type of `tongwen recipe --explain` in Chinese."""
    if words in _TYPES:
        return _TYPES[words]
    if match := re.fullmatch(r"list of (\d+ )?(.*?)s?", words):
        inner = type_words(match[2])
        return f"{match[1]}个{inner}" if match[1] else f"{inner}列表"
    if match := re.fullmatch(r"table of (.*?)s?", words):
        return f"由{type_words(match[1])}组成的表"
    return words.replace(" or ", " 或 ").replace(", ", "、")


def default_words(default: str) -> str:
    """The remark after a default, `32_768 in [tune]`, in Chinese."""
    return re.sub(r"(\S+) in (\[\w+\])", r"\2 中为 \1", default).replace("; ", "；")


def table_row(cells: tuple[str, ...], space: str = " ") -> str:
    """A row of a Markdown table."""
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return "|" + "|".join(f"{space}{cell}{space}" for cell in escaped) + "|"


def main() -> int:
    import command_reference
    import recipe_reference

    lines = differences("commands", command_reference.texts())
    lines += differences("keys", recipe_reference.texts())
    print("\n".join(lines) or "every text has its Chinese")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
