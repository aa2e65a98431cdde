"""Raw records out of the user's files: web archives, HTML, JSON Lines, Parquet, text, books."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tongwen.formats.readers.options import Piece, ReadCounts, ReadOptions
from tongwen.formats.records import RawRecord
from tongwen.plugins import Code

__all__ = ["Piece", "ReadCounts", "read_records"]


def read_records(
    path: Path,
    format: str,
    *,
    text_field: str = "text",
    source: str = "",
    license: str = "",
    mark: Callable[[str], None] | None = None,
    skip: frozenset[str] = frozenset(),
    counts: ReadCounts | None = None,
    piece: Piece | None = None,
    reader: Code | None = None,
) -> Iterator[RawRecord]:
    """The raw records of one file or a piece of it, in file order, one in memory at a time.

    A record that cannot be read whole has no body; its `problem` says why.
    `mark` is called with the record's id `FILE@OFFSET` before it is handled; ids in `skip` are
    given with the problem `quarantined`. `counts` is filled while the records are read. `reader` is
    the user's own function for a format that is not built in.

    Raises:
        InputError: nothing can be read from the file.
    """
    # A reader is imported when it is used: pyarrow and zstandard cost more than the others' work.
    options = ReadOptions(
        text_field=text_field,
        source=source,
        license=license,
        mark=mark,
        skip=skip,
        counts=counts if counts is not None else ReadCounts(),
        piece=piece or Piece(),
    )
    if reader is not None:
        from tongwen.formats.readers.own import read_own

        return read_own(path, options, reader)
    if format in ("warc", "wet"):
        from tongwen.formats.readers.warc import read_warc

        return read_warc(path, options)
    if format == "html":
        from tongwen.formats.readers.text import read_html

        return read_html(path, options)
    if format == "jsonl":
        from tongwen.formats.readers.rows import read_jsonl_records

        return read_jsonl_records(path, options)
    if format == "parquet":
        from tongwen.formats.readers.rows import read_parquet

        return read_parquet(path, options)
    if format == "text":
        from tongwen.formats.readers.text import read_text

        return read_text(path, options)
    if format == "pdf":
        from tongwen.formats.readers.pdf import read_pdf

        return read_pdf(path, options)
    if format == "json":
        from tongwen.formats.readers.rows import read_json

        return read_json(path, options)
    if format == "csv":
        from tongwen.formats.readers.rows import read_csv

        return read_csv(path, options)
    if format == "mhtml":
        from tongwen.formats.readers.mhtml import read_mhtml

        return read_mhtml(path, options)
    if format in ("docx", "xlsx", "pptx"):
        from tongwen.formats.readers.office import read_office

        return read_office(format)(path, options)
    if format == "epub":
        from tongwen.formats.readers.epub import read_epub

        return read_epub(path, options)
    raise ValueError(f"unknown format {format!r}")
