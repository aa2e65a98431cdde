"""Take stock of the raw records: which files there are, what they hold, and their digests."""

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tongwen.crawl.auto import FileNotTaken, left_out_below, not_taken_text, take_files
from tongwen.crawl.settings import FORMATS, CrawlSettings, OwnReaderSettings, SourceSettings
from tongwen.errors import InputError
from tongwen.files import file_digest, remove_tree, tree_files, write_jsonl
from tongwen.flow.stage import StageContext
from tongwen.formats.bad_files import check_bad_files
from tongwen.formats.readers.pieces import split_file
from tongwen.plugins import Code, find_code

_SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "warc": (
        *(".warc", ".warc.gz", ".warc.lz4", ".warc.zst", ".wet", ".wet.gz"),
        *(".arc", ".arc.gz"),
    ),
    "wet": (".wet", ".wet.gz"),
    "html": (".html", ".htm", ".xhtml"),
    "jsonl": (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst"),
    "json": (".json",),
    "csv": (".csv", ".tsv"),
    "parquet": (".parquet",),
    "text": (".txt", ".md"),
    "mhtml": (".mhtml", ".mht"),
    **{format: (f".{format}",) for format in ("pdf", "epub", "docx", "xlsx", "pptx")},
    "auto": ("",),
    "common-crawl": (),
}


@dataclass(frozen=True)
class _Found:
    """A file to list: where it lies, how its path is shown, and what is known of it."""

    path: Path
    shown: str
    source: SourceSettings
    name: str
    digest: str | None = None


def run(context: StageContext[CrawlSettings]) -> Mapping[str, float]:
    """Write the sample web if the recipe wants it, download what is in the net, and list all
    inputs in `inputs.jsonl`, large files in pieces.

    `downloads.jsonl` tells where each downloaded file came from, `missing.jsonl` what was not
    there, `not_taken.jsonl` what is left out and why.

    Raises:
        InputError: a source is missing, empty, or there is none.
        DiskFullError: no space is left for a download.
    """
    settings = context.settings
    if settings.sample is None and not settings.sources:
        raise InputError(
            "the recipe names nothing to crawl",
            hint="add [[crawl.sources]] with `path` and `format`, or [crawl.sample]",
        )
    for folder in ("warc", "gold", "unpacked"):  # of an earlier run
        remove_tree(context.out / folder)
    found: list[_Found] = []
    if settings.sample is not None:
        # Imported here: who brings files of his own needs no invented world.
        from tongwen.sample import write_sample_web

        write_sample_web(settings.sample, context.out)
        source = SourceSettings(path="warc", format="warc", name="sample web")
        found += [
            _Found(path, path.relative_to(context.out).as_posix(), source, source.name)
            for path in tree_files(context.out / "warc")
        ]
    suffixes = _suffixes(settings)
    downloaded = _downloaded(context, suffixes)
    for index, source in enumerate(settings.sources):
        name = source.name or _name(source)
        if index in downloaded:
            found += downloaded[index]
        else:
            files = source_files(source, suffixes)
            found += [_Found(path, str(path), source, name) for path in files]
    found, not_taken = _taken(context, found)
    if not found:  # whatever the reason
        check_bad_files([asdict(file) for file in not_taken], len(not_taken), 0, "")
    bad = [asdict(file) for file in not_taken if file.is_bad]
    check_bad_files(
        bad, len(found) + len(bad), settings.maximum_bad_files, "crawl.maximum_bad_files"
    )
    rows = _rows(context, found)
    write_jsonl(context.out / "inputs.jsonl", rows)
    counts = {"files": len(found), "bytes": sum(row["bytes"] for row in rows)}
    return counts | ({"files not taken": len(not_taken)} if not_taken else {})


