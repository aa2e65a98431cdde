"""Take stock of the raw records: which files there are, what they hold, and their digests."""

import glob
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tongwen.crawl.settings import SourceFormat, SourceSettings
from tongwen.errors import InputError
from tongwen.files import file_digest, remove_tree, tree_files, write_jsonl
from tongwen.flow.stage import StageContext
from tongwen.recipe.schema import Recipe

_SUFFIXES: Mapping[SourceFormat, tuple[str, ...]] = {
    "warc": (".warc", ".warc.gz", ".wet", ".wet.gz"),
    "html": (".html", ".htm", ".xhtml"),
    "jsonl": (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst"),
    "parquet": (".parquet",),
    "text": (".txt", ".md"),
}


def run(context: StageContext) -> Mapping[str, float]:
    """Write the sample web if the recipe wants it, and list all inputs in `inputs.jsonl`.

    Raises:
        InputError: a source is missing, empty, or there is none.
    """
    settings = context.recipe.crawl
    if settings.sample is None and not settings.sources:
        raise InputError(
            "the recipe names nothing to crawl",
            hint="add [[crawl.sources]] with `path` and `format`, or [crawl.sample]",
        )
    for folder in ("warc", "gold"):  # of an earlier sample web, maybe a larger one
        remove_tree(context.out / folder)
    rows: list[dict[str, Any]] = []
    if settings.sample is not None:
        # Imported here: who brings files of his own needs no invented world.
        from tongwen.crawl.sample import write_sample_web

        write_sample_web(settings.sample, context.out)
        source = SourceSettings(path="warc", format="warc", name="sample web")
        rows += [
            _row(path, path.relative_to(context.out).as_posix(), source, source.name)
            for path in tree_files(context.out / "warc")
        ]
    for source in settings.sources:
        rows += [
            _row(path, str(path), source, source.name or _name(source))
            for path in source_files(source)
        ]
    write_jsonl(context.out / "inputs.jsonl", rows)
    return {"files": len(rows), "bytes": sum(row["bytes"] for row in rows)}


def files(recipe: Recipe) -> list[Path]:
    """The user's own files that the recipe names, each once."""
    return list(
        dict.fromkeys(path for source in recipe.crawl.sources for path in source_files(source))
    )


def source_files(source: SourceSettings) -> list[Path]:
    """The files of a source, absolute and sorted.

    A file is taken whatever its suffix; of a folder, at any depth, those with a suffix of the
    source's format; of a pattern (`*`, `?`, `[...]`, `**`), the files and folders it matches.

    Raises:
        InputError: nothing is there, or one of the files is empty.
    """
    path = Path(source.path).expanduser().absolute()
    if path.exists():
        found = list(_below(path, source.format))
    elif glob.has_magic(source.path):
        matches = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        found = [
            file
            for match in matches
            if not match.name.startswith(".")
            for file in _below(match, source.format)
        ]
    else:
        raise InputError(f"there is no {path}", hint=_nearest(path))
    if not found:
        suffixes = ", ".join(_SUFFIXES[source.format])
        raise InputError(
            f"no {source.format} files in {path}",
            hint=f"looked for {suffixes}; is `format` right?",
        )
    for file in found:
        if file.stat().st_size == 0:
            raise InputError(f"{file} is empty", hint="was it downloaded whole? else remove it")
    return sorted(set(found))


def _below(path: Path, format: SourceFormat) -> Iterator[Path]:
    if path.is_dir():
        suffixes = _SUFFIXES[format]
        yield from (file for file in tree_files(path) if file.name.lower().endswith(suffixes))
    else:
        yield path


def _nearest(path: Path) -> str:
    """What is there instead of a missing path."""
    folder = next(parent for parent in path.parents if parent.is_dir())
    names = sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{folder} holds: {shown}" if names else f"{folder} is empty"


def _name(source: SourceSettings) -> str:
    """Name of the file or folder, without the part of a pattern that has wildcards."""
    parts = [part for part in Path(source.path).parts if not glob.has_magic(part)]
    return Path(*parts).absolute().name if parts else Path.cwd().name


def _row(path: Path, shown: str, source: SourceSettings, name: str) -> dict[str, Any]:
    try:
        size, digest = path.stat().st_size, file_digest(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return {
        "path": shown,
        "format": source.format,
        "bytes": size,
        "digest": digest,
        "source": name,
        "license": source.license,
        "text_field": source.text_field,
    }
