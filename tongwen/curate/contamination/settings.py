"""Settings of decontamination: the test sets that must not be in the documents."""

from dataclasses import dataclass

from tongwen.errors import RecipeError
from tongwen.settings import PathText


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """One test set whose questions and answers are looked for in the documents."""

    name: str
    """Name in the report. The task of that name in `tongwen evaluate` says how the data is read,
    unless `layout`, `spec` or `fields` does."""
    path: PathText
    """The data: a file, or a folder with the files of the layout."""
    layout: str | None = None
    """A task of `tongwen evaluate --list-tasks` whose data has this layout."""
    spec: PathText | None = None
    """A task file of the user's own."""
    fields: tuple[str, ...] = ()
    """Fields with the item's texts, such as `question` or `choices.text`; with a layout those of
    its templates when absent, else every text of the row."""

    def __post_init__(self) -> None:
        if not self.name:
            raise RecipeError("a benchmark of curate.contamination has no name")
        if self.layout is not None and self.spec is not None:
            raise RecipeError(
                f"the benchmark {self.name} has both `layout` and `spec`", hint="leave one out"
            )


@dataclass(frozen=True, kw_only=True)
class ContaminationSettings:
    """What counts as a copy of a test item, and what happens to documents that hold one.

    Word n-grams as in GPT-3 (Brown et al. 2020, arXiv 2005.14165, appendix C), characters where a
    script has no spaces.
    """

    benchmarks: tuple[BenchmarkSettings, ...] = ()
    """Test sets to look for; without any, nothing is searched."""
    words: int = 13
    """Words of an n-gram where words are written apart."""
    characters: int = 20
    """Characters of an n-gram in Chinese."""
    minimum_words: int = 8
    """A passage shorter than an n-gram is searched as a whole when it has at least this many
    words."""
    minimum_characters: int = 12
    """The same in Chinese, in characters; shorter ones, such as "yes" or 以上都对, say nothing."""
    maximum_documents: int = 50
    """An n-gram in more documents than this is a common phrase; it counts only within a long
    item of which a document holds most."""
    dropped_items: int = 2
    """Drop a document that holds this many different items."""
    dropped_item_share: float = 0.6
    """Drop a document that holds this share of one item; otherwise the sentences are cut
    out."""

    def __post_init__(self) -> None:
        for name in ("words", "characters", "minimum_words", "minimum_characters",
                     "maximum_documents", "dropped_items"):  # fmt: skip
            if getattr(self, name) < 1:
                raise RecipeError(
                    f"curate.contamination.{name} is {getattr(self, name)}", hint="use 1 or more"
                )
        for name in ("words", "characters"):
            if getattr(self, f"minimum_{name}") > getattr(self, name):
                raise RecipeError(
                    f"curate.contamination.minimum_{name} is above {name}, "
                    f"{getattr(self, name)}: shorter passages could never be found",
                    hint=f"use at most {getattr(self, name)}",
                )
        if not 0 < self.dropped_item_share <= 1:
            raise RecipeError(
                f"curate.contamination.dropped_item_share is {self.dropped_item_share}",
                hint="use a share above 0, up to 1",
            )
        names = [benchmark.name for benchmark in self.benchmarks]
        for name in names:
            if names.count(name) > 1:
                raise RecipeError(
                    f"two benchmarks are named {name!r}", hint="name them apart and set `layout`"
                )
