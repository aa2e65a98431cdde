"""The text of a recipe file, whatever an editor has made of it."""

import codecs
import re
from pathlib import Path

from tongwen.errors import RecipeError

# The longer marks first: UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_recipe_text(path: Path) -> str:
    """The file as text: UTF-8 with or without a byte order mark, with any line ends.

    Raises:
        RecipeError: it cannot be read or is in another encoding, which the message names.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from error
    encoding = _foreign_encoding(data)
    if encoding is not None:
        raise RecipeError(
            f"{path} is {encoding} text; a recipe is UTF-8",
            hint=f"save it as UTF-8 in your editor, or: "
            f"iconv -f {_ICONV.get(encoding, encoding)} -t UTF-8 {path} > recipe-utf8.toml",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8",
            hint="save the file as UTF-8 in your editor",
        ) from error


_ICONV = {"GBK (GB18030)": "GB18030", "Windows-1252": "CP1252"}


def _foreign_encoding(data: bytes) -> str | None:
    """The encoding of a text that is not UTF-8, where it can be told."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    if b"\0" in data[1:2]:
        return "UTF-16LE"  # TOML begins with an ASCII sign, whose other byte is zero
    if data[:1] == b"\0":
        return "UTF-16BE"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return None
    # GBK writes a character in two bytes or four; a lone one is an accented letter.
    if not re.search(rb"[\x80-\xff]{2}", data):
        return "Windows-1252"
    try:
        data.decode("gb18030")
    except UnicodeDecodeError:
        return None
    return "GBK (GB18030)"
