"""Settings of the crawl stage."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tongwen.errors import RecipeError

SourceFormat = Literal["warc", "html", "jsonl", "parquet", "text"]


@dataclass(frozen=True, kw_only=True)
class SampleWebSettings:
    """The built-in sample web: a small invented bilingual web, written as WARC files."""

    pages: int = 2_000
    """Number of pages, good and bad together."""
    sites: int = 40
    seed: int = 1862

    def __post_init__(self) -> None:
        if self.pages < 200:
            raise RecipeError(
                f"crawl.sample.pages is {self.pages}", hint="200 pages are the smallest sample web"
            )


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """Files of the user's own."""

    path: str
    """File, folder or glob pattern, relative to the recipe file."""
    format: SourceFormat
    name: str = ""
    """Name of the source in documents and reports; the file's name when empty."""
    text_field: str = "text"
    """Field that holds the text in JSONL and Parquet rows."""
    license: str = ""


@dataclass(frozen=True, kw_only=True)
class CrawlSettings:
    """Where the raw records come from."""

    sample: SampleWebSettings | None = None
    sources: tuple[SourceSettings, ...] = ()
    shard_bytes: int = 64 << 20
    """Raw bytes that one curation task reads, about."""
