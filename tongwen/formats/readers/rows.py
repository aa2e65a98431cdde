"""Texts in rows: JSON Lines (plain, gzip or Zstandard), JSON arrays, CSV and Parquet."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.errors import InputError
from tongwen.formats.charset.detect import detect_encoding
from tongwen.formats.compression import DECOMPRESSION_ERRORS, decompressed
from tongwen.formats.readers.options import MAXIMUM_BODY_BYTES, Piece, ReadOptions
from tongwen.formats.records import RawRecord

_ENCODING_SAMPLE_BYTES = 1 << 16
_MAXIMUM_UTF16_BYTES = 512 << 20
_MAXIMUM_JSON_BYTES = 1 << 30


def read_jsonl_records(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """A record a line; `url`, `date` and `license` of the row are taken over where it has them.

    Lines are UTF-8 or, where the beginning of the file is not, in the encoding it looks like.

    Problems: `bad_json` (no JSON object), `no_text` (the text field is missing or no string),
    `too_large`, `truncated` (the compressed file ends early), `quarantined`.

    Raises:
        InputError: the file cannot be opened, or no line of it holds a text.
    """
    texts, fields, is_cut = 0, set[str](), False
    encoding = row_encoding(path)
    for number, line in enumerate(_lines(path, options.piece, encoding), options.piece.first_row):
        if line is None:
            is_cut = True
            yield options.record(path, number, url=_row_url(path, number), problem="truncated")
            break
        if not line.strip():
            continue
        record = _line_record(path, number, line, encoding, options, fields)
        texts += record.problem not in ("bad_json", "no_text")
        yield record
    if not options.piece.is_first:
        return  # that the first piece has no text is telling; of another it may be so
    if is_cut and not texts:
        raise InputError(
            f"{path} is cut off or damaged before its first text", hint="download it again"
        )
    if not texts and not fields:
        raise InputError(
            f"no line of {path} is a JSON object",
            hint='one JSON array over many lines is read with `format = "json"`',
        )
    if not texts:
        found = ", ".join(sorted(fields)[:10])
        raise InputError(
            f"no line of {path} has the text field {options.text_field!r}"
            + (f" (fields: {found})" if found else ""),
            hint="name the field that holds the text as `text_field` of the source",
        )


def read_json(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """A record for each object of a JSON array, or of the longest array in a JSON object.

    Raises:
        InputError: not JSON, no array of objects, too large, or no object has the text field.
    """
    value = json_value(path)
    rows = json_rows(value)
    if not rows:
        raise InputError(f"{path} holds no JSON array of objects")
    if not any(isinstance(row.get(options.text_field), str) for row in rows):
        raise _no_text_field(path, options.text_field, rows[0])
    for number, row in enumerate(rows):
        yield _row_record(path, number, row, options)


def json_value(path: Path) -> Any:
    """The value of a JSON file in any encoding.

    Raises:
        InputError: it cannot be read, is not JSON, or is too large to be read as a whole.
    """
    from tongwen.formats.charset.decode import decode

    try:
        if path.stat().st_size > _MAXIMUM_JSON_BYTES:
            raise InputError(
                f"{path} is one JSON value of more than {_MAXIMUM_JSON_BYTES >> 20} MiB",
                hint="write one object a line (JSON Lines): jq -c '.[]' file.json > file.jsonl",
            )
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        return json.loads(decode(data, "").text.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error


def json_rows(value: Any) -> list[dict[str, Any]]:
    """The objects of an array, or of the longest array of objects among an object's values."""
    if isinstance(value, dict):
        arrays = [json_rows(item) for item in value.values() if isinstance(item, list)]
        return max(arrays, key=len, default=[])
    if not isinstance(value, list):
        return []
    rows = [item for item in value if isinstance(item, dict)]
    return rows or [{"text": item} for item in value if isinstance(item, str)]


