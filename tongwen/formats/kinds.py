"""The kind of a file by its content; the name only decides between formats that look alike."""

import gzip
import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from tongwen.errors import InputError
from tongwen.formats.charset.decode import decode

_HEAD_BYTES = 1 << 16

_READ_BY_MAGIC = (
    (b"%PDF-", "pdf"),
    (b"PAR1", "parquet"),
    (b"WARC/", "warc"),
    (b"filedesc:", "warc"),
)
_REFUSED_BY_MAGIC = (
    (b"\x89PNG", "image"), (b"\xff\xd8\xff", "image"), (b"GIF8", "image"), (b"BM", "image"),
    (b"II*\x00", "image"), (b"MM\x00*", "image"), (b"\x00\x00\x01\x00", "image"),
    (b"\xd0\xcf\x11\xe0", "old office file"), (b"Rar!", "archive"), (b"7z\xbc\xaf", "archive"),
    (b"\xfd7zXZ", "archive"), (b"BZh", "archive"), (b"\x7fELF", "program"), (b"MZ", "program"),
    (b"ID3", "audio"), (b"OggS", "audio"), (b"fLaC", "audio"), (b"SQLite format 3", "database"),
    (b"\x00\x01\x00\x00\x00", "font"), (b"OTTO", "font"), (b"wOF", "font"),
)  # fmt: skip
_REFUSED_HINTS = {
    "old office file": "save it as .docx, .xlsx or .pptx",
    "archive": "unpack it; ZIP and gzip are read as they are",
    "image": "its text would need character recognition",
}
_OFFICE_PARTS = (("word/document.xml", "docx"), ("xl/workbook.xml", "xlsx"),
                 ("ppt/presentation.xml", "pptx"))  # fmt: skip
_HTML_SUFFIXES = frozenset({".html", ".htm", ".xhtml"})
_TABLE_SUFFIXES = frozenset({".csv", ".tsv"})
_ROW_SUFFIXES = frozenset({".jsonl", ".ndjson", ".json"})
_HTML_STARTS = ("<!doctype html", "<html", "<head", "<body", "<?xml")


@dataclass(frozen=True)
class FileKind:
    """What a file is.

    Attributes:
        format: a reader's name, `zip` or `gzip` for what is to be unpacked first; None when nothing
            can read it.
        name: in a word, for counting (`image`, `archive`, ...); the format where there is one.
        hint: what can be done about a file that is not read.
    """

    format: str | None
    name: str
    hint: str = ""


