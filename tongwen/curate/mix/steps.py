"""The steps that make the mixture (see `weights` and `write`), and the report on them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.mix.expressions import NUMBER, TEXT, column_kinds
from tongwen.curate.mix.settings import MixSettings, WeightSettings
from tongwen.curate.mix.weights import (
    DECILE,
    measure_weights,
    mix_columns,
    mix_expressions,
    per_token,
    rank_values,
    sample_values,
)
from tongwen.curate.mix.write import map_mix, plan_mix, write_mix
from tongwen.errors import RecipeError
from tongwen.files import read_json
from tongwen.flow.runner import RunTasks, TaskResult, outputs, reduce_tasks
from tongwen.flow.task import Task, TaskInput


def mix_documents(
    run: RunTasks, settings: MixSettings, materialized: Sequence[TaskResult]
) -> tuple[list[TaskResult], dict[str, Any]]:
    """Choose, weigh and shuffle the documents that stay.

    Returns:
        Results with `documents.parquet`, and the content of `mix.json`.

    Raises:
        RecipeError: an expression is none or names no attribute, or nothing is left.
    """
    tables = [
        {name: result.file(f"{name}.parquet") for name in ("documents", "attributes")}
        for result in materialized
    ]
    parameters = mix_parameters(settings, pq.read_schema(tables[0]["attributes"].path))
    deciles: list[TaskInput] = []
    if parameters["ranks"]:
        ranked = {"ranks": parameters["ranks"]}
        sampled = run(
            [Task(sample_values, index, both, ranked) for index, both in enumerate(tables)]
        )
        task = Task(rank_values, 0, {"samples": outputs(sampled, "sample.parquet")}, ranked)
        deciles = [run([task])[0].file("deciles.json")]
    measured = run(
        [
            Task(measure_weights, index, {**both, "deciles": deciles}, parameters)
            for index, both in enumerate(tables)
        ]
    )
    supplies = outputs(measured, "supply.json")
    planned = run([Task(plan_mix, 0, {"supplies": supplies}, plan_parameters(settings))])[0]
    plan = planned.file("plan.json")
    mapped = run(
        [
            Task(map_mix, index,
                 {"documents": both["documents"], "plan": plan,
                  "weights": measured[index].file("weights.parquet")},
                 {"seed": settings.seed})
            for index, both in enumerate(tables)
        ]
    )  # fmt: skip
    files = read_json(plan.path)["files"]
    written = run(reduce_tasks(write_mix, mapped, files, {"files": files}))
    return written, mix_report(settings, planned, mapped)


def with_cluster_weights(settings: MixSettings, weights: Mapping[int, float]) -> MixSettings:
    """The settings, with the weights that the user's labels give to clusters.

    0 is left out, since those documents were dropped before, and 1 changes nothing.
    """
    by_weight: dict[float, list[int]] = {}
    for cluster, weight in sorted(weights.items()):
        by_weight.setdefault(weight, []).append(cluster)
    labelled = tuple(
        WeightSettings(when=f"cluster in {tuple(clusters)}", weight=weight)
        for weight, clusters in sorted(by_weight.items())
        if weight not in (0, 1)
    )
    return replace(settings, weights=(*settings.weights, *labelled))


def mix_parameters(settings: MixSettings, schema: pa.Schema) -> dict[str, Any]:
    """What `mix-measure` depends on, as JSON values; `ranks` names the columns that are ranked,
    each with the numbers of equal parts.

    Raises:
        RecipeError: an expression is none, or names a column that the attributes do not have.
    """
    kinds = mix_columns(schema, settings.buckets)
    _check_buckets(settings, kinds, schema)
    expressions = mix_expressions(
        settings.keep_if, [vars(item) for item in settings.weights], kinds
    )
    names = sorted({name for item in expressions if item for name in item.names})
    if kinds.get(settings.share_by) != TEXT and settings.share_by not in settings.buckets:
        texts = sorted(name for name, kind in kinds.items() if kind == TEXT)
        raise RecipeError(
            f"curate.mix.share_by is {settings.share_by!r}, which is no text column",
            hint=f"use one of {', '.join((*texts, *settings.buckets))}",
        )
    own = set(schema.names)
    ranks: dict[str, set[int]] = defaultdict(set)
    for name in names:
        if name.endswith(DECILE) and name not in own and name not in settings.buckets:
            ranks[name.removesuffix(DECILE)].add(10)
    used = {name: settings.buckets[name] for name in sorted({*names, settings.share_by})
            if name in settings.buckets}  # fmt: skip
    for bucket in used.values():
        for column in bucket.columns:
            ranks[column.removeprefix("-")].add(bucket.number)
    return {
        "keep_if": settings.keep_if,
        "weights": [vars(item) for item in settings.weights],
        "weight_by_cluster_size": settings.weight_by_cluster_size,
        "share_by": settings.share_by,
        "characters_per_token": dict(settings.characters_per_token),
        "ranks": {name: sorted(parts) for name, parts in sorted(ranks.items())},
        "buckets": {
            name: {"columns": list(bucket.columns), "number": bucket.number}
            for name, bucket in used.items()
        },
    }


def _check_buckets(settings: MixSettings, kinds: Mapping[str, str], schema: pa.Schema) -> None:
    own = mix_columns(schema)
    for name, bucket in settings.buckets.items():
        if name in own:
            raise RecipeError(
                f"curate.mix.buckets has the name {name!r}, which the attributes have too",
                hint="choose another name",
            )
        for column in bucket.columns:
            bare = column.removeprefix("-")
            if kinds.get(bare) != NUMBER or bare not in schema.names:
                numbers = sorted(item for item, kind in column_kinds(schema).items()
                                 if kind == NUMBER)  # fmt: skip
                near = get_close_matches(bare, numbers, n=2)
                raise RecipeError(
                    f"curate.mix.buckets.{name}.columns has {column!r}, which is no column of "
                    "numbers",
                    hint=f"did you mean {' or '.join(near)}?" if near
                    else "name the scorer that gives it in curate.scorers",
                )  # fmt: skip


def plan_parameters(settings: MixSettings) -> dict[str, Any]:
    """What `mix-plan` depends on, as JSON values."""
    return {
        "share_by": settings.share_by,
        "shares": dict(settings.shares),
        "equal_shares": settings.equal_shares,
        "tokens": settings.tokens,
        "maximum_epochs": settings.maximum_epochs,
        "characters_per_token": dict(settings.characters_per_token),
        "file_bytes": settings.file_bytes,
    }


def mix_report(
    settings: MixSettings, planned: TaskResult, mapped: Sequence[TaskResult]
) -> dict[str, Any]:
    """Content of `mix.json`: what was asked and what was given, by group and by source, with
    epochs and the tokens that could not be given. Tokens are estimates.
    """
    plan = read_json(planned.directory / "plan.json")
    rows = [row for result in mapped for row in read_json(result.directory / "given.json")]
    groups = _given(rows, "group", settings.characters_per_token)
    for name, row in groups.items():
        allotment = plan["groups"][name]
        row["tokens_wanted"] = round(allotment["wanted"])
        row["tokens_unmet"] = max(0, round(allotment["wanted"] - allotment["given"]))
    given = sum(row["tokens_given"] for row in groups.values())
    asked = settings.tokens
    planned_tokens = sum(allotment["given"] for allotment in plan["groups"].values())
    return {
        "asked": {
            "tokens": asked,
            "share_by": settings.share_by,
            "shares": plan["shares"],
            "maximum_epochs": settings.maximum_epochs,
            "seed": settings.seed,
        },
        "tokens_given": given,
        "tokens_unmet": 0 if asked is None else max(0, round(asked - planned_tokens)),
        "documents_given": sum(row["copies"] for row in groups.values()),
        "files": plan["files"],
        "groups": groups,
        "without_documents": sorted(set(plan["shares"] or ()) - set(groups)),
        "sources": _given(rows, "source", settings.characters_per_token),
    }


def _given(
    rows: Sequence[Mapping[str, Any]],
    key: str,
    characters_per_token: Mapping[str, float],
) -> dict[str, dict[str, Any]]:
    """Documents, copies, tokens and epochs by group or source."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    characters: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for row in rows:
        sums[row[key]].update({"documents": row["documents"], "copies": row["copies"]})
        for name in ("characters", "characters_given"):
            characters[row[key]][name, row["lang"]] += row[name]
    result: dict[str, dict[str, Any]] = {}
    for name in sorted(sums):
        tokens = {"characters": 0.0, "characters_given": 0.0}
        for (kind, lang), number in sorted(characters[name].items()):
            tokens[kind] += number / per_token(lang, characters_per_token)
        available, given = tokens["characters"], tokens["characters_given"]
        result[name] = {
            "documents": sums[name]["documents"],
            "copies": sums[name]["copies"],
            "tokens_available": round(available),
            "tokens_given": round(given),
            "epochs": given / available if available else 0.0,
        }
    return result
