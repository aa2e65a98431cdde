"""The plan stage: what the training stages will need, before they start."""

from collections.abc import Mapping

from tongwen.files import write_json
from tongwen.flow.stage import StageContext
from tongwen.plan.plan import add_times, check_fit, make_plan
from tongwen.plan.settings import PlannedRun
from tongwen.plan.text import plan_lines


def run(context: StageContext[PlannedRun]) -> Mapping[str, float]:
    """Print the plan and write `plan.json`.

    Raises:
        DoesNotFitError: memory or disk are too small; the plan has been printed.
        RecipeError: a stage's sequences do not fit the window it works with.
    """
    plan = make_plan(context.settings, context.inputs.get("shards"), context.out)
    try:
        check_fit(plan)
        add_times(plan, context.settings)
    finally:
        for line in plan_lines(plan):
            context.progress.say(f"  {line}")
    write_json(context.out / "plan.json", plan)
    counts: dict[str, float] = {"parameters": plan["model"]["parameters"]}
    for name, stage in plan["stages"].items():
        counts[f"{name}_memory_bytes"] = stage["predicted_memory_bytes"]
        if stage["predicted_seconds"] is not None:
            counts[f"{name}_seconds"] = round(stage["predicted_seconds"], 1)
    return counts
