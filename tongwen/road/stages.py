"""The stages in order, what each reads, and which recipe sections determine its output."""

import dataclasses
import json
from typing import Any

from tongwen.flow.stage import Stage, StageCall
from tongwen.plan.settings import PlannedRun
from tongwen.road.recipe import Recipe
from tongwen.stages import LATEST_MODEL_FIRST
from tongwen.train.settings import PretrainJob

_CARD = ("curate", "encode", "pretrain", "extend", "tune", "evaluate")
"""Stages whose numbers are in the model card."""

ROAD = (
    Stage(
        name="crawl",
        entry="tongwen.crawl.stage:run",
        sections=("crawl",),
        files="tongwen.crawl.stage:files",
    ),
    Stage(
        name="curate",
        entry="tongwen.curate.stage:run",
        files="tongwen.curate.stage:files",
        reads={"crawl": ("crawl",)},
        sections=("curate",),
        outputs=(
            "documents/*.parquet",
            "attributes/*.parquet",
            "funnel.json",
            "histograms.json",
            "rejects.jsonl",
            "score.json",
            "contamination.json",
            "mix.json",
            "failures.jsonl",
        ),
    ),
    Stage(
        name="tokenizer",
        entry="tongwen.tokenizer.stage:run",
        reads={"documents": ("curate",)},
        uses={"documents": "documents/*"},
        sections=("tokenizer", "run.seed"),
        files="tongwen.tokenizer.stage:files",
    ),
    Stage(
        name="encode",
        entry="tongwen.encode.stage:run",
        reads={"documents": ("curate",), "tokenizer": ("tokenizer",)},
        uses={"documents": "documents/*"},
        sections=("encode",),
        outputs=("*.shard", "shards.json"),
    ),
    Stage(
        name="plan",
        entry="tongwen.plan.stage:run",
        reads={"shards": ("encode",), "tokenizer": ("tokenizer",)},
        sections=("plan", "model", "pretrain", "extend", "tune"),
        outputs=("plan.json", "forecast.json"),
        files="tongwen.plan.stage:files",
    ),
    Stage(
        name="pretrain",
        entry="tongwen.train.stage:run",
        is_grouped=True,
        reads={"shards": ("encode",), "tokenizer": ("tokenizer",)},
        sections=("model", "pretrain"),
        outputs=("model/*",),
        files="tongwen.train.stage:files",
    ),
    Stage(
        name="extend",
        entry="tongwen.extend.stage:run",
        is_grouped=True,
        reads={"model": ("pretrain",), "shards": ("encode",), "tokenizer": ("tokenizer",)},
        sections=("extend",),
        outputs=("model/*",),
    ),
    Stage(
        name="tune",
        entry="tongwen.tune.stage:run",
        is_grouped=True,
        reads={
            "model": ("extend", "pretrain"),
            "tokenizer": ("tokenizer",),
            "crawl": ("crawl",),
            "shards": ("encode",),
        },
        uses={"crawl": "gold/*"},
        optional=("crawl", "shards"),
        sections=("tune",),
        outputs=("model/*", "adapter/*"),
        files="tongwen.tune.stage:files",
    ),
    Stage(
        name="evaluate",
        entry="tongwen.evaluate.stage:run",
        reads={"model": LATEST_MODEL_FIRST, "crawl": ("crawl",)},
        uses={"crawl": "gold/*"},
        optional=("crawl",),
        sections=("evaluate",),
        outputs=("results.json", "items.jsonl"),
        files="tongwen.evaluate.stage:files",
    ),
    Stage(
        name="quantize",
        entry="tongwen.quantize.stage:run",
        reads={"model": LATEST_MODEL_FIRST, "shards": ("encode",)},
        optional=("shards",),
        sections=("quantize",),
        outputs=("model/*", "quality.json"),
        files="tongwen.quantize.stage:files",
    ),
    Stage(
        name="export",
        entry="tongwen.export.stage:run",
        reads={
            "model": LATEST_MODEL_FIRST,
            "tokenizer": ("tokenizer",),
            **{name: (name,) for name in _CARD},
        },
        optional=_CARD,
        sections=("export", "run.name"),
        outputs=("model/*",),
    ),
)


def stage_call(stage: Stage, recipe: Recipe) -> StageCall[Any]:
    """A stage with what the recipe asks of it."""
    return StageCall(stage, _settings(stage, recipe), _parameters(stage, recipe), recipe.run)


def planned_run(recipe: Recipe) -> PlannedRun:
    """The parts of a recipe that are planned."""
    return PlannedRun(
        plan=recipe.plan,
        model=recipe.model,
        vocabulary_size=recipe.tokenizer.vocabulary_size,
        pretrain=recipe.pretrain,
        extend=recipe.extend,
        tune=recipe.tune,
    )


def _settings(stage: Stage, recipe: Recipe) -> Any:
    """The section of the stage's own name, or what it needs of several."""
    if stage.name == "plan":
        return planned_run(recipe)
    if stage.name == "pretrain" and recipe.pretrain is not None:
        return PretrainJob(recipe.model, recipe.pretrain)
    return getattr(recipe, stage.name)


def _parameters(stage: Stage, recipe: Recipe) -> dict[str, Any]:
    """Flat `section.key -> JSON value` of the sections that decide the stage's output."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{prefix}.{key}", item)
        else:
            flat[prefix] = value

    whole = json.loads(json.dumps(dataclasses.asdict(recipe), default=str))
    for section in stage.sections:
        value: Any = whole
        for part in section.split("."):
            value = value[part]
        walk(section, value)
    return flat
