"""A training run: what it starts from, learns from and writes to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tongwen.progress import Progress
from tongwen.train.data.sequences import PackedSequences
from tongwen.train.data.validation import ValidationSet
from tongwen.train.settings import TrainSettings
from tongwen.train.weights import WeightSource


@dataclass(frozen=True)
class Job:
    """A training run.

    Attributes:
        name: of the stage, for messages.
        settings: of the run.
        weights: to start from.
        data: training sequences.
        validation: language -> sequences whose loss is measured on the way.
        tokenizer_folder: its files go into the model folder.
        out: folder of `checkpoints/`, `metrics.jsonl` and `model/`; with several processes one
            that all see.
        progress: what the user sees.
        code: names the code that trains; a run that other code has finished is trained again.
        is_kept: whether checkpoints and the model are written; without, as in a benchmark, nothing
            but the metrics.
        forecast: file of the plan's sealed forecasts, which need not be there. It decides nothing
            of the run: it is compared with it.
    """

    name: str
    settings: TrainSettings
    weights: WeightSource
    data: PackedSequences
    validation: Mapping[str, ValidationSet]
    tokenizer_folder: Path
    out: Path
    progress: Progress
    code: str = ""
    is_kept: bool = True
    forecast: Path | None = None