def _taken(
    context: StageContext[CrawlSettings], found: Sequence[_Found]
) -> tuple[list[_Found], list[FileNotTaken]]:
    """The files that are read, each with its reader, and those that are not."""
    taken: list[_Found] = []
    not_taken: list[FileNotTaken] = []
    for source in context.settings.sources:
        if source.format == "auto" and source.path and Path(source.path).expanduser().is_dir():
            not_taken += left_out_below(Path(source.path).expanduser().absolute())
    for number, item in enumerate(found):
        if item.path.stat().st_size == 0:
            not_taken.append(
                FileNotTaken(item.shown, "empty file", "was it downloaded whole?", is_bad=True)
            )
        elif item.source.format != "auto":
            taken.append(item)
        else:
            unpacked = context.out / "unpacked" / f"{number:06d}"
            for file in take_files([(item.path, item.shown)], item.source, unpacked):
                if isinstance(file, FileNotTaken):
                    not_taken.append(file)
                    continue
                source = replace(item.source, format=file.format, text_field=file.text_field)
                # What was unpacked is named by where it lies now; the rest as the user did.
                is_ours = file.path.is_relative_to(context.out)
                shown = file.path.relative_to(context.out).as_posix() if is_ours else file.shown
                taken.append(_Found(file.path, shown, source, item.name))
    path = context.out / "not_taken.jsonl"
    path.unlink(missing_ok=True)
    if not_taken:
        write_jsonl(path, [asdict(file) for file in not_taken])
        context.progress.say(f"  not taken: {not_taken_text(not_taken)}; see {path}")
    return taken, not_taken


def _downloaded(
    context: StageContext[CrawlSettings], suffixes: Mapping[str, tuple[str, ...]]
) -> dict[int, list[_Found]]:
    """The files of the sources that are in the net, by number of the source, in the cache."""
    settings = context.settings
    remote_sources = {
        index: source
        for index, source in enumerate(settings.sources)
        if source.url or source.format == "common-crawl"
    }
    for name in ("downloads.jsonl", "missing.jsonl"):
        (context.out / name).unlink(missing_ok=True)
    if not remote_sources:
        return {}
    # Imported here: who brings files of his own needs no network libraries.
    from tongwen.crawl.remote import Remote

    own = context.out / "downloads"
    cache = Path(settings.download.cache).expanduser() if settings.download.cache else own
    remote = Remote(settings.download, cache.absolute(), context.progress)
    jobs = [
        (index, job)
        for index, source in remote_sources.items()
        for job in remote.jobs(source, _has_suffix(suffixes[source.format]))
    ]
    results = remote.run([job for _, job in jobs])
    found: dict[int, list[_Found]] = {index: [] for index in remote_sources}
    downloads: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    for (index, job), result in zip(jobs, results, strict=True):
        if result is None:
            missing.append({"url": job.url})
            continue
        path = result.path
        ours = context.out.absolute()
        shown = path.relative_to(ours).as_posix() if path.is_relative_to(ours) else str(path)
        source = job.source
        if source.format == "common-crawl":
            source = replace(source, format="warc")
        name = source.name or _crawl_name(job.url) or _name(source)
        if not result.bytes:
            raise InputError(f"{job.url} is empty", hint="leave it out")
        found[index].append(_Found(path, shown, source, name, result.digest))
        downloads.append(
            {"path": shown, "url": result.url, "bytes": result.bytes, "digest": result.digest,
             "checked": list(result.checked)}
        )  # fmt: skip
    write_jsonl(context.out / "downloads.jsonl", downloads)
    if missing:
        write_jsonl(context.out / "missing.jsonl", missing)
    return found


