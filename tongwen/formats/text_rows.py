"""Texts of the user's own, one at a time: JSON Lines, Parquet, plain files, documents of a run."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.errors import InputError
from tongwen.files import tree_files
from tongwen.formats.compression import DECOMPRESSION_ERRORS, decompressed

_JSONL = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.zstd")
_TEXTS = (".txt", ".md")


def text_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files of texts, those of folders too; of a run or a curate folder its documents.

    Raises:
        InputError: one is missing, or of a kind that is not read.
    """
    for path in paths:
        if path.is_dir():
            found = _documents_of(path) or [item for item in tree_files(path) if _kind(item)]
            if not found:
                raise InputError(
                    f"no text files in the folder {path}",
                    hint=f"known endings: {', '.join((*_JSONL, '.parquet', *_TEXTS))}",
                )
            yield from found
        elif not path.is_file():
            raise InputError(f"there is no file {path}", hint="check the path")
        elif not _kind(path):
            raise InputError(
                f"{path} is not a kind of text file that training reads",
                hint=f"known endings: {', '.join((*_JSONL, '.parquet', *_TEXTS))}",
            )
        else:
            yield path


def _documents_of(folder: Path) -> list[Path]:
    """The documents of a run or of a curate folder; none when it is neither."""
    return sorted(folder.glob("curate/documents/*.parquet")) or sorted(
        folder.glob("documents/*.parquet")
    )


def _kind(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(_JSONL):
        return "jsonl"
    if name.endswith(".parquet"):
        return "parquet"
    return "text" if name.endswith(_TEXTS) else ""


def text_rows(path: Path, text_field: str = "text") -> Iterator[dict[str, Any]]:
    """Rows with `text`, `lang`, `host`, `name`, and the whole `row`.

    Raises:
        InputError: the file is damaged, or no row of it has the text field.
    """
    kind = _kind(path)
    if kind == "text":
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path} is not UTF-8 (byte {error.start})", hint="convert it to UTF-8"
            ) from error
        yield {"text": text, "lang": "", "host": "", "name": path.name, "row": {}}
        return
    rows = _json_rows(path) if kind == "jsonl" else _parquet_rows(path)
    has_text = False
    for number, row in enumerate(rows):
        value = row.get(text_field)
        if not isinstance(value, str):
            continue
        has_text = True
        lang, host = row.get("lang"), row.get("host")
        name = row.get("url") or row.get("id") or f"{path.name}#{number}"
        yield {
            "text": value,
            "lang": lang if isinstance(lang, str) else "",
            "host": host if isinstance(host, str) else "",
            "name": str(name),
            "row": row,
        }
    if not has_text:
        raise InputError(
            f"no row of {path} has the text field {text_field!r}",
            hint="name the field with --text-field",
        )


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as raw:
        file = decompressed(raw)
        try:
            for number, line in enumerate(file):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise InputError(f"line {number + 1} of {path} is no JSON object")
                yield row
        except (ValueError, *DECOMPRESSION_ERRORS) as error:
            raise InputError(
                f"cannot read {path} as JSON Lines: {error}", hint="make the file again"
            ) from error


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=256):
            yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path} as Parquet: {error}") from error
