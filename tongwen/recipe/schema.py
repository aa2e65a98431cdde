"""The recipe: one frozen dataclass a section, in the order of the road."""

import re
from dataclasses import dataclass, field
from typing import Literal

from tongwen.crawl.settings import CrawlSettings
from tongwen.curate.settings import CurateSettings
from tongwen.encode.settings import EncodeSettings
from tongwen.errors import RecipeError
from tongwen.evaluate.settings import EvaluateSettings
from tongwen.export.settings import ExportSettings
from tongwen.extend.settings import ExtendSettings
from tongwen.model.settings import ModelSettings
from tongwen.plan.settings import PlanSettings
from tongwen.quantize.settings import QuantizeSettings
from tongwen.report.settings import ReportSettings
from tongwen.serve.settings import ServeSettings
from tongwen.tokenizer.settings import TokenizerSettings
from tongwen.train.settings import PretrainSettings
from tongwen.tune.settings import TuneSettings


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The run itself."""

    name: str
    """Name of the run directory below `runs/`."""
    seed: int = 1862
    runner: Literal["local", "ray"] = "local"
    """Where tasks run: in processes on this machine, or on a Ray cluster. Changes no output."""
    ray_address: str | None = None
    """`HOST:PORT` of the cluster's head, or "auto" on one of its machines; absent, Ray is started
    on this machine alone."""
    workers: int | None = None
    """Worker processes; as many as processor cores when absent. Changes no output."""
    worker_memory_gib: float = 4.0
    """A worker that grows beyond is stopped; its page is tried again, then quarantined."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w][\w.-]*", self.name):
            raise RecipeError(
                f"run.name is {self.name!r}", hint="use letters, digits, '-', '_' and '.'"
            )
        if self.workers is not None and self.workers < 1:
            raise RecipeError(f"run.workers is {self.workers}", hint="use 1 or more")
        if self.ray_address is not None and self.runner != "ray":
            raise RecipeError(
                f"run.ray_address is {self.ray_address!r}, but run.runner is {self.runner!r}",
                hint='set run.runner = "ray", or leave the address out',
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole road. A section that is None leaves its stage out."""

    run: RunSettings
    crawl: CrawlSettings = field(default_factory=CrawlSettings)
    curate: CurateSettings = field(default_factory=CurateSettings)
    tokenizer: TokenizerSettings = field(default_factory=TokenizerSettings)
    encode: EncodeSettings = field(default_factory=EncodeSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    plan: PlanSettings = field(default_factory=PlanSettings)
    pretrain: PretrainSettings | None = None
    extend: ExtendSettings | None = None
    tune: TuneSettings | None = None
    evaluate: EvaluateSettings | None = None
    quantize: QuantizeSettings | None = None
    export: ExportSettings = field(default_factory=ExportSettings)
    serve: ServeSettings = field(default_factory=ServeSettings)
    report: ReportSettings = field(default_factory=ReportSettings)
