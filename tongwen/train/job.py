"""A training run: what it starts from, learns from and writes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tongwen.progress import Progress
from tongwen.train.adapters.build import Adapters
from tongwen.train.data.sequences import Samples
from tongwen.train.data.validation import ValidationSet
from tongwen.train.objective import Objective
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
        adapters: trained in place of the model's weights.
        objective: in place of the loss of the next token.
        plain_text: name -> sequences whose loss is measured before the first step and of the
            weights that are written at the end.
        patience: measurements of `validation` without a smaller loss after which the run ends;
            then the weights with the smallest are written. None trains to the last step.
        forecast: file of the plan's sealed forecasts, which need not be there. It decides nothing
            of the run: it is compared with it.
    """

    name: str
    settings: TrainSettings
    weights: WeightSource
    data: Samples
    validation: Mapping[str, ValidationSet]
    tokenizer_folder: Path
    out: Path
    progress: Progress
    code: str = ""
    is_kept: bool = True
    adapters: Adapters | None = None
    objective: Objective | None = None
    plain_text: Mapping[str, ValidationSet] = field(default_factory=dict)
    patience: int | None = None
    forecast: Path | None = None
