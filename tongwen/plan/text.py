"""A plan as people read it."""

from collections.abc import Iterator, Mapping
from typing import Any

from tongwen.progress import duration_text


def plan_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    """The plan, a line at a time."""
    model, machine = plan["model"], plan["machine"]
    yield (
        f"model     {model['parameters'] / 1e9:.3f} B parameters, "
        f"{model['non_embedding_parameters'] / 1e9:.3f} B without embeddings"
        if model["parameters"] >= 1e9
        else f"model     {model['parameters']:,} parameters, "
        f"{model['non_embedding_parameters']:,} without embeddings"
    )
    if plan["data"]:
        yield f"data      {plan['data']['tokens']:,} training tokens"
    yield (
        f"machine   {_gib(machine['memory_bytes'])} of memory and "
        f"{_gib(machine['disk_bytes'])} of disk free, {machine['cores']} cores"
    )
    for name, stage in plan["stages"].items():
        yield from _stage_lines(name, stage)


def _stage_lines(name: str, stage: Mapping[str, Any]) -> Iterator[str]:
    epochs = f", {stage['epochs']:.2f} epochs" if stage["epochs"] is not None else ""
    yield (
        f"{name:9} {stage['tokens']:,} tokens in {stage['steps']:,} steps of "
        f"{stage['batch_tokens']:,}{epochs}, {stage['dtype']} on {stage['device']}"
    )
    yield (
        f"          {stage['flops_per_token_full']:.3e} FLOPs a token "
        f"({stage['flops_per_token_causal']:.3e} causal), "
        f"{stage['flops_full']:.3e} in all ({stage['flops_causal']:.3e} causal)"
    )
    terms = ", ".join(f"{key} {_gib(value)}" for key, value in stage["memory"].items())
    yield f"          memory {_gib(stage['predicted_memory_bytes'])}: {terms}"
    yield f"          disk {_gib(stage['disk_bytes'])} for checkpoints and model"
    if stage["predicted_seconds"] is not None:
        price = stage["predicted_price"]
        cost = f", price {price:,.2f}" if price is not None else ""
        yield (
            f"          time {duration_text(stage['predicted_seconds'])} at "
            f"{stage['tokens_per_second']:,.0f} tokens/s, "
            f"{stage['flops_per_second'] / 1e9:,.0f} GFLOP/s{cost}"
        )
    for note in stage["notes"]:
        yield f"          note: {note}"


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f} GiB" if size < 10 * 2**30 else f"{size / 2**30:,.1f} GiB"
