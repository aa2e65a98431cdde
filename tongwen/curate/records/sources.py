"""What curation reads: the crawl's list of inputs, grouped to tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tongwen.errors import InputError
from tongwen.files import file_digest, read_jsonl


@dataclass(frozen=True)
class Source:
    """One row of the crawl's `inputs.jsonl`, its path made whole.

    A large file is listed in several pieces (`readers.pieces`), one row each.
    """

    path: Path
    bytes: int
    digest: str
    format: str
    source: str
    license: str
    text_field: str
    start: int = 0
    end: int | None = None
    first_row: int = 0
    trusted: bool = False
    reader: Mapping[str, str] | None = None
    """The user's own reader of the format: function, module, path and digest."""


def read_sources(crawl: Path) -> list[Source]:
    """The crawl's list of inputs, in its frozen order. A folder without one is read as WARC files.

    Raises:
        InputError: there is nothing to read, or a listed file is gone.
    """
    listed = crawl / "inputs.jsonl"
    if listed.is_file():
        rows = list(read_jsonl(listed))
    else:
        paths = sorted([*crawl.glob("**/*.warc"), *crawl.glob("**/*.warc.gz")])
        rows = [
            {"path": str(path.relative_to(crawl)), "format": "warc", "bytes": path.stat().st_size,
             "digest": file_digest(path), "source": crawl.name, "license": "", "text_field": "text"}
            for path in paths
        ]  # fmt: skip
    if not rows:
        raise InputError(
            f"{crawl} has no inputs.jsonl and no WARC files",
            hint="make one with `tongwen crawl`, or name a folder of *.warc.gz files",
        )
    sources = [Source(**{**row, "path": crawl / row["path"]}) for row in rows]
    for source in sources:
        if not source.path.is_file():
            raise InputError(
                f"{source.path} is not there any more", hint="run `tongwen crawl` again"
            )
    return sources


def grouped(sources: Sequence[Source], task_bytes: int) -> list[list[Source]]:
    """The inputs in their order, about `task_bytes` a group."""
    groups: list[list[Source]] = []
    filled = task_bytes
    for source in sources:
        if filled >= task_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(source)
        filled += source.bytes
    return groups
