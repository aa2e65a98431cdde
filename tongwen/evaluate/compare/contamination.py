"""Which items of a test set curate has found in the documents."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tongwen.errors import InputError
from tongwen.files import read_json


def found_places(path: Path) -> dict[str, frozenset[str]]:
    """For each benchmark the places (`file:row`) of the items that curate has found.

    Args:
        path: `contamination.json` of a curate stage, or the folder that holds it.

    Raises:
        InputError: it is not there, damaged, or of a version without places.
    """
    file = path / "contamination.json" if path.is_dir() else path
    try:
        content = read_json(file)
        benchmarks: list[Mapping[str, Any]] = content["benchmarks"]
        found = {str(row["benchmark"]): row.get("places") for row in benchmarks}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"cannot read {file} as a report of contamination: {type(error).__name__}: {error}",
            hint="name contamination.json in the folder of a curate stage with benchmarks",
        ) from error
    if old := [name for name, places in found.items() if places is None]:
        raise InputError(
            f"{file} says how many items of {', '.join(old)} were found, not which",
            hint="an earlier version wrote it: run curate again",
        )
    return {name: frozenset(places) for name, places in found.items() if places is not None}
