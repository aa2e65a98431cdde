"""Tokenizers side by side on the user's texts: `tongwen tokenizer compare`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tongwen.errors import InputError
from tongwen.formats.documents import read_documents
from tongwen.formats.readers import read_records
from tongwen.tokenizer.report import DIGITS, Texts, compare
from tongwen.tokenizer.sides import FAST_FILE, Side, open_sides
from tongwen.tokenizer.text import MODEL_FILE

_FORMATS = {".jsonl": "jsonl", ".jsonl.gz": "jsonl", ".jsonl.zst": "jsonl", ".ndjson": "jsonl",
            ".txt": "text", ".md": "text"}  # fmt: skip
_ROWS = (
    ("bytes_per_token", "bytes per token"),
    ("tokens_per_word", "tokens per word"),
    ("tokens_per_character", "tokens per character"),
    ("byte_token_share", "byte tokens"),
)


def read_texts(path: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of the documents of a curate stage, or of text and JSON Lines files.

    A document has its own language; other files have none, so their texts are counted under the
    name of the file: `code.jsonl` is `code`, `zh-Hant.txt` is `zh-Hant`.

    Raises:
        InputError: there is nothing to read, or a file cannot be read.
    """
    if not path.exists():
        raise InputError(f"there are no texts at {path}", hint="give a folder or a file")
    if path.is_dir() and (any(path.glob("documents/*.parquet")) or any(path.glob("*.parquet"))):
        for row in read_documents(path, ["lang", "text"]):
            yield row["lang"], row["text"]
        return
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    known = [(file, ending) for file in files for ending in _FORMATS
             if file.name.lower().endswith(ending)]  # fmt: skip
    if not known:
        raise InputError(
            f"no texts in {path}",
            hint=f"give a folder of documents (*.parquet), or files {', '.join(_FORMATS)}",
        )
    for file, ending in known:
        for record in read_records(file, _FORMATS[ending]):
            if record.problem is None:
                yield file.name[: -len(ending)], record.body.decode("utf-8", "replace")


def open_side(folder: Path) -> Side:
    """How the tokenizer of a folder is run here: its `tokenizer.model`, else `tokenizer.json`.

    A `tokenizer.model` that is not a SentencePiece model (some models ship other files under that
    name) is passed over when there is a `tokenizer.json`.

    Raises:
        InputError: see `open_sides`.
    """
    model, fast = folder / MODEL_FILE, folder / FAST_FILE
    if model.exists() and fast.exists():
        try:
            return open_sides(model)[0]
        except InputError:
            return open_sides(fast)[0]
    return open_sides(folder)[0]


def compare_folders(texts: Path, folders: Sequence[Path], *, measured_bytes: int) -> dict[str, Any]:
    """Measure the tokenizers of several folders on the same texts; see `compare`.

    Raises:
        InputError: see `read_texts` and `open_side`; or there is no text.
    """
    sides = {str(folder): open_side(folder) for folder in folders}
    gathered = Texts.gather(read_texts(texts), measured_bytes=measured_bytes)
    if not any(text for part in gathered.by_language.values() for text in part):
        raise InputError(f"all texts at {texts} are empty", hint="give texts with content")
    return compare(sides, gathered)


def table(found: dict[str, Any]) -> str:
    """A comparison as text for a terminal: a block for each rate, a column for each tokenizer."""
    tokenizers = found["tokenizers"]
    names = _short_names(list(tokenizers))
    rows = [["", *(f"{names[name]} ({tokenizers[name]['kind']})" for name in tokenizers)]]
    for key, title in _ROWS:
        rows.append([title, *("" for _ in tokenizers)])
        for language in found["texts"]:
            values = [result["languages"][language][key] for result in tokenizers.values()]
            best = max(values) if key == "bytes_per_token" else min(values)
            rows.append([f"  {language}", *(_cell(key, value, value == best and len(values) > 1)
                                            for value in values)])  # fmt: skip
    results = tokenizers.values()
    rows += [
        ["mean bytes per token", *(f"{item['mean_bytes_per_token']:.3f}  " for item in results)],
        ["pieces", *(f"{item['size']:,}  " for item in results)],
        ["unused pieces", *(f"{item['unused_pieces']:,}  " for item in results)],
        ["texts not given back", *(f"{item['texts_failed']:,}  " for item in results)],
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width
                                              in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in rows
    ]  # fmt: skip
    for name, item in tokenizers.items():
        lines += [f"{names[name]}: {example}" for example in item["failure_examples"][:1]]
    documents = sum(item["documents"] for language, item in found["texts"].items()
                    if language != DIGITS)  # fmt: skip
    if found["best"] is None:
        lines.append(f"best: none gives all {documents:,} texts back")
    else:
        lines.append(
            f"best: {found['best']} (mean bytes per token, of those that give all "
            f"{documents:,} texts back)"
        )
    return "\n".join(lines)


def _cell(key: str, value: float, is_best: bool) -> str:
    text = f"{100 * value:.2f} %" if key == "byte_token_share" else f"{value:.3f}"
    return text + (" *" if is_best else "  ")


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """The last part of every path where these differ, else the whole path."""
    short = [Path(name).name or name for name in names]
    return dict(zip(names, short if len(set(short)) == len(short) else names, strict=True))
