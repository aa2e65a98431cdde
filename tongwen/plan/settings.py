"""Settings of the plan stage."""

from collections.abc import Mapping
from dataclasses import dataclass

from tongwen.errors import RecipeError
from tongwen.extend.positions import extended_config
from tongwen.extend.settings import ExtendSettings
from tongwen.model.config import ModelConfig
from tongwen.model.settings import ModelSettings
from tongwen.settings import PathText
from tongwen.stages import TRAINING_STAGES
from tongwen.train.settings import PretrainSettings, TrainSettings
from tongwen.tune.settings import TuneSettings


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """What the machine offers and what it costs."""

    memory_gib: float | None = None
    """Memory in GiB that the run may use; when absent, what is free on this machine."""
    calibration_steps: int = 3
    """Real steps that are timed to predict the run's time; 0 predicts nothing."""
    price_per_hour: float | None = None
    """Price of the machine for an hour, in any currency."""
    law: PathText | None = None
    """File of loss laws, one for each language, fitted on runs of your own; the loss of pretraining
    is forecast from it. A published law of English is used when absent, for runs of its size."""

    def __post_init__(self) -> None:
        if self.memory_gib is not None and self.memory_gib <= 0:
            raise RecipeError(
                f"memory_gib is {self.memory_gib}", hint="use a number greater than 0"
            )
        if self.calibration_steps < 0:
            raise RecipeError(
                f"calibration_steps is {self.calibration_steps}", hint="use 0 or more"
            )
        if self.price_per_hour is not None and self.price_per_hour < 0:
            raise RecipeError(f"price_per_hour is {self.price_per_hour}", hint="use 0 or more")


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """What is planned: the training stages of a recipe and their model.

    Attributes:
        vocabulary_size: the tokenizer's, where there are no shards yet.
    """

    plan: PlanSettings
    model: ModelSettings
    vocabulary_size: int
    pretrain: PretrainSettings | None = None
    extend: ExtendSettings | None = None
    tune: TuneSettings | None = None

    @property
    def stages(self) -> dict[str, TrainSettings]:
        """Name -> settings of the runs that train, in the order of the road: a run a stage, but
        `extend.stages.0` and so on of an extension in several.
        """
        named: dict[str, TrainSettings] = {}
        for name in TRAINING_STAGES:
            settings = getattr(self, name)
            if isinstance(settings, ExtendSettings):
                named |= settings.runs()
            elif settings is not None:
                named[name] = settings
        return named


def check_windows(config: ModelConfig, stages: Mapping[str, TrainSettings]) -> None:
    """See that every stage's sequences fit into the window that the model then has.

    Args:
        config: of the model before the first stage.
        stages: name -> settings, in the order of the road.

    Raises:
        RecipeError: sequences are longer, or extend cannot extend what pretrain leaves.
    """
    window = config.max_position_embeddings
    pretrain = stages.get("pretrain")
    for name, settings in stages.items():
        if isinstance(settings, ExtendSettings):
            if pretrain is not None:
                config = extended_config(
                    config, settings, name, pretrained_tokens=pretrain.sequence_tokens
                )
            window = max(window, settings.sequence_tokens)
        if settings.sequence_tokens > window:
            raise RecipeError(
                f"{name}.sequence_tokens is {settings.sequence_tokens:,}, but the model's window "
                f"is {window:,} tokens",
                hint=f"--set {name}.sequence_tokens={window}",
            )
