"""The figures of a report as plain values, for scripts."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tongwen.report.run_files import RunFiles
from tongwen.report.state import RunState
from tongwen.report.training import Phase


def report_summary(content: Mapping[str, Any]) -> dict[str, Any]:
    """What `tongwen report --json` prints: JSON values only, times in seconds, Unix or counted.

    Args:
        content: of `tongwen.report.build.report_content`.
    """
    run: RunFiles = content["run"]
    state: RunState = content["state"]
    funnel = content["funnel"]
    return {
        "run": run.name,
        "directory": str(run.directory),
        "state": {**asdict(state), "stages": [asdict(stage) for stage in state.stages]},
        "pages": None if funnel is None else funnel.read["all"].pages,
        "documents": None if funnel is None else funnel.kept["all"].pages,
        "training": {
            phase["training"].stage: _training(phase["training"]) for phase in content["phases"]
        },
        "evaluation": (run.json("evaluate/results.json") or {}).get("results", []),
        "seconds": {row.stage: row.seconds for row in content["cost"].rows},
        "peak_memory_bytes": {row.stage: row.memory_bytes for row in content["cost"].rows},
        "problems": list(content["problems"]),
    }


def _training(phase: Phase) -> dict[str, Any]:
    return {
        "steps": phase.steps,
        "last": dict(phase.last),
        "median_tokens_per_second": phase.tokens_per_second,
        "rollbacks": phase.rollbacks,
        "damaged_checkpoints": phase.damaged,
        "compared": [{"run": course.name, "last": dict(course.last)} for course in phase.courses],
        "samples": [asdict(sample) for sample in phase.samples],
    }
