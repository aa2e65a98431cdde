"""Word, Excel and PowerPoint files of the kind that is a ZIP archive: one record a file.

Read by python-docx, openpyxl and python-pptx, which are well maintained and handle the
formats' corner cases; they come with `pip install 'tongwen[office]'`.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tongwen.errors import InputError
from tongwen.formats.readers.options import MAXIMUM_BODY_BYTES, ReadOptions
from tongwen.formats.readers.text import read_body
from tongwen.formats.records import RawRecord

_MAXIMUM_FILE_BYTES = 256 << 20
_MAXIMUM_UNPACKED_BYTES = 1 << 30
_MODULES = {"docx": "docx", "xlsx": "openpyxl", "pptx": "pptx"}


def read_office(format: str) -> Callable[[Path, ReadOptions], Iterator[RawRecord]]:
    """The reader for `docx`, `xlsx` or `pptx`."""

    def read(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
        """The text of the file: headings marked with `#`, tables as rows of cells.

        Problems: `encrypted`, `malformed`, `bomb`, `no_text`, `too_large`, `quarantined`.

        Raises:
            InputError: the file cannot be read, or the package that reads its format is missing.
        """
        check_office_package(format)
        body, problem = read_body(path, options, _MAXIMUM_FILE_BYTES)
        if problem is None:
            body, problem = _text(path, format)
        yield options.record(
            path, 0, url=path.resolve().as_uri(), body=body, is_text=True, problem=problem
        )

    return read


def check_office_package(format: str) -> None:
    """Refuse a format whose package is not installed.

    Raises:
        InputError: it is not.
    """
    from importlib.util import find_spec

    if find_spec(_MODULES[format]) is None:
        raise InputError(
            f".{format} files need the Python package `{_MODULES[format]}`",
            hint="pip install 'tongwen[office]'",
        )


def _text(path: Path, format: str) -> tuple[bytes, str | None]:
    blocks = {"docx": _word, "xlsx": _excel, "pptx": _powerpoint}[format]
    parts: list[str] = []
    size = 0
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.flag_bits & 1 for entry in archive.infolist()):
                return b"", "encrypted"
            if sum(entry.file_size for entry in archive.infolist()) > _MAXIMUM_UNPACKED_BYTES:
                return b"", "bomb"
        for block in blocks(path):
            if block.strip():
                parts.append(block.strip("\n"))
                size += len(block)
            if size > MAXIMUM_BODY_BYTES:
                return b"", "too_large"
    # Damage shows as almost anything, depending on where it is: these are foreign parsers.
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, KeyError, TypeError,
            AttributeError, IndexError, RuntimeError, SyntaxError, AssertionError):  # fmt: skip
        return b"", "malformed"
    body = "\n\n".join(parts).encode("utf-8", "replace")
    if len(body) > MAXIMUM_BODY_BYTES:
        return b"", "too_large"
    return (body, None) if body else (b"", "no_text")


def _word(path: Path) -> Iterator[str]:
    """Paragraphs and tables of the body, in their order; headers, footers and comments left out."""
    import docx
    from docx.table import Table

    for block in docx.Document(str(path)).iter_inner_content():
        if isinstance(block, Table):
            yield table_text([cell.text for cell in row.cells] for row in block.rows)
            continue
        style = (block.style.name or "") if block.style is not None else ""
        mark = ""
        if style.startswith("Heading ") and style[8:].isdigit():
            mark = "#" * min(6, int(style[8:])) + " "
        elif style == "Title":
            mark = "# "
        elif style.startswith("List"):
            mark = "- "
        if block.text.strip():
            yield mark + block.text


def _excel(path: Path) -> Iterator[str]:
    """Each sheet's name and its rows; of a formula the value that was saved with it."""
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        for sheet in book.worksheets:
            rows = ([_cell(value) for value in row] for row in sheet.iter_rows(values_only=True))
            text = table_text(row for row in rows if any(row))
            if text:
                yield f"# {sheet.title}\n\n{text}"
    finally:
        book.close()


def _powerpoint(path: Path) -> Iterator[str]:
    """The text of each slide, titles as headings, and the speaker's notes."""
    import pptx

    for slide in pptx.Presentation(str(path)).slides:
        title = slide.shapes.title
        for shape in _shapes(slide.shapes):
            if shape.has_text_frame and shape.text_frame.text.strip():
                is_title = title is not None and shape.shape_id == title.shape_id
                yield ("## " if is_title else "") + shape.text_frame.text
            elif getattr(shape, "has_table", False):
                yield table_text([cell.text for cell in row.cells] for row in shape.table.rows)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            yield slide.notes_slide.notes_text_frame.text


def _shapes(shapes: Iterable[Any]) -> Iterator[Any]:
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def table_text(rows: Iterable[Iterable[str]]) -> str:
    """Rows as a Markdown table without its rule: cells between bars, line breaks as spaces."""
    lines = []
    for row in rows:
        cells = [" ".join(cell.split()) for cell in row]
        if any(cells):
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