def _rows(context: StageContext[CrawlSettings], found: Sequence[_Found]) -> list[dict[str, Any]]:
    """A row for each file, or for each piece of a large one."""
    piece_bytes = context.settings.piece_bytes
    readers = {
        name: {"function": code.function, "module": code.module, "path": str(code.path),
               "digest": code.digest}
        for name, code in own_readers(context.settings).items()
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    context.progress.start()
    # Threads: reading, hashing and decompressing let others run.
    with ThreadPoolExecutor(context.run.workers or os.cpu_count() or 1) as pool:
        futures = [pool.submit(_file_rows, item, piece_bytes, readers) for item in found]
        try:
            for number, future in enumerate(futures, 1):
                rows += future.result()
                context.progress.update("list", number, len(found))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return rows


def files(settings: CrawlSettings) -> list[Path]:
    """The user's own files that the recipe names, each once; of Common Crawl its local lists. And
    the code of readers of his own.
    """
    suffixes = _suffixes(settings)
    sources = [source for source in settings.sources if source.path]
    data = [path for source in sources for path in source_files(source, suffixes)]
    code = [path for reader in own_readers(settings).values() for path in reader.files()]
    return list(dict.fromkeys([*data, *code]))


def own_readers(settings: CrawlSettings) -> dict[str, Code]:
    """Format -> the user's own reader, for those that a source uses.

    Raises:
        RecipeError: a file is not there, or there is no such entry point.
    """
    found: dict[str, Code] = {}
    for source in settings.sources:
        if source.format not in FORMATS:
            own = settings.readers.get(source.format, OwnReaderSettings())
            key = f"crawl.readers.{source.format}"
            found[source.format] = find_code("reader", source.format, own.path, own.function, key)
    return found


def _suffixes(settings: CrawlSettings) -> dict[str, tuple[str, ...]]:
    """Format -> endings of its files' names, with the user's own formats."""
    own = {name: code.mark().suffixes for name, code in own_readers(settings).items()}
    return {**_SUFFIXES, **own}


def source_files(
    source: SourceSettings, suffixes: Mapping[str, tuple[str, ...]] = _SUFFIXES
) -> list[Path]:
    """The files of a source, absolute and sorted.

    A file is taken whatever its suffix; of a folder, at any depth, those with one of `suffixes` of
    the source's format; of a pattern (`*`, `?`, `[...]`, `**`), the files and folders it matches.

    Raises:
        InputError: nothing is there.
    """
    assert source.path is not None
    path = Path(source.path).expanduser().absolute()
    if path.exists():
        found = list(_below(path, suffixes[source.format]))
    elif glob.has_magic(source.path):
        matches = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        found = [
            file
            for match in matches
            if not match.name.startswith(".")
            for file in _below(match, suffixes[source.format])
        ]
    else:
        raise InputError(f"there is no {path}", hint=_nearest(path))
    if not found and source.format == "auto":
        raise InputError(f"there are no files in {path}", hint="hidden files are not taken")
    if not found:
        raise InputError(
            f"no {source.format} files in {path}",
            hint=f"looked for {', '.join(suffixes[source.format])}; is `format` right?",
        )
    for file in found:
        _check_readable(file)
    return sorted(set(found))


def _check_readable(path: Path) -> None:
    """Refuse what would be waited for without end, or could not be named in the results."""
    if not path.is_file():
        raise InputError(
            f"{path} is a pipe, a socket or a device, not a file",
            hint="write what comes from it into a file first",
        )
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"the name {os.fsencode(path)!r} is not UTF-8",
            hint="rename it (convmv -f gbk -t utf8 does whole folders), or set LC_ALL=C.UTF-8",
        ) from error


def _below(path: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in tree_files(path) if file.name.lower().endswith(suffixes))
    else:
        yield path


def _has_suffix(suffixes: tuple[str, ...]) -> Callable[[str], bool]:
    return lambda name: name.lower().endswith(suffixes)


def _nearest(path: Path) -> str:
    """What is there instead of a missing path."""
    folder = next(parent for parent in path.parents if parent.is_dir())
    names = sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{folder} holds: {shown}" if names else f"{folder} is empty"


def _name(source: SourceSettings) -> str:
    """Name of the file or folder, without the part of a pattern that has wildcards."""
    if source.path is None:
        address = urlsplit(source.url)
        named = [part for part in address.path.split("/") if part and not glob.has_magic(part)]
        return named[-1] if named else address.netloc.rpartition("@")[2]
    parts = [part for part in Path(source.path).parts if not glob.has_magic(part)]
    return Path(*parts).absolute().name if parts else Path.cwd().name


def _crawl_name(url: str) -> str:
    """`CC-MAIN-2026-40` of an address below it; empty when there is none."""
    found = re.search(r"CC-(MAIN|NEWS)-\d{4}-\d{2}(?=/)", url)
    return found.group() if found else ""


def _file_rows(
    found: _Found, piece_bytes: int, readers: Mapping[str, Mapping[str, str]]
) -> list[dict[str, Any]]:
    """The rows of one file. `start`, `end` and `first_row` are those of a `Piece`, and given only
    where there are several; `reader` names the user's own, where the format has one.
    """
    path, source = found.path, found.source
    try:
        digest = found.digest or file_digest(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    whole: dict[str, Any] = {
        "path": found.shown,
        "format": source.format,
        "digest": digest,
        "source": found.name,
        "license": source.license,
        "text_field": source.text_field,
    }
    if source.trusted:
        whole["trusted"] = True
    if source.format in readers:
        whole["reader"] = readers[source.format]
    pieces = split_file(path, source.format, piece_bytes)
    if len(pieces) == 1:
        return [{**whole, "bytes": path.stat().st_size}]
    return [{**whole, **asdict(piece)} for piece in pieces]
