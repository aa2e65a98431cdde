"""The steps that make the mixture, planned (see `mix` and `mix_steps`)."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow.parquet as pq

from tongwen.curate.mix.settings import MixSettings
from tongwen.curate.mix.weights import mix_parameters
from tongwen.curate.mix.write import mix_report, plan_parameters
from tongwen.files import read_json
from tongwen.flow.runner import TaskResult, exchange
from tongwen.flow.task import Task, TaskInput


def mix_documents(
    run: Callable[[Sequence[Task]], list[TaskResult]],
    settings: MixSettings,
    materialized: Sequence[TaskResult],
) -> tuple[list[TaskResult], dict[str, Any]]:
    """Choose, weigh and shuffle the documents that stay; gives results with `documents.parquet`,
    and the content of `mix.json`.

    Raises:
        RecipeError: an expression is none or names no attribute, or nothing is left.
    """
    pairs = [
        (result.file("documents.parquet"), result.file("attributes.parquet"))
        for result in materialized
    ]
    parameters = mix_parameters(settings, pq.read_schema(pairs[0][1].path))
    deciles: tuple[TaskInput, ...] = ()
    if parameters["deciles"]:
        ranked = {"deciles": parameters["deciles"]}
        sampled = run(
            [
                Task("mix-sample", index, "tongwen.curate.mix.weights:sample_values", files, ranked)
                for index, files in enumerate(pairs)
            ]
        )
        samples = tuple(result.file("sample.parquet") for result in sampled)
        task = Task("mix-deciles", 0, "tongwen.curate.mix.weights:rank_values", samples, ranked)
        deciles = (run([task])[0].file("deciles.json"),)
    measured = run(
        [
            Task("mix-measure", index, "tongwen.curate.mix.weights:measure_weights",
                 (*files, *deciles), parameters)
            for index, files in enumerate(pairs)
        ]
    )  # fmt: skip
    supplies = tuple(result.file("supply.json") for result in measured)
    planned = run(
        [Task("mix-plan", 0, "tongwen.curate.mix.write:plan_mix", supplies,
              plan_parameters(settings))]
    )[0]  # fmt: skip
    plan = planned.file("plan.json")
    mapped = run(
        [
            Task("mix-map", index, "tongwen.curate.mix.write:map_mix",
                 (files[0], measured[index].file("weights.parquet"), plan),
                 {"seed": settings.seed})
            for index, files in enumerate(pairs)
        ]
    )  # fmt: skip
    written = run(
        [
            Task("mix-write", index, "tongwen.curate.mix.write:write_mix", files)
            for index, files in enumerate(exchange(mapped, read_json(plan.path)["files"]))
        ]
    )
    return written, mix_report(settings, planned, mapped)
