"""What to change in a stage that does not fit: a setting that does fit, never the present value."""

from collections.abc import Iterator
from dataclasses import replace

from tongwen.errors import RecipeError
from tongwen.model.config import ModelConfig
from tongwen.plan.formulas import Memory, training_memory
from tongwen.train.parallel.check import check_layout
from tongwen.train.settings import TrainSettings

_Change = dict[str, object]
"""Setting, as in `parallel.shard` -> value."""

_MOST_PROCESSES = 4_096  # a hint beyond it helps nobody, and the search ends


def hint_to_fit(
    name: str,
    config: ModelConfig,
    settings: TrainSettings,
    free_bytes: int,
    *,
    bf16: bool,
    on_cpu: bool,
    process_bytes: int,
    lanes: int,
    may_name_memory: bool,
) -> str:
    """The least change of the stage `name` that the trainer accepts and that fits, as `--set`.

    First what costs no time (smaller micro-batches), then what computes again, then more processes.

    Args:
        name: of the stage.
        config: the model.
        settings: of the stage, which does not fit.
        free_bytes: that a process may take.
        bf16: as `training_memory` has it.
        on_cpu: likewise.
        process_bytes: likewise.
        lanes: likewise.
        may_name_memory: whether naming another machine's memory would change anything.
    """

    def fits(changed: TrainSettings) -> bool:
        memory: Memory = training_memory(
            config, changed, bf16=bf16, on_cpu=on_cpu, process_bytes=process_bytes, lanes=lanes
        )
        return memory.total <= free_bytes

    for change in _changes(config, settings):
        changed = _changed(settings, change)
        if changed is None or not fits(changed):
            continue
        try:
            check_layout(config, changed, changed.parallel.fewest_processes)
        except RecipeError:
            continue
        said = " ".join(f"--set {name}.{key}={value}" for key, value in change.items())
        needs_more = any(key.startswith("parallel.") for key in change)
        return f"{said}, or choose a smaller model" if needs_more else said
    other = ", or name another machine's memory with --set plan.memory_gib=GIB"
    return "choose a smaller model" + (other if may_name_memory else "")


def _changes(config: ModelConfig, settings: TrainSettings) -> Iterator[_Change]:
    """From the cheapest on, no two of which leave the settings as they are."""
    micro: list[_Change] = [
        {"micro_batch_tokens": rows * settings.sequence_tokens} for rows in _smaller(settings)
    ]
    order = ("none", "cheap", "layer")
    again: list[_Change] = [
        {"recompute": kind} for kind in order[order.index(settings.recompute) + 1 :]
    ]
    yield from micro
    yield from again
    if micro:
        yield from ({**micro[-1], **change} for change in again)
    cheapest: _Change = {**(micro[-1] if micro else {}), **(again[-1] if again else {})}
    for shard in _doublings(settings.parallel.shard or 1):
        yield {"parallel.shard": shard}
        yield {"parallel.shard": shard, **cheapest}
    for axis in ("tensor", "context"):
        for degree in _doublings(getattr(settings.parallel, axis), most=64):
            yield {f"parallel.{axis}": degree, **cheapest}


def _smaller(settings: TrainSettings) -> list[int]:
    """Sequences of a micro-batch, fewer than now, that divide the smallest batch; falling."""
    smallest = settings.initial_batch_tokens or settings.batch_tokens
    sequences = smallest // settings.sequence_tokens
    now = settings.sequences_per_micro_batch
    return [rows for rows in range(now - 1, 0, -1) if sequences % rows == 0]


def _doublings(now: int, most: int = _MOST_PROCESSES) -> Iterator[int]:
    degree = 2 * now
    while degree <= most:
        yield degree
        degree *= 2


def _changed(settings: TrainSettings, change: _Change) -> TrainSettings | None:
    """The settings with the change; None where they refuse it."""
    own = {key: value for key, value in change.items() if "." not in key}
    degrees = {
        key.partition(".")[2]: value for key, value in change.items() if key.startswith("parallel.")
    }
    try:
        parallel = replace(settings.parallel, **degrees)  # type: ignore[arg-type]
        return replace(settings, parallel=parallel, **own)  # type: ignore[arg-type]
    except RecipeError:
        return None
