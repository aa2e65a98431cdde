"""Settings of the sample web."""

from dataclasses import dataclass

from tongwen.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class SampleWebSettings:
    """The built-in sample web: a small invented bilingual web, written as WARC files."""

    pages: int = 2_000
    """Number of pages, good and bad together."""
    seed: int = 1862
    """Seed of the pages."""

    def __post_init__(self) -> None:
        if self.pages < 200:
            raise RecipeError(
                f"crawl.sample.pages is {self.pages}", hint="200 pages are the smallest sample web"
            )
