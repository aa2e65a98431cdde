"""Settings of the report."""

from dataclasses import dataclass

from tongwen.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """What the report shows."""

    dropped_examples: int = 5
    """Dropped documents shown for each reason and language; curation keeps
    `curate.reject_samples` of them."""

    def __post_init__(self) -> None:
        if self.dropped_examples < 0:
            raise RecipeError(
                f"report.dropped_examples is {self.dropped_examples}", hint="use 0 or more"
            )
