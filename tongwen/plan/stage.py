"""The plan stage: what the training stages will need, before they start."""

from collections.abc import Mapping
from pathlib import Path

from tongwen.files import write_json
from tongwen.flow.stage import StageContext
from tongwen.plan.forecast import forecasts
from tongwen.plan.law_file import read_laws
from tongwen.plan.laws import CHINCHILLA, LossLaw
from tongwen.plan.plan import add_times, check_fit, make_plan
from tongwen.plan.settings import PlannedRun, PlanSettings
from tongwen.plan.text import plan_lines
from tongwen.train.forecast import FORECAST, write_forecasts


def files(planned: PlannedRun) -> list[Path]:
    """The user's file of loss laws."""
    return [] if planned.plan.law is None else [Path(planned.plan.law)]


def run(context: StageContext[PlannedRun]) -> Mapping[str, float]:
    """Print the plan, write `plan.json`, and seal a forecast of each training stage.

    Raises:
        DoesNotFitError: memory or disk are too small; the plan has been printed.
        RecipeError: a stage's sequences do not fit the window it works with.
    """
    laws = _laws(context.settings.plan)
    plan = make_plan(context.settings, context.inputs.get("shards"), context.out)
    try:
        check_fit(plan, context.settings)
        add_times(plan, context.settings, context.out)
    finally:
        for line in plan_lines(plan):
            context.progress.say(f"  {line}")
    write_json(context.out / "plan.json", plan)
    write_forecasts(context.out / FORECAST, forecasts(plan, context.settings, laws))
    counts: dict[str, float] = {"parameters": plan["model"]["parameters"]}
    for name, stage in plan["stages"].items():
        counts[f"{name}_memory_bytes"] = stage["predicted_memory_bytes"]
        if stage["predicted_seconds"] is not None:
            counts[f"{name}_seconds"] = round(stage["predicted_seconds"], 1)
    return counts


def _laws(settings: PlanSettings) -> dict[str, LossLaw]:
    return {"en": CHINCHILLA} if settings.law is None else read_laws(Path(settings.law))
