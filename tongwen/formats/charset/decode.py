"""Bytes to text by the rules of the WHATWG Encoding and HTML standards, with detection.

A mark at the beginning counts most, then the HTTP header, then the page's own declaration.
We differ from browsers in one thing: a declaration that the bytes contradict is not believed.
"""

import re
from dataclasses import dataclass

from tongwen.formats.charset.detect import chinese_score, detect_encoding
from tongwen.formats.charset.encodings import codec_of

_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"))
_CHINESE = frozenset({"gb18030", "big5hkscs"})
_MULTI_BYTE = _CHINESE | {
    "utf-8",
    "euc_jp",
    "cp932",
    "cp949",
    "iso2022_jp",
    "utf-16-le",
    "utf-16-be",
}
_PLAINLY_CHINESE = 0.3  # of `chinese_score`: real Chinese is near 1, other bytes are below 0
# The standard looks at 1,024 bytes before it parses and obeys a later declaration while it
# parses; we do both at once.
_PRESCAN_BYTES = 16_384
_SPACE = b"\t\n\x0c\r "
_TAG = re.compile(rb"<!--.*?-->|<!--.*|<[!/?][^>]*>?|<([a-z]+)(?=[\s/>])", re.S | re.I)
_ATTRIBUTE = re.compile(
    rb"""[\s/]*([^\s/>=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]*)))?""", re.S
)
_CHARSET = re.compile(rb"""charset\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s;"']+))""", re.I)
_XML = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([^"'>]+)["']""")


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
    """The text of a page. Never raises, whatever the bytes and the declared charset."""
    for mark, codec in _MARKS:
        if body.startswith(mark):
            return _decode_with(body[len(mark) :], codec, "bom")
    declared = _declared(body, http_charset)
    if body.isascii() and b"\x1b" not in body and b"\x00" not in body:
        codec, how = declared[0] if declared else ("utf-8", "detected")
        return Decoded(body.decode("ascii"), codec, how, 0)
    for codec, how in declared:
        text = _decode_strictly(body, codec)
        if text is not None and _is_believable(body, codec):
            return Decoded(text, codec, how, 0)
    detected = _decode_with(body, detect_encoding(body), "detected")
    if not declared or detected.encoding == declared[0][0]:
        return _decode_with(body, *declared[0]) if declared else detected
    obeyed = _decode_with(body, *declared[0])
    if detected.replaced_characters * 4 < obeyed.replaced_characters:
        return detected
    return obeyed if obeyed.replaced_characters else detected


def prescan(body: bytes) -> str | None:
    """Codec that the page declares in `meta` (HTML standard, section 13.2.3.2) or in its XML
    declaration; None when it declares none that is known.
    """
    head = body[:_PRESCAN_BYTES]
    xml = _XML.match(head)
    if xml and (codec := _narrow(xml[1])):
        return codec
    position = 0
    while tag := _TAG.search(head, position):
        position = tag.end()
        if not tag[1]:
            continue
        attributes, position = _attributes(head, position)
        if tag[1].lower() == b"meta" and (codec := _meta_codec(attributes)):
            return codec
        if tag[1].lower() == b"body":
            return None
    return None


def _declared(body: bytes, http_charset: str) -> list[tuple[str, str]]:
    """Declared codecs with their origin, the one that counts most first."""
    found = []
    if http := codec_of(http_charset):
        found.append((http, "http"))
    if meta := prescan(body):
        found.append((meta, "meta"))
    return found


def _attributes(head: bytes, position: int) -> tuple[dict[bytes, bytes], int]:
    """Attributes of the tag whose name ends at `position`, lower case, the first of a name."""
    attributes: dict[bytes, bytes] = {}
    while match := _ATTRIBUTE.match(head, position):
        position = match.end()
        value = match[2] or match[3] or match[4] or b""
        attributes.setdefault(match[1].lower(), value.lower())
    return attributes, position


def _meta_codec(attributes: dict[bytes, bytes]) -> str | None:
    if b"charset" in attributes:
        return _narrow(attributes[b"charset"])
    if attributes.get(b"http-equiv") == b"content-type":
        match = _CHARSET.search(attributes.get(b"content", b""))
        if match:
            return _narrow(match[1] or match[2] or match[3] or b"")
    return None


def _narrow(label: bytes) -> str | None:
    """A page that declares UTF-16 in ASCII letters is not in UTF-16: it counts as UTF-8."""
    codec = codec_of(label.decode("latin-1"))
    return "utf-8" if codec in ("utf-16-le", "utf-16-be") else codec


def _decode_strictly(body: bytes, codec: str) -> str | None:
    try:
        return body.decode(codec)
    except UnicodeDecodeError:
        return None


def _decode_with(body: bytes, codec: str, how: str) -> Decoded:
    text = body.decode(codec, "replace")
    return Decoded(text, codec, how, text.count("\ufffd"))


def _is_believable(body: bytes, codec: str) -> bool:
    """Whether bytes that `codec` can read are likely to be in it."""
    if codec == "utf-8":
        return True
    if _decode_strictly(body, "utf-8") is not None:
        return body.isascii()  # text in another encoding is hardly ever valid UTF-8
    if codec in _CHINESE:
        other = "gb18030" if codec == "big5hkscs" else "big5hkscs"
        score = chinese_score(body, codec)
        return score > _PLAINLY_CHINESE or chinese_score(body, other) < score + _PLAINLY_CHINESE
    if codec in _MULTI_BYTE:
        return True
    # Servers send iso-8859-1 by default, and it can read any bytes at all.
    return max(chinese_score(body, candidate) for candidate in _CHINESE) < _PLAINLY_CHINESE
