"""The text of PDF files: one record a file.

PDFium reads them: permissive licence, supports the Chinese encodings without an embedded map, and
is compiled. It is foreign code over hostile bytes, so the current record is marked: a file that
kills the worker or takes longer than the runner allows is quarantined, the others are read.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

from tongwen.errors import InputError
from tongwen.formats.readers.options import MAXIMUM_BODY_BYTES, ReadOptions
from tongwen.formats.records import RawRecord

_MAXIMUM_FILE_BYTES = 512 << 20
_MAXIMUM_PAGES = 20_000  # bounds the time of a file
# Of some forty dense pages: drawings made of letters, hidden layers.
_MAXIMUM_PAGE_CHARACTERS = 200_000
_PASSWORD_ERRORS = (4, 5)  # FPDF_ERR_PASSWORD, FPDF_ERR_SECURITY
_SENTENCE_ENDS = tuple(".!?:;。！？：；…”’」』）)")
_SOFT_HYPHEN = "\ufffe"  # PDFium's sign for a hyphen that only the end of the line made


def read_pdf(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """The text of a PDF file, page after page.

    Problems: `encrypted` (needs a password), `malformed`, `scanned` (pages without any text),
    `too_large` (file, pages or text), `quarantined`.

    Raises:
        InputError: the file cannot be opened.
    """
    body, problem = b"", None
    if options.is_quarantined(path, 0):
        problem = "quarantined"
    else:
        body, problem = _read(path)
    yield options.record(
        path, 0, url=path.resolve().as_uri(), body=body, is_text=True, problem=problem
    )


def _read(path: Path) -> tuple[bytes, str | None]:
    import pypdfium2

    try:
        if path.stat().st_size > _MAXIMUM_FILE_BYTES:
            return b"", "too_large"
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        return b"", "encrypted" if error.err_code in _PASSWORD_ERRORS else "malformed"
    try:
        if len(document) > _MAXIMUM_PAGES:
            return b"", "too_large"
        pages: list[list[str]] = []
        size = 0
        for number in range(len(document)):
            pages.append(_page_lines(document, number))
            size += sum(map(len, pages[-1]))
            if size > MAXIMUM_BODY_BYTES:
                return b"", "too_large"
    except pypdfium2.PdfiumError:
        return b"", "malformed"
    finally:
        document.close()
    body = pages_text(pages).encode("utf-8", "replace")
    if not body:
        return b"", "scanned"
    return (body, None) if len(body) <= MAXIMUM_BODY_BYTES else (b"", "too_large")


def _page_lines(document: Any, number: int) -> list[str]:
    page = document[number]
    try:
        words = page.get_textpage()
        try:
            text: str = words.get_text_range(0, min(words.count_chars(), _MAXIMUM_PAGE_CHARACTERS))
        finally:
            words.close()
    finally:
        page.close()
    return [line.strip() for line in text.replace("\x00", "").splitlines() if line.strip()]


def pages_text(pages: Sequence[Sequence[str]]) -> str:
    """The lines of all pages as paragraphs, an empty line between them.

    A line that is first or last on at least half of the pages (four or more), whatever its
    numbers, is a running title or page number and left out. A line that is nearly full and ends no
    sentence continues in the next, even across a page break.
    """
    running = _running_lines(pages)
    lines: list[str] = []
    for page in pages:
        kept = list(page)
        if kept and _without_numbers(kept[0]) in running:
            kept.pop(0)
        if kept and _without_numbers(kept[-1]) in running:
            kept.pop()
        lines += kept
    if not lines:
        return ""
    widths = [_width(line) for line in lines]
    full = 0.75 * (quantiles(widths, n=10)[8] if len(widths) > 1 else widths[0])
    paragraphs: list[str] = []
    goes_on = False
    for line, width in zip(lines, widths, strict=True):
        if goes_on:
            paragraphs[-1] = _joined(paragraphs[-1], line)
        else:
            paragraphs.append(line)
        goes_on = line.endswith(_SOFT_HYPHEN) or (
            width >= full and not line.endswith(_SENTENCE_ENDS)
        )
    return "\n\n".join(paragraphs).replace(_SOFT_HYPHEN, "")


def _running_lines(pages: Sequence[Sequence[str]]) -> set[str]:
    counts: Counter[str] = Counter()
    for page in pages:
        if page:
            counts.update({_without_numbers(page[0]), _without_numbers(page[-1])})
    return {line for line, count in counts.items() if count >= max(4, len(pages) / 2)}


def _without_numbers(line: str) -> str:
    return "".join("0" if character.isdigit() else character for character in line).replace(
        "00", "0"
    )


def _width(line: str) -> int:
    """Columns on a page: an ideograph is as wide as two letters."""
    return sum(2 if _is_wide(character) else 1 for character in line)


def _is_wide(character: str) -> bool:
    return "\u2e80" <= character <= "\uffef"


def _joined(before: str, line: str) -> str:
    if before.endswith(_SOFT_HYPHEN):
        return before.removesuffix(_SOFT_HYPHEN) + line
    space = "" if _is_wide(before[-1]) or _is_wide(line[0]) else " "
    return before + space + line
