"""Settings of the crawl stage."""

from dataclasses import dataclass
from typing import Literal

from tongwen.errors import RecipeError
from tongwen.recipe.types import PathText

SourceFormat = Literal["warc", "html", "jsonl", "parquet", "text"]


@dataclass(frozen=True, kw_only=True)
class SampleWebSettings:
    """The built-in sample web: a small invented bilingual web, written as WARC files."""

    pages: int = 2_000
    """Number of pages, good and bad together."""
    seed: int = 1862

    def __post_init__(self) -> None:
        if self.pages < 200:
            raise RecipeError(
                f"crawl.sample.pages is {self.pages}", hint="200 pages are the smallest sample web"
            )


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """Files of the user's own."""

    path: PathText
    """File, folder or glob pattern, relative to the recipe file."""
    format: SourceFormat
    name: str = ""
    """Name of the source in documents and reports; that of the file or folder when empty."""
    text_field: str = "text"
    """Field that holds the text in JSONL and Parquet rows."""
    license: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            raise RecipeError(
                "the path of a source is empty", hint="name a file, folder or pattern"
            )


@dataclass(frozen=True, kw_only=True)
class CrawlSettings:
    """Where the raw records come from."""

    sample: SampleWebSettings | None = None
    sources: tuple[SourceSettings, ...] = ()
