"""What a ladder will cost and what it found, as people read it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tongwen.plan.calibrate import timed_steps
from tongwen.plan.climb import LAW, Ascent, laws_of
from tongwen.plan.ladder import Rung, own_flops


def dry_run_lines(ascent: Ascent) -> Iterator[str]:
    """Every run with its FLOPs, and the time that a timed step of each size foretells."""
    climb = ascent.climb
    sweep = list(climb.sweep())
    swept = ascent.rows(sweep)
    if len(swept) == len(sweep):
        rest, of = ascent.rungs(), "best of the sweep"
    else:
        middle = sweep[len(sweep) // 2].settings
        rest = climb.rungs(middle.peak_learning_rate, middle.batch_tokens)
        of = "middle of the sweep until it is run"
    runs = [*sweep, *rest]
    costs = [*(rung.flops for rung in sweep), *own_flops(rest)]
    speeds = {rung.config.hidden_size: _speed(rung) for rung in rest}
    total_seconds = 0.0
    yield f"rate and batch of the runs that are not of the sweep: {of}"
    yield f"{'':9} {'width':>5} {'layers':>6} {'parameters':>11} {'tokens':>13} {'FLOPs':>8}  left"
    for rung, cost in zip(runs, costs, strict=True):
        speed = speeds[rung.config.hidden_size]
        seconds = None if speed is None else cost / speed
        is_done = ascent.row(rung) is not None
        total_seconds += 0.0 if is_done or seconds is None else seconds
        left = "done" if is_done else "unknown" if seconds is None else f"{seconds / 60:,.1f} min"
        yield (
            f"{rung.part:9} {rung.config.hidden_size:5,} {rung.config.num_hidden_layers:6,} "
            f"{rung.config.parameters:11,} {rung.tokens:13,} {cost:8.1e}  {left}"
        )
    apart = sum(rung.flops for rung in runs)
    yield (
        f"{len(runs)} runs, {sum(costs):.2e} FLOPs (without shared trunks {apart:.2e}), "
        f"{total_seconds / 60:,.0f} min on this machine where a step could be timed"
    )
    most = max(rung.tokens for rung in runs)
    if most > 4 * ascent.training_tokens:
        yield (
            f"warning: the longest run repeats the {ascent.training_tokens:,} training tokens "
            f"{most / ascent.training_tokens:.1f} times"
        )


def _speed(rung: Rung) -> float | None:
    """FLOPs a second of this machine on a size."""
    settings = replace(rung.settings, complete_p=None)
    found = timed_steps(rung.config, settings, steps=1, target_share=1.0)
    return None if found is None else rung.flops / rung.settings.steps / found.step_seconds


def result(ascent: Ascent) -> dict[str, Any]:
    """Runs, laws and settled forecasts as JSON values."""
    rungs = ascent.rungs()
    laws, _ = laws_of(ascent.rows(rungs))
    runs = ascent.rows([*ascent.climb.sweep(), *rungs])
    return {
        "file": str(ascent.ground.out / LAW),
        "runs": [row for place, row in enumerate(runs) if row not in runs[:place]],
        "laws": {
            language: {"formula": _formula(law), "deviation": law.relative_deviation}
            for language, law in laws.items()
        },
        "forecasts": [
            {
                "parameters": rung.config.parameters,
                "tokens": rung.tokens,
                "flops": rung.flops,
                "language": milestone.language,
                "forecast": milestone.bits_per_byte.expected,
                "low": milestone.bits_per_byte.low,
                "high": milestone.bits_per_byte.high,
                "outcome": outcome,
                "error": outcome / milestone.bits_per_byte.expected - 1,
                "within": milestone.bits_per_byte.holds(outcome),
            }
            for rung, milestone, outcome in ascent.forecasts()
        ],
        "cannot_know": ascent.cannot_know(),
    }


def result_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What `result` gives as tables in Markdown, as documentation takes them."""
    languages = sorted(found["laws"])
    yield "| run | parameters | tokens | FLOPs | rate | batch | " + " | ".join(languages) + " |"
    yield "|" + "---|" * (6 + len(languages))
    for row in found["runs"]:
        losses = " | ".join(f"{row['bits_per_byte'][language]:.4f}" for language in languages)
        yield (
            f"| {row['part']} | {row['parameters']:,} | {row['tokens']:,} | {row['flops']:.2e} | "
            f"{row['rate']:.3g} | {row['batch_tokens']:,} | {losses} |"
        )
    yield ""
    for language, law in found["laws"].items():
        yield f"- {language}: {law['formula']}; runs deviate by {law['deviation']:.2%}"
    if found["forecasts"]:
        yield ""
        yield from _forecast_lines(found["forecasts"])
    yield ""
    yield "What these runs cannot know:"
    yield from (f"- {text}" for text in found["cannot_know"])


def _forecast_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| forecast of | tokens | FLOPs | language | forecast | 80 % | outcome | error | within |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        yield (
            f"| {row['parameters']:,} | {row['tokens']:,} | {row['flops']:.2e} | "
            f"{row['language']} | {row['forecast']:.4f} | {row['low']:.4f} to {row['high']:.4f} | "
            f"{row['outcome']:.4f} | {row['error']:+.2%} | {'yes' if row['within'] else 'no'} |"
        )
    inside = sum(row["within"] for row in rows)
    errors = [abs(row["error"]) for row in rows]
    yield ""
    yield (
        f"{inside} of {len(rows)} within the interval; mean error {sum(errors) / len(rows):.2%}, "
        f"largest {max(errors):.2%}."
    )


def _formula(law: Any) -> str:
    size = "N" if law.counts_embeddings else "N without embeddings"
    return (
        f"{law.irreducible:.3f} + {law.parameter_factor:.3g} / N^{law.parameter_exponent:.3f} + "
        f"{law.token_factor:.3g} / D^{law.token_exponent:.3f} ({size})"
    )
