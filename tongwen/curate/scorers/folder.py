"""The folder of a trained scorer: `scorer.json` and flat arrays, mapped read-only.

`scorer.json` holds the kind, languages, settings, report, the files it was trained on with their
digests, and the digest of every array. The same input and seed give the same bytes.
"""

import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.scorers.options import KINDS
from tongwen.errors import InputError, UsageError
from tongwen.files import disk_errors, file_digest, sync_directory, value_digest, write_json

Array = npt.NDArray[Any]
DESCRIPTION = "scorer.json"
FORMAT = 1  # raise it when older folders can no longer be read


@dataclass(frozen=True)
class TrainedScorer:
    """What training gives.

    Attributes:
        kind: one of `KINDS`.
        languages: those it can score.
        arrays: by file name without ending.
        details: values the scorer needs beside its arrays.
        report: how good it is on held-out text, by language.
        sheets: further text files by name.
    """

    kind: str
    languages: list[str]
    arrays: Mapping[str, Array]
    details: Mapping[str, Any]
    report: Mapping[str, Any]
    sheets: Mapping[str, str]


@dataclass(frozen=True)
class ScorerFolder:
    """A scorer read back; arrays are mapped from disk."""

    path: Path
    kind: str
    languages: tuple[str, ...]
    digest: str
    arrays: Mapping[str, Array]
    details: Mapping[str, Any]
    report: Mapping[str, Any]


def write_folder(
    out: Path, scorer: TrainedScorer, options: Mapping[str, Any], trained_on: Mapping[str, Any]
) -> str:
    """Write the folder, whole or not at all; gives its digest.

    Raises:
        UsageError: `out` exists and is no scorer's folder.
    """
    if out.exists() and not (out / DESCRIPTION).is_file():
        raise UsageError(
            f"{out} exists and is not a scorer's folder", hint="give --out another folder"
        )
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.partial")
    partial.mkdir(parents=True)
    try:
        with disk_errors(out):
            arrays = {}
            for name, array in sorted(scorer.arrays.items()):
                np.save(partial / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
                arrays[name] = file_digest(partial / f"{name}.npy")
            for name, text in sorted(scorer.sheets.items()):
                (partial / name).write_text(text, encoding="utf-8")
            known = {
                "format": FORMAT,
                "kind": scorer.kind,
                "languages": scorer.languages,
                "arrays": arrays,
                "details": dict(scorer.details),
                "settings": dict(options),
            }
            digest = value_digest(known)
            rest = {"trained_on": dict(trained_on), "report": dict(scorer.report)}
            write_json(partial / DESCRIPTION, known | rest | {"digest": digest})
            if out.exists():
                shutil.rmtree(out)
            partial.rename(out)
            sync_directory(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return digest


def open_folder(path: Path, kind: str | None = None) -> ScorerFolder:
    """Read a scorer's folder; every array is checked against its digest first.

    Raises:
        InputError: no scorer, one of another kind, from another version, or damaged.
    """
    hint = "train it with `tongwen curate train-scorer`"
    try:
        known = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
        found, arrays, digest = known["kind"], known["arrays"], known["digest"]
        parts = ("format", "kind", "languages", "arrays", "details", "settings")
        content = {name: known[name] for name in parts}
        report = known["report"]
    except OSError as error:
        raise InputError(f"{path} is not a scorer's folder: no {DESCRIPTION}", hint=hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path / DESCRIPTION} is damaged: {error}", hint=hint) from error
    if known["format"] != FORMAT or found not in KINDS:
        raise InputError(f"{path} holds a {found!r} scorer of format {known['format']}", hint=hint)
    if kind is not None and found != kind:
        raise InputError(f"{path} holds a {found} scorer, not {kind}", hint="give another folder")
    if value_digest(content) != digest:
        raise InputError(f"{path / DESCRIPTION} was changed after training", hint=hint)
    mapped = {}
    for name, expected in arrays.items():
        file = path / f"{name}.npy"
        if not file.is_file() or file_digest(file) != expected:
            raise InputError(f"{file} is missing or damaged", hint=hint)
        mapped[name] = np.load(file, mmap_mode="r", allow_pickle=False)
    return ScorerFolder(
        path, found, tuple(known["languages"]), digest, mapped, known["details"], report
    )


def refuse_twins(folders: Sequence[ScorerFolder]) -> None:
    """Refuse two scorers of one kind: they would write the same columns.

    Raises:
        UsageError: there are two.
    """
    kinds = [folder.kind for folder in folders]
    for folder in folders:
        if kinds.count(folder.kind) > 1:
            paths = " and ".join(str(item.path) for item in folders if item.kind == folder.kind)
            raise UsageError(
                f"{paths} are both {folder.kind} scorers", hint="name one of each kind"
            )
