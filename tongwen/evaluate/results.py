"""Results: what a task's items come to, with error bars, as JSON and as a table."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tongwen.errors import InputError
from tongwen.evaluate.spec import BITS, TaskSpec
from tongwen.evaluate.statistics import Estimate, estimate
from tongwen.files import value_digest

SCHEMA = "tongwen.evaluation"
VERSION = 1  # raise it when a field changes its meaning

Record = Mapping[str, Any]


def summaries(task: str, spec: TaskSpec, records: Sequence[Record]) -> list[dict[str, Any]]:
    """One result for each language of a task, languages in the order of their names.

    Raises:
        InputError: no item of a language could be scored.
    """
    languages = sorted({record["language"] for record in records})
    return [
        _summary(task, spec, language, [row for row in records if row["language"] == language])
        for language in languages
    ]


def _summary(task: str, spec: TaskSpec, language: str, records: Sequence[Record]) -> dict[str, Any]:
    asked, records = records, [record for record in records if not record["not_scored"]]
    reasons = Counter(record["not_scored"] for record in asked if record["not_scored"])
    if not records:
        refusal = next((row["refusal"] for row in asked if "refusal" in row), "")
        raise _nothing_scored(task, language, reasons, refusal)
    main = _estimate(records, spec.metric)
    chance = None if spec.metric == BITS else _chance(spec, records)
    groups = sorted({record["group"] for record in records} - {""})
    example = records[0]
    result = {
        "task": task,
        "description": spec.description,
        "license": spec.license,
        "language": language,
        "kind": spec.kind,
        "metric": spec.metric,
        **_estimate_json(main),
        "n": main.n,
        "clusters": main.clusters,
        "chance": chance,
        "above_chance": above_chance(main.value, chance),
        "scores": {
            name: _estimate_json(_estimate(records, name)) for name in sorted(example["scores"])
        },
        "groups": {
            group: _group_json([row for row in records if row["group"] == group], spec.metric)
            for group in groups
        },
        "not_scored": {name: reasons[name] for name in ("not_finite", "too_long", "refused")},
        "truncated": sum(record["truncated"] for record in records),
        **_kind_counts(spec, records),
        "example": {key: example[key] for key in ("id", "prompt", "gold", "scores")}
        | {
            key: example[key]
            for key in ("answer", "accepted", "choices", "samples")
            if key in example
        },
        "prompt_digest": value_digest([[row["prompt"], row["choices"]] for row in asked])
        if spec.kind == "generate"
        else value_digest(
            [[row["prompt"], [choice["text"] for choice in row["choices"]]] for row in asked]
        ),
    }
    return result | {"warnings": warnings(result)}


def above_chance(value: float, chance: float | None) -> float | None:
    """The score on a scale where a guess is 0 and a right answer to everything 1."""
    return None if chance is None or chance >= 1 else (value - chance) / (1 - chance)


def _nothing_scored(task: str, language: str, reasons: Counter[str], refusal: str) -> InputError:
    broken, too_long = reasons["not_finite"], reasons["too_long"]
    if refused := reasons["refused"]:
        return InputError(
            f"{task} ({language}): the server refused {refused:,} of {reasons.total():,} items and "
            f"scored none; the first: {refusal}",
            hint="are its window or its limits too small? Lower the task's shots or leave it out",
        )
    if broken >= too_long:
        return InputError(
            f"{task} ({language}): the model's logits are NaN or infinite for all of "
            f"{broken:,} items that fit its window",
            hint="its weights are damaged or overflow in this precision: try "
            "--set evaluate.precision=fp32, or an earlier checkpoint",
        )
    return InputError(
        f"{task} ({language}): none of {too_long:,} items fits the model's window",
        hint="lower the task's max_new_tokens or shots, or leave the task out",
    )


def _kind_counts(spec: TaskSpec, records: Sequence[Record]) -> dict[str, Any]:
    if spec.kind == "choice":
        return {"near_ties": sum(record["near_tie"] for record in records)}
    if spec.kind == "program":
        samples = [sample for record in records for sample in record["samples"]]
        return {
            "verdicts": dict(sorted(Counter(sample["verdict"] for sample in samples).items())),
            "hit_limit": sum(record["hit_limit"] for record in records),
        }
    return {
        "not_extracted": sum(not record["extracted"] for record in records),
        "hit_limit": sum(record["hit_limit"] for record in records),
    }


def _chance(spec: TaskSpec, records: Sequence[Record]) -> float:
    if spec.chance is not None:
        return spec.chance
    if spec.kind != "choice":
        return 0.0
    return math.fsum(1 / len(record["choices"]) for record in records) / len(records)


def _estimate(records: Sequence[Record], metric: str) -> Estimate:
    return estimate(
        [record["scores"][metric] for record in records],
        [record["cluster"] for record in records],
        highest=math.inf if metric == BITS else 1.0,
    )


def _estimate_json(result: Estimate) -> dict[str, Any]:
    return {
        "value": result.value,
        "standard_error": result.standard_error,
        "interval": None if result.interval is None else list(result.interval),
    }


def _group_json(records: Sequence[Record], metric: str) -> dict[str, Any]:
    result = _estimate(records, metric)
    return {"n": result.n, **_estimate_json(result)}


def warnings(result: Mapping[str, Any]) -> list[str]:
    """What a reader of the score must know before believing it."""
    name, n = f"{result['task']} ({result['language']})", result["n"]
    found = []
    not_scored = result["not_scored"]
    asked = n + sum(not_scored.values())
    if not_scored["not_finite"]:
        found.append(
            f"{name}: {not_scored['not_finite']:,} of {asked:,} items are not scored, the model's "
            "logits are NaN or infinite"
        )
    if not_scored["too_long"]:
        found.append(
            f"{name}: {not_scored['too_long']:,} of {asked:,} items are not scored, they do not "
            "fit the model's window"
        )
    if not_scored["refused"]:
        found.append(
            f"{name}: {not_scored['refused']:,} of {asked:,} items are not scored, the server "
            "refused them"
        )
    if result["truncated"]:
        found.append(
            f"{name}: {result['truncated']:,} of {n:,} prompts are longer than the model's "
            "window and lost their beginning"
        )
    if result.get("not_extracted", 0) > 0.95 * n:
        found.append(f"{name}: {result['not_extracted']:,} of {n:,} answers could not be read")
    if result.get("near_ties", 0) > 0.01 * n:
        found.append(
            f"{name}: {result['near_ties']:,} of {n:,} predictions are near ties, which another "
            "batch or machine may decide otherwise"
        )
    if result.get("hit_limit", 0) > 0.5 * n:
        found.append(f"{name}: {result['hit_limit']:,} of {n:,} answers were cut at max_new_tokens")
    return found


def table(results: Sequence[Mapping[str, Any]], missing: Sequence[Mapping[str, Any]] = ()) -> str:
    """The results as lines of text, aligned for a terminal; tasks without data last, with why."""
    header = ("task", "language", "metric", "n", "value", "95 % interval", "chance", "protocol")
    lines = [header, *map(_line, results)]
    lines += [
        (entry["task"], entry["language"], entry["metric"], "-", "-", "-", "-", entry["reason"])
        for entry in missing
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 3 or column == len(header) - 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _line(result: Mapping[str, Any]) -> tuple[str, ...]:
    low_high, chance = result["interval"], result["chance"]
    return (
        result["task"],
        result["language"],
        result["metric"],
        f"{result['n']:,}",
        f"{result['value']:.3f}",
        "-" if low_high is None else f"{low_high[0]:.3f} to {low_high[1]:.3f}",
        "-" if chance is None else f"{chance:.3f}",
        result.get("asked", ""),
    )
