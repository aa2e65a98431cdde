"""What the run's optimizer saved, where the efficiency ledger measured it."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from tongwen.report.headline import model_parameters
from tongwen.report.run_files import RunFiles
from tongwen.report.words import Bilingual, amount, words


def build_saving(run: RunFiles) -> Bilingual | None:
    """What pretraining with Muon would have cost with AdamW, from `ledger.json`.

    None where the run had another optimizer, where Muon's effect did not count, or where the model
    is smaller or larger than those that were measured: nothing is carried to another size.
    """
    measured: Sequence[Mapping[str, Any]] = json.loads(
        (resources.files("tongwen.report") / "ledger.json").read_text("utf-8")
    )["muon"]
    parameters = model_parameters(run)
    settings = {**run.recipe.get("train", {}), **run.recipe.get("pretrain", {})}
    if settings.get("optimizer") != "muon" or parameters is None or not measured:
        return None
    sizes = [row["parameters"] for row in measured]
    if not min(sizes) <= parameters <= max(sizes) or not all(row["counts"] for row in measured):
        return None
    return words(
        "saving",
        low=f"{min(row['ratio'] for row in measured):.2f}",
        high=f"{max(row['ratio'] for row in measured):.2f}",
        smallest=amount(min(sizes)),
        largest=amount(max(sizes)),
    )
