"""Settings of the curate stage. Every number here is a threshold that can be changed and replayed."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class CurateSettings:
    """From raw records to clean documents."""

    languages: tuple[str, ...] = ("en", "zh-Hans", "zh-Hant", "code")
    """Languages that are kept."""
