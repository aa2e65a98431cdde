"""Settings of the crawl stage."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import parse_qsl, urlsplit

from tongwen.errors import RecipeError
from tongwen.plugins import entry_names
from tongwen.sample.settings import SampleWebSettings
from tongwen.settings import PathText

SourceFormat = Literal[
    "auto", "warc", "wet", "html", "mhtml", "jsonl", "json", "csv", "parquet", "text", "pdf",
    "epub", "docx", "xlsx", "pptx", "common-crawl",
]  # fmt: skip
FORMATS: tuple[str, ...] = get_args(SourceFormat)
_FORMAT_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SECRET_NAME = re.compile(r"key|secret|token|passw|signature|credential|^sig$", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{\w+\}")


@dataclass(frozen=True, kw_only=True)
class SelectSettings:
    """Which lines of a paths file or index are taken. What is given applies in this order."""

    numbers: tuple[int, ...] = ()
    """Line numbers, counted from 0."""
    every: int | None = None
    """One line in this many, beginning with the first."""
    sample: int | None = None
    """Number of lines to draw at random with `seed`; they keep their order."""
    seed: int = 1862
    """Seed of `sample`."""
    first: int | None = None
    """Take only this many lines from the start."""

    def __post_init__(self) -> None:
        for name in ("every", "sample", "first"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RecipeError(f"select.{name} is {value}", hint="use 1 or more")
        if any(number < 0 for number in self.numbers):
            raise RecipeError("select.numbers has a negative one", hint="lines count from 0")


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """Your own files, or remote ones."""

    path: PathText | None = None
    """File, folder or glob pattern, relative to the recipe file."""
    url: str = ""
    """Instead of `path`: `https://...`, or `s3://...`, `gs://...`, `hf://...` and whatever else
    fsspec reads, folders and patterns included. `${NAME}` stands for an environment variable;
    keys are given this way and are never written in a recipe."""
    format: str = "auto"
    """Format of the files: one of ours (warc, jsonl, html, ...), or one that `[crawl.readers]`
    or an installed package adds. `auto` recognizes each file by its content; ZIP and gzip
    are unpacked, and files that cannot be read are listed by name. `common-crawl`: the file
    lists paths (`warc.paths.gz`, `wet.paths.gz`) or is an index of records (`url`, `filename`,
    `offset`, `length` in CDXJ, JSON Lines or Parquet)."""
    name: str = ""
    """Name of the source in documents and reports; when empty, the name of the file or
    folder."""
    text_field: str = "text"
    """Field that holds the text in JSONL and Parquet rows."""
    license: str = ""
    """Licence of the texts, as documents and the model card record it."""
    trusted: bool = False
    """Skip the rules about addresses, language, quality and lines, and the scorers: only
    damaged characters, duplicates, test items and personal data are handled. For texts you
    know, such as books."""
    base_url: str = "https://data.commoncrawl.org/"
    """What the paths of a `common-crawl` list are relative to."""
    select: SelectSettings = SelectSettings()
    """Which lines of a `common-crawl` list are taken."""
    storage: Mapping[str, str] = field(default_factory=dict)
    """Options for fsspec's file system, for example `anon = "true"`; keys only as `${NAME}`."""

    def __post_init__(self) -> None:
        if not self.path and not self.url:
            raise RecipeError(
                "the path of a source is empty", hint="name a file, folder or pattern, or its `url`"
            )
        if self.path and self.url:
            raise RecipeError("a source has both `path` and `url`", hint="leave one of them out")
        if self.url and "://" not in self.url:
            raise RecipeError(
                f"the url {self.url!r} has no scheme", hint="a local file is named by `path`"
            )
        _refuse_secrets(self)


@dataclass(frozen=True, kw_only=True)
class OwnReaderSettings:
    """A reader of the user's own; the table's name is that of the format."""

    path: PathText | None = None
    """A Python file; without it an installed package has an entry point of this name. A recipe
    that names Python code runs it."""
    function: str = ""
    """Name of the function in the Python file, where it differs from the format's."""


