"""How many files may be broken before a run ends."""

from collections.abc import Sequence
from typing import Any

from tongwen.errors import InputError


def check_bad_files(
    bad: Sequence[dict[str, Any]], files: int, maximum: float, setting: str
) -> None:
    """Refuse more broken files than a setting allows; one is always allowed, if others are whole.

    Args:
        bad: each with its `path`, what is wrong (`kind`), and a `hint`.
        files: how many files there are, broken or not.
        maximum: below 1 a share of all files, from 1 on a number; 0 allows none.
        setting: its name, for the hint.

    Raises:
        InputError: with the names of the first five.
    """
    if not bad:
        return
    named = ", ".join(f"{file['path']} ({file['kind']})" for file in bad[:5])
    if len(bad) >= files:
        raise InputError(
            f"none of the {files:,} files can be read: {named}",
            hint=next((file["hint"] for file in bad if file["hint"]), None),
        )
    most = maximum if maximum >= 1 or not maximum else max(1, maximum * files)
    if len(bad) > most:
        raise InputError(
            f"{len(bad):,} of {files:,} files are empty or damaged: {named}"
            + (", ..." if len(bad) > 5 else ""),
            hint=f"mend or remove them, or allow them: --set {setting}={len(bad)}",
        )
