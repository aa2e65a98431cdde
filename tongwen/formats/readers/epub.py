"""The text of EPUB books (ISO/IEC 23736): one record a book, chapters in reading order."""

import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from tongwen.errors import InputError
from tongwen.formats.readers.options import MAXIMUM_BODY_BYTES, ReadOptions
from tongwen.formats.records import RawRecord

_MAXIMUM_ENTRIES = 20_000  # the directory of a ZIP is read into memory before anything else
_MAXIMUM_PACKAGE_BYTES = 4 << 20
# Only names the reason once the limit of bytes is passed: text packs 3 to 20 times.
_BOMB_RATIO = 100
_PAGE_TYPES = ("application/xhtml+xml", "text/html")
_FONT_SCRAMBLING = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt", "figcaption",
    "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav",
    "ol", "p", "pre", "section", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
})  # fmt: skip
_LEFT_OUT = frozenset({"head", "script", "style", "rt", "rp", "svg", "template"})


class _BookProblem(Exception):
    """Why there is no text: the record's problem."""


def read_epub(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """The text of a book: blocks with an empty line between them, headings marked with `#`.

    Problems: `encrypted`, `malformed` (no ZIP file, no package, or a chapter is damaged), `bomb`,
    `too_large`, `quarantined`.

    Raises:
        InputError: the file cannot be opened.
    """
    body, problem = b"", None
    if options.is_quarantined(path, 0):
        problem = "quarantined"
    else:
        try:
            body = _read(path).encode("utf-8", "replace")
            problem = "no_text" if not body else None
        except _BookProblem as error:
            problem = str(error)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    yield options.record(
        path, 0, url=path.resolve().as_uri(), body=body, is_text=True, problem=problem
    )


def _read(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            if len(archive.infolist()) > _MAXIMUM_ENTRIES:
                raise _BookProblem("too_large")
            _refuse_encrypted(archive)
            chapters: list[str] = []
            size = 0
            for name in _spine(archive):
                data = _entry(archive, name, MAXIMUM_BODY_BYTES)
                chapters.append(_chapter_text(data))
                size += len(data)
                if size > 4 * MAXIMUM_BODY_BYTES or sum(map(len, chapters)) > MAXIMUM_BODY_BYTES:
                    raise _BookProblem("too_large")
    # Damage shows as any of these, depending on where it is.
    except (
        zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, NotImplementedError,
        RuntimeError, ElementTree.ParseError,
    ) as error:  # fmt: skip
        raise _BookProblem("malformed") from error
    return "\n\n".join(chapter for chapter in chapters if chapter)


def _entry(archive: zipfile.ZipFile, name: str, limit_bytes: int) -> bytes:
    """A file of the archive, never more than a byte over the limit in memory."""
    entry = archive.getinfo(name)
    if entry.flag_bits & 1:
        raise _BookProblem("encrypted")
    with archive.open(entry) as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        is_bomb = len(data) > _BOMB_RATIO * max(1, entry.compress_size)
        raise _BookProblem("bomb" if is_bomb else "too_large")
    return data


def _xml(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    """A small XML file; expat itself stops entities that multiply."""
    return ElementTree.fromstring(_entry(archive, name, _MAXIMUM_PACKAGE_BYTES))


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _refuse_encrypted(archive: zipfile.ZipFile) -> None:
    if "META-INF/encryption.xml" not in archive.namelist():
        return
    for element in _xml(archive, "META-INF/encryption.xml").iter():
        if _local(element) == "EncryptionMethod":
            method = element.get("Algorithm", "")
            if not method.startswith(_FONT_SCRAMBLING):
                raise _BookProblem("encrypted")


def _spine(archive: zipfile.ZipFile) -> list[str]:
    """Names of the chapters in reading order, each once; those outside of it are left out."""
    container = _xml(archive, "META-INF/container.xml")
    package_name = next(
        (
            element.get("full-path", "")
            for element in container.iter()
            if _local(element) == "rootfile"
        ),
        "",
    )
    package = _xml(archive, package_name)
    folder = posixpath.dirname(package_name)
    pages: dict[str, str] = {}
    names: dict[str, None] = {}
    for element in package.iter():
        if _local(element) == "item" and element.get("media-type") in _PAGE_TYPES:
            is_contents = "nav" in element.get("properties", "").split()
            if not is_contents:
                target = unquote(element.get("href", "").partition("#")[0])
                pages[element.get("id", "")] = posixpath.normpath(posixpath.join(folder, target))
        elif _local(element) == "itemref" and element.get("linear") != "no":
            names[pages.get(element.get("idref", ""), "")] = None
    names.pop("", None)
    if not names:
        raise _BookProblem("malformed")
    return list(names)


def _chapter_text(data: bytes) -> str:
    from selectolax.lexbor import LexborHTMLParser

    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    if encoding == "utf-8" and (declared := data[:100].partition(b'encoding="')[2]):
        encoding = declared.partition(b'"')[0].decode("ascii", "replace")
    try:
        markup = data.decode(encoding, "replace")
    except LookupError:
        markup = data.decode("utf-8", "replace")
    # In XHTML an empty element may be written short; to HTML it would stay open.
    root = LexborHTMLParser(_close_short_elements(markup)).body
    return "\n\n".join(_blocks(root)) if root is not None else ""


def _close_short_elements(markup: str) -> str:
    return re.sub(
        r"<(a|title|script|style|p|div|span|i|b|em|td|th|li)(\s[^<>]*)?/>", r"<\1\2></\1>", markup
    )


def _blocks(root: object) -> Iterator[str]:
    """The text of each block; white space folded outside of `pre`. Depth costs no stack."""
    from selectolax.lexbor import LexborNode

    parts: list[str] = []
    mark, is_verbatim = "", False

    def flush() -> Iterator[str]:
        text = "".join(parts)
        parts.clear()
        if not is_verbatim:
            text = "\n".join(" ".join(line.split()) for line in text.split("\v"))
        if text.strip():
            yield mark + text.strip("\n ")

    assert isinstance(root, LexborNode)
    stack: list[tuple[LexborNode, bool]] = [(root, True)]
    while stack:
        node, is_opening = stack.pop()
        tag = node.tag or ""
        if tag in _LEFT_OUT:
            continue
        if tag == "-text":
            parts.append(node.text_content or "")
        elif tag == "br":
            parts.append("\n" if is_verbatim else "\v")
        if tag in _BLOCKS:
            yield from flush()
            if is_opening:
                is_heading = len(tag) == 2 and tag[0] == "h" and tag[1].isdigit()
                mark = "#" * int(tag[1]) + " " if is_heading else ""
                is_verbatim = tag == "pre"
            else:
                mark, is_verbatim = "", False
        if is_opening and not tag.startswith("-"):
            if tag in _BLOCKS:
                stack.append((node, False))
            stack += [(child, True) for child in reversed(list(node.iter(include_text=True)))]
    yield from flush()