def kind_of(path: Path) -> FileKind:
    """The kind of a file, from its first 64 KiB and its suffix.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        is_whole = path.stat().st_size <= len(head)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    return kind_of_bytes(head, path.suffix.lower(), path.name.lower(), is_whole=is_whole)


def kind_of_bytes(head: bytes, suffix: str, name: str = "", *, is_whole: bool = True) -> FileKind:
    """The kind of a file that begins with `head` and is not a ZIP archive.

    Args:
        head: its first bytes.
        suffix: of its name, in lower case.
        name: the whole name, in lower case, for what lies inside of a compressed file.
        is_whole: `head` is all of it.
    """
    if not head:
        return FileKind(None, "empty file", "was it downloaded whole?")
    for magic, format in _READ_BY_MAGIC:
        if head.startswith(magic):
            return FileKind(format, format)
    if head.startswith(b"\x1f\x8b"):
        return _kind_of_packed(_gunzip(head), name.removesuffix(".gz"))
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _kind_of_packed(_unzstd(head), name.removesuffix(".zst"))
    for magic, refused in _REFUSED_BY_MAGIC:
        if head.startswith(magic) and not (len(magic) == 2 and _is_text(head)):
            return _refused(refused)
    if head[4:8] == b"ftyp" or head[:4] == b"RIFF":
        return _refused("image" if head[8:12] == b"WEBP" else "video")
    if not _is_text(head):
        return _refused("binary file")
    return _kind_of_text(head, suffix, is_whole=is_whole)


def _refused(name: str) -> FileKind:
    return FileKind(None, name, _REFUSED_HINTS.get(name, ""))


def _kind_of_zip(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            for part, format in _OFFICE_PARTS:
                if part in names:
                    return FileKind(format, format)
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                kind = archive.read("mimetype").strip()
                if kind == b"application/epub+zip":
                    return FileKind("epub", "epub")
                if kind.startswith(b"application/vnd.oasis.opendocument"):
                    return FileKind(None, "OpenDocument file", "save it as .docx, .xlsx or .pptx")
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, ValueError):
        return FileKind(None, "damaged ZIP archive", "was it downloaded whole?")
    if "META-INF/container.xml" in names:
        return FileKind("epub", "epub")
    return FileKind("zip", "zip")


def _kind_of_packed(head: bytes | None, name: str) -> FileKind:
    """The kind of a compressed file: what the reader of its content takes as it is, or `gzip`."""
    if head is None:
        return FileKind(None, "damaged compressed file", "was it downloaded whole?")
    suffix = Path(name).suffix
    inside = kind_of_bytes(head, suffix, name, is_whole=False)
    if inside.format in ("warc", "jsonl"):  # their readers undo the compression
        return inside
    return FileKind("gzip", "gzip") if inside.format is not None else inside


def _gunzip(head: bytes) -> bytes | None:
    decoder = zlib.decompressobj(wbits=31)
    try:
        return decoder.decompress(head, _HEAD_BYTES)
    except zlib.error:
        return None


def _unzstd(head: bytes) -> bytes | None:
    import zstandard

    try:
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(head)).read(_HEAD_BYTES)
    except zstandard.ZstdError:
        return None


def _is_text(head: bytes) -> bool:
    """Whether bytes can be text: no controls but white space, or UTF-16, or UTF-8 throughout."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    controls = sum(head.count(bytes((code,))) for code in (*range(9), *range(14, 27), 28, 29, 30))
    if b"\x00" in head:
        return decode(head, "").encoding.startswith("utf-16")
    return controls * 200 <= len(head)


def _kind_of_text(head: bytes, suffix: str, *, is_whole: bool) -> FileKind:
    text = decode(head, "").text.lstrip("\ufeff \t\r\n")
    start = text[:4096].lower()
    if "mime-version:" in start and "multipart/related" in start:
        return FileKind("mhtml", "mhtml")
    if suffix in _TABLE_SUFFIXES:
        return FileKind("csv", "csv")
    if suffix in _ROW_SUFFIXES or text.startswith(("{", "[")):
        kind = _json_kind(text, is_whole=is_whole)
        if kind is not None:
            return FileKind(kind, kind)
    if suffix in _HTML_SUFFIXES or (start.startswith(_HTML_STARTS) and "<html" in start):
        return FileKind("html", "html")
    return FileKind("text", "text")


def _json_kind(text: str, *, is_whole: bool) -> str | None:
    """`jsonl` where the first line is an object, `json` for one value over all lines."""
    first, newline, _ = text.partition("\n")
    try:
        if isinstance(json.loads(first), dict):
            return "jsonl"
    except (ValueError, RecursionError):
        if not newline and not is_whole and text.startswith("{"):
            return "jsonl"  # a first line longer than what was read
    if text.startswith("["):
        inner = text[1:].lstrip()
        return "json" if inner.startswith(("{", '"', "[", "]")) else None
    if text.startswith("{"):
        if is_whole:
            try:
                json.loads(text)
            except (ValueError, RecursionError):
                return None
        return "json"
    return None


def unpack_gzip(path: Path) -> bytes:
    """The content of a small gzip or Zstandard file that holds one text.

    Raises:
        InputError: it is damaged, or larger than a text may be.
    """
    import zstandard

    from tongwen.formats.readers.options import MAXIMUM_BODY_BYTES

    try:
        with path.open("rb") as raw:
            magic = raw.read(2)
            raw.seek(0)
            if magic == b"\x1f\x8b":
                data = gzip.GzipFile(fileobj=raw).read(MAXIMUM_BODY_BYTES + 1)
            else:
                data = zstandard.ZstdDecompressor().stream_reader(raw).read(MAXIMUM_BODY_BYTES + 1)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise InputError(f"{path} is damaged: {error}", hint="download it again") from error
    if len(data) > MAXIMUM_BODY_BYTES:
        raise InputError(f"{path} unpacks to more than {MAXIMUM_BODY_BYTES >> 20} MiB")
    return data