@dataclass(frozen=True, kw_only=True)
class DownloadSettings:
    """How remote files are downloaded."""

    cache: PathText | None = None
    """Folder for downloads, shared by runs; the stage's own `downloads` when absent."""
    connections: int = 4
    """Downloads at a time. Common Crawl asks for few."""
    attempts: int = 8
    """Tries without progress before a file is given up."""
    wait_seconds: float = 1.0
    """Seconds to wait after the first failure, doubled after each further one up to five
    minutes; a `Retry-After` of the server comes first."""
    timeout_seconds: float = 60.0
    """Longest time without a byte, in seconds."""
    megabytes_per_second: float | None = None
    """Bandwidth of all connections together, in megabytes a second."""
    allowed_missing: int = 0
    """Files that may be missing (404) before the run ends with an error; `missing.jsonl` lists
    them."""
    contact: str = ""
    """Address named in the user agent, so that an operator can write to you."""

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= 10:
            raise RecipeError(
                f"crawl.download.connections is {self.connections}",
                hint="use 1 to 10; more is not polite",
            )
        if self.attempts < 1:
            raise RecipeError(f"crawl.download.attempts is {self.attempts}", hint="use 1 or more")
        for name in ("wait_seconds", "timeout_seconds", "megabytes_per_second"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise RecipeError(f"crawl.download.{name} is {value}", hint="use more than 0")
        if not (self.contact.isascii() and self.contact.isprintable()):
            raise RecipeError("crawl.download.contact is not plain ASCII")


@dataclass(frozen=True, kw_only=True)
class CrawlSettings:
    """Where the raw records come from."""

    sample: SampleWebSettings | None = None
    sources: tuple[SourceSettings, ...] = ()
    readers: Mapping[str, OwnReaderSettings] = field(default_factory=dict)
    """Readers of your own, `[crawl.readers.FORMAT]`: see docs/en/extend-with-your-code.md."""
    download: DownloadSettings = DownloadSettings()
    piece_bytes: int = 64 << 20
    """Larger WARC, JSONL and Parquet files are split for curation into pieces of about this
    many bytes."""
    maximum_bad_files: float = 0.1
    """Files that may be empty, damaged or unreadable before the run ends: below 1 a share of all
    files, from 1 on a number. They are listed in `not_taken.jsonl`."""

    def __post_init__(self) -> None:
        if self.piece_bytes < 1:
            raise RecipeError(f"crawl.piece_bytes is {self.piece_bytes}", hint="use 1 or more")
        if self.maximum_bad_files < 0:
            raise RecipeError(
                f"crawl.maximum_bad_files is {self.maximum_bad_files}",
                hint="use a share such as 0.1, or a number of files; 0 allows none",
            )
        for name in self.readers:
            if name in FORMATS:
                raise RecipeError(
                    f"crawl.readers.{name} has the name of a built-in format",
                    hint=f"choose another, such as own_{name.replace('-', '_')}",
                )
            if not _FORMAT_NAME.fullmatch(name):
                raise RecipeError(
                    f"crawl.readers has the name {name!r}", hint="use small letters, digits and _"
                )
        for number, source in enumerate(self.sources):
            _check_format(number, source.format, self.readers)


def _check_format(number: int, format: str, readers: Mapping[str, OwnReaderSettings]) -> None:
    if format in FORMATS or format in readers:
        return
    known = (*FORMATS, *readers, *entry_names("reader"))  # looked up only where it matters
    if format not in known:
        near = difflib.get_close_matches(format, known, n=1)
        raise RecipeError(
            f"crawl.sources.{number}.format is {format!r}",
            hint=f"did you mean {near[0]!r}?" if near else f"one of {', '.join(known)}",
        )


def _refuse_secrets(source: SourceSettings) -> None:
    """A recipe is copied into its run directory, so it must hold no key.

    Raises:
        RecipeError: it does; the message does not repeat it.
    """
    for address in (source.url, source.base_url):
        parts = urlsplit(_VARIABLE.sub("", address))
        named = [name for name, value in parse_qsl(parts.query) if value and _is_secret(name)]
        if parts.password:
            named.append("password")
        if named:
            raise RecipeError(
                f"a source's address holds a secret ({named[0]}), which a recipe must not",
                hint="put it into an environment variable and write ${NAME} in its place",
            )
    for name, value in source.storage.items():
        if value and _is_secret(name) and not _VARIABLE.fullmatch(value):
            raise RecipeError(
                f"storage.{name} holds a secret, which a recipe must not",
                hint="put it into an environment variable and write ${NAME} in its place",
            )


def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None
