"""What a run would have cost with the efficiency ledger's baseline, as far as it was measured."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from tongwen.report.headline import model_parameters
from tongwen.report.run_files import RunFiles
from tongwen.report.words import Bilingual, amount, duration, words

_Rows = Sequence[Mapping[str, Any]]


def build_saving(run: RunFiles) -> Bilingual | None:
    """What pretraining with Muon would have cost with AdamW and with the whole baseline, from
    `ledger.json`.

    None where the run had another optimizer, where Muon's effect did not count, or where the model
    is smaller or larger than those that were measured: nothing is carried to another size.
    """
    ledger = json.loads((resources.files("tongwen.report") / "ledger.json").read_text("utf-8"))
    measured: _Rows = ledger["muon"]
    parameters = model_parameters(run)
    pretraining = run.manifests.get("pretrain")
    settings = {**run.recipe.get("train", {}), **run.recipe.get("pretrain", {})}
    if settings.get("optimizer") != "muon" or parameters is None or pretraining is None:
        return None
    sizes = [row["parameters"] for row in measured]
    if (
        not sizes
        or not min(sizes) <= parameters <= max(sizes)
        or not all(row["counts"] for row in measured)
    ):
        return None
    baseline: _Rows = ledger["baseline"]
    ratios = [row["cpu_seconds"] for row in baseline]
    return words(
        "saving",
        muon=_range(measured, "ratio"),
        flops=_range(baseline, "flops"),
        cpu=_range(baseline, "cpu_seconds"),
        spent=duration(pretraining.seconds),
        low=duration(min(ratios) * pretraining.seconds),
        high=duration(max(ratios) * pretraining.seconds),
        smallest=amount(min(sizes)),
        largest=amount(max(sizes)),
    )


def _range(rows: _Rows, name: str) -> str:
    values = [row[name] for row in rows]
    return f"{min(values):.2f}–{max(values):.2f}"
