"""Loss laws of one's own, as a ladder of runs leaves them: TOML or JSON.

    [law.en]
    name = "ladder of 2026-12-01"
    references = "own web, 0.3M to 4M parameters, 2M to 40M tokens"
    largest_flops = 1e15
    smallest_flops = 5e11
    irreducible = 0.9
    parameter_factor = 40.0
    parameter_exponent = 0.3
    token_factor = 90.0
    token_exponent = 0.3
    relative_deviation = 0.008   # of runs around the law
    counts_embeddings = false

`samples`, bootstrapped rows of the five constants, is optional. `holds_on_the_way = true` says that
the law also holds for losses on the constant part of a trunk, not only at the end of a decay.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tongwen.errors import InputError
from tongwen.files import write_json
from tongwen.plan.laws import LossLaw


def read_laws(path: Path) -> dict[str, LossLaw]:
    """Language -> law.

    Raises:
        InputError: the file cannot be read, or a law lacks a value or has one it should not.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        laws = {language: _law(language, row, path) for language, row in values["law"].items()}
        if not laws:
            raise ValueError("none")
        return laws
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} holds no loss laws: {error}", hint="it needs a table [law.LANGUAGE] for each"
        ) from error


def _law(language: str, row: dict[str, Any], path: Path) -> LossLaw:
    known = {field.name for field in fields(LossLaw)}
    strange = sorted(set(row) - known)
    if strange:
        raise InputError(f"{path}: [law.{language}] has {strange[0]!r}, which no law has")
    values = {**row, "language": language}
    if "samples" in values:
        values["samples"] = tuple(tuple(sample) for sample in values["samples"])
        if any(len(sample) != 5 for sample in values["samples"]):
            raise InputError(f"{path}: a sample of [law.{language}] has not five constants")
    try:
        law = LossLaw(**values)
    except TypeError as error:
        raise InputError(f"{path}: [law.{language}]: {str(error).partition(') ')[2]}") from error
    for field in fields(LossLaw):
        value = getattr(law, field.name)
        if field.type is float and not (isinstance(value, int | float) and value > 0):
            raise InputError(f"{path}: {field.name} of [law.{language}] is {value!r}, not above 0")
    return law


def write_laws(
    path: Path, laws: Mapping[str, LossLaw], unknown: Mapping[str, list[str]] = {}
) -> None:
    """Write laws as `read_laws` reads them.

    Args:
        path: a JSON file.
        laws: by language.
        unknown: by language, what the runs behind the law do not determine; for readers.
    """
    rows = {language: asdict(law) for language, law in laws.items()}
    for row in rows.values():
        del row["language"]
    write_json(path, {"law": rows, "unknown": dict(unknown)})