def read_csv(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """A record a row of a CSV or TSV file with a header that names the text field; of a table
    without such a column one record, the table with its cells between bars.

    Problems: `too_large`, `no_text`, `quarantined`.

    Raises:
        InputError: the file cannot be read.
    """
    from tongwen.formats.readers.office import table_text
    from tongwen.formats.readers.text import read_body

    body, problem = read_body(path, options)
    table = list(csv_table(path, body)) if problem is None else []
    if not table or options.text_field not in table[0]:
        text = table_text(table).encode("utf-8", "replace")
        problem = problem or (None if text else "no_text")
        yield options.record(
            path, 0, url=path.resolve().as_uri(), body=text, is_text=True, problem=problem
        )
        return
    for number, row in enumerate(table[1:]):
        yield _row_record(path, number, dict(zip(table[0], row, strict=False)), options)


def csv_table(path: Path, body: bytes) -> Iterable[list[str]]:
    """The rows of a CSV or TSV file in any encoding; the delimiter is found out."""
    from tongwen.formats.charset.decode import decode

    text = decode(body, "").text
    try:
        dialect: Any = csv.Sniffer().sniff(text[:_ENCODING_SAMPLE_BYTES], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel_tab if path.suffix.lower() == ".tsv" else csv.excel
    csv.field_size_limit(MAXIMUM_BODY_BYTES)
    return csv.reader(io.StringIO(text, newline=""), dialect)


def _no_text_field(path: Path, text_field: str, row: dict[str, Any]) -> InputError:
    return InputError(
        f"no row of {path} has the text field {text_field!r} "
        f"(fields: {', '.join(sorted(row)[:10])})",
        hint="name the field that holds the text as `text_field` of the source",
    )


_TEXT_FIELDS = ("text", "content", "body", "正文", "内容", "文本", "article", "document", "passage")
_LEAST_TEXT_CHARACTERS = 40  # on average: a shorter field is a title or a name


def text_field_of(rows: list[dict[str, Any]]) -> str | None:
    """The field of some rows that looks like the text: by its name, else the one with the longest
    strings, of 40 characters at least on average; None when there is none.
    """
    strings: dict[str, list[int]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(name, str) and isinstance(value, str):
                strings.setdefault(name, []).append(len(value))
    for name in _TEXT_FIELDS:
        if name in strings:
            return name
    lengths = {name: sum(found) / len(rows) for name, found in strings.items()}
    longest = max(lengths, key=lambda name: lengths[name], default=None)
    if longest is None or lengths[longest] < _LEAST_TEXT_CHARACTERS:
        return None
    return longest


def first_rows(path: Path, format: str, number: int = 50) -> list[dict[str, Any]]:
    """Some rows of a `jsonl`, `json`, `csv` or `parquet` file, to look at.

    Raises:
        InputError: it cannot be read.
    """
    if format == "json":
        return json_rows(json_value(path))[:number]
    if format == "parquet":
        try:
            batch = next(pq.ParquetFile(path).iter_batches(batch_size=number), None)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot read {path} as Parquet: {error}") from error
        return batch.to_pylist() if batch is not None else []
    if format == "csv":
        with path.open("rb") as file:
            table = list(csv_table(path, file.read(_ENCODING_SAMPLE_BYTES)))[: number + 1]
        return [dict(zip(table[0], row, strict=False)) for row in table[1:]] if table else []
    encoding = row_encoding(path)
    rows = []
    for line in _lines(path, Piece(), encoding):
        try:
            codec = "utf-8" if encoding.startswith("utf-16") else encoding
            row = json.loads((line or b"").decode(codec, "replace").lstrip("\ufeff"))
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
        if len(rows) == number:
            break
    return rows


def read_parquet(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """A record a row; `url`, `date` and `license` columns are taken over where there are any.

    A piece of the file is a range of its row groups.

    Raises:
        InputError: the file is not a Parquet file, or has no such text column.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path} as Parquet: {error}") from error
    names = file.schema_arrow.names
    if options.text_field not in names:
        raise InputError(
            f"{path} has no column {options.text_field!r} (columns: {', '.join(names)})",
            hint="name the column that holds the text as `text_field` of the source",
        )
    columns = [name for name in (options.text_field, "url", "date", "license") if name in names]
    number = options.piece.first_row
    groups = range(options.piece.start, options.piece.end or file.num_row_groups)
    try:
        for batch in file.iter_batches(
            batch_size=256, row_groups=groups, columns=list(dict.fromkeys(columns))
        ):
            for row in batch.to_pylist():
                yield _row_record(path, number, row, options)
                number += 1
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path} beyond row {number}: {error}") from error


def row_encoding(path: Path) -> str:
    """Name of the codec that the rows of a file are in, compressed or not: mostly `utf-8`."""
    whole = Piece()
    head = b""
    for line in _lines(path, whole, "utf-8"):
        head += line or b""
        if line is None or len(head) > _ENCODING_SAMPLE_BYTES:
            break
    for mark, codec in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(mark):
            return codec
    return detect_encoding(head[:_ENCODING_SAMPLE_BYTES])


def row_lines(path: Path, encoding: str) -> Iterator[bytes | None]:
    """The lines of a file, compressed or not, that is in `encoding` (see `row_encoding`).

    None comes last for a compressed file that is cut off or damaged. Lines of UTF-16 are given in
    UTF-8. A line of more than 20 MiB is cut.

    Raises:
        InputError: it cannot be read.
    """
    return _lines(path, Piece(), encoding)


def _lines(path: Path, piece: Piece, encoding: str) -> Iterator[bytes | None]:
    """The lines of a piece; None for the end of a compressed file that is cut off or damaged.

    A line that is longer than a text may be is given up to that length. Lines of UTF-16 are given
    in UTF-8, since their line ends are not single bytes.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    with raw:
        position, end = piece.start, piece.end
        file = decompressed(raw, piece.start)
        if encoding.startswith("utf-16"):
            text = file.read(_MAXIMUM_UTF16_BYTES + 1)
            if len(text) > _MAXIMUM_UTF16_BYTES:
                raise InputError(
                    f"{path} is UTF-16 and larger than {_MAXIMUM_UTF16_BYTES >> 20} MiB",
                    hint=f"iconv -f UTF-16 -t UTF-8 {path.name} > utf8-{path.name}",
                )
            # Not `splitlines`: JSON may hold other characters that end a line, such as U+2028.
            lines = text.decode(encoding, "replace").split("\n")
            yield from (f"{line}\n".encode() for line in lines[:-1])
            if lines[-1]:
                yield lines[-1].encode()
            return
        limit = MAXIMUM_BODY_BYTES + (1 << 20)
        try:
            while (end is None or position < end) and (line := file.readline(limit)):
                yield line
                position += len(line)
                while len(line) == limit and not line.endswith(b"\n"):
                    line = file.readline(limit)
                    position += len(line)
        except DECOMPRESSION_ERRORS:
            yield None


def _row_url(path: Path, number: int) -> str:
    return f"{path.resolve().as_uri()}#{number}"


def _line_record(
    path: Path, number: int, line: bytes, encoding: str, options: ReadOptions, fields: set[str]
) -> RawRecord:
    if len(line) > MAXIMUM_BODY_BYTES:
        return options.record(path, number, url=_row_url(path, number), problem="too_large")
    try:
        codec = "utf-8" if encoding.startswith("utf-16") else encoding
        row = json.loads(line.decode(codec, "replace").lstrip("\ufeff"))
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        return options.record(path, number, url=_row_url(path, number), problem="bad_json")
    if len(fields) < 100:
        fields.update(row)
    return _row_record(path, number, row, options, encoding)


def _row_record(
    path: Path, number: int, row: dict[str, Any], options: ReadOptions, encoding: str = ""
) -> RawRecord:
    def text_of(name: str) -> str:
        value = row.get(name)
        return value if isinstance(value, str) else "" if value is None else str(value)

    text = row.get(options.text_field)
    body, problem = b"", None
    if not isinstance(text, str):
        problem = "no_text"
    elif options.is_quarantined(path, number):
        problem = "quarantined"
    else:
        # A lone surrogate, which JSON can write, has no UTF-8 form.
        body = text.encode("utf-8", "replace")
        if len(body) > MAXIMUM_BODY_BYTES:
            body, problem = b"", "too_large"
    return options.record(
        path,
        number,
        url=text_of("url") or _row_url(path, number),
        date=text_of("date"),
        body=body,
        is_text=True,
        problem=problem,
        charset=encoding,
        license=text_of("license"),
    )
