"""Answers of the planner as people read them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tongwen.progress import duration_text

_NAMES = {"en": "English", "zh": "Chinese"}


def answer_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """A planned run, a line at a time; the last lines are sections for a recipe."""
    device, model, settings = answer["device"], answer["model"], answer["settings"]
    yield (
        f"machine   {answer['gpus']:,} x {device['name']}, {device['peak_tflops']:,.4g} TFLOP/s "
        f"and {device['memory_gib']:,.1f} GiB each"
    )
    yield f"model     {_model_text(model)}"
    yield (
        f"tokens    {_count(answer['tokens'])} ({answer['tokens_per_parameter']:.3g} a parameter), "
        f"{answer['steps']:,} steps of {settings['batch_tokens']:,}, "
        f"{answer['flops']:.3e} FLOPs"
    )
    yield (
        f"rate      {settings['peak_learning_rate']:.3g} after {settings['warmup_share']:.1%} of "
        f"warm-up, {settings['decay']}"
    )
    for law in answer["rate_laws"]:
        batch = f", batch {law['batch_tokens']:,.0f}" if law["batch_tokens"] else ""
        yield f"          {law['law']}: {law['rate']:.2e}{batch} ({law['references']})"
    yield f"layout    {_layout_text(settings)}"
    yield (
        f"memory    {_gib(answer['memory_bytes'])} of {device['memory_gib']:,.1f} GiB: "
        + ", ".join(f"{key} {_gib(value)}" for key, value in answer["memory"].items())
    )
    speed = answer["efficiency"]
    yield (
        f"speed     {answer['tokens_per_second']:,.0f} tokens/s, {speed['mfu']:.1%} of peak "
        f"({speed['mfu_before_layout']:.1%} before the layout), goodput {speed['goodput']:.1%}"
    )
    yield f"          {speed['basis']}"
    yield (
        f"save      every {settings['checkpoint_every_steps']:,} steps "
        f"({answer['checkpoint_minutes']:,.0f} minutes); a failure every "
        f"{settings['hours_between_failures']:,.0f} hours"
    )
    yield f"time      {_days(answer['days'])}, {_range(answer['gpu_hours'])} GPU hours"
    price = answer["price"]
    yield (
        f"cost      {_range(answer['energy_kwh'])} kWh"
        + (f", {_range(price)} dollars" if price else ", no price is known: --price-per-hour")
    )
    if answer["serving_gpu_hours"]:
        yield f"serving   {answer['serving_gpu_hours']:,.0f} GPU hours over the model's life"
    yield from _loss_lines(answer["bits_per_byte"])
    for note in answer["notes"]:
        yield f"note      {note}"
    for assumption in answer["assumptions"]:
        yield f"assumed   {assumption}"
    yield ""
    yield from recipe_lines(answer["stage"], model, settings)


def _model_text(model: Mapping[str, Any]) -> str:
    tied = ", tied" if model["tie_word_embeddings"] else ""
    return (
        f"{_count(model['parameters'])} parameters: {model['num_hidden_layers']} layers of "
        f"{model['hidden_size']:,}, {model['num_attention_heads']} heads on "
        f"{model['num_key_value_heads']}, feed-forward {model['intermediate_size']:,}{tied}"
    )


def _layout_text(settings: Mapping[str, Any]) -> str:
    degrees = [f"{name} {n}" for name, n in settings["parallel"].items() if n and n > 1]
    rows = settings["micro_batch_tokens"] // settings["sequence_tokens"]
    return (
        f"{' x '.join(degrees) or 'one process'}, micro-batches of {rows} x "
        f"{settings['sequence_tokens']:,} tokens, recompute {settings['recompute']}"
    )


def _loss_lines(bits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for place, (language, row) in enumerate(bits.items()):
        head = "bits/byte" if place == 0 else ""
        name = _NAMES.get(language, language)
        if row["expected"] is None:
            yield f"{head:9} {name}: {row['why']}"
            continue
        far = row["extrapolation"]
        mark = f"; {far:,.3g} times beyond its runs: EXTRAPOLATED" if far > 1 else ""
        yield (
            f"{head:9} {name}: {row['expected']:.3f} ({row['low']:.3f} to {row['high']:.3f}) by "
            f"{row['law']}, {row['references']}{mark}"
        )


_SHAPE = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "tie_word_embeddings",
)


def recipe_lines(
    stage: str, model: Mapping[str, Any], settings: Mapping[str, Any]
) -> Iterator[str]:
    """Sections of a recipe that ask for the planned run; a later stage has its model already."""
    if stage == "pretrain":
        yield "[model]"
        yield from (f"{name} = {_toml(model[name])}" for name in _SHAPE)
        yield ""
    yield f"[{stage}]"
    for name, value in settings.items():
        if name != "parallel":
            yield f"{name} = {_toml(value)}"
    degrees = ", ".join(f"{name} = {n}" for name, n in settings["parallel"].items() if n)
    yield f"parallel = {{ {degrees} }}"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value}"


def tuning_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """Tuning with adapters, a line at a time."""
    device = answer["device"]
    yield f"machine   1 x {device['name']}, {device['memory_gib']:,.1f} GiB"
    yield f"model     {_model_text(answer['model'])}"
    yield (
        f"adapters  {answer['method']} of rank {answer['rank']}: "
        f"{answer['adapter_parameters']:,} parameters"
    )
    yield (
        f"passes    {answer['sequences_per_micro_batch']} x {answer['sequence_tokens']:,} tokens, "
        f"recompute {answer['recompute']}"
    )
    terms = ", ".join(f"{key} {_gib(value)}" for key, value in answer["memory"].items())
    yield f"memory    {_gib(answer['memory_bytes'])}: {terms}"
    yield (
        f"speed     {answer['tokens_per_second']:,.0f} tokens/s at "
        f"{answer['efficiency']['mfu']:.1%} of peak"
    )
    yield f"          {answer['efficiency']['basis']}"
    if answer["seconds"] is not None:
        cost = f", {answer['price']:,.2f} dollars" if answer["price"] is not None else ""
        yield f"time      {duration_text(answer['seconds'])}{cost}"
    for note in answer["notes"]:
        yield f"note      {note}"


def fitting_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A table: GiB that each way of using a model needs, those that are not there in brackets."""
    head = ("shape", "parameters", "train", "lora", "qlora", "answer", "int8")
    yield f"{head[0]:16}{head[1]:>12}" + "".join(f"{name:>12}" for name in head[2:])
    for row in rows:
        cells = [
            f"{value / 2**30:,.1f}" if row["fits"][key] else f"({value / 2**30:,.1f})"
            for key, value in row["memory_bytes"].items()
        ]
        yield (
            f"{row['shape']:16}{_count(row['parameters']):>12}"
            + "".join(f"{cell:>12}" for cell in cells)
        )
    yield "GiB with one sequence at a time, layers computed again; (in brackets: does not fit)"


def _count(value: float) -> str:
    for unit, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
        if value >= scale:
            return f"{value / scale:,.4g}{unit}"
    return f"{value:,.0f}"


def _range(values: Mapping[str, float]) -> str:
    return f"{values['expected']:,.0f} ({values['low']:,.0f} to {values['high']:,.0f})"


def _days(values: Mapping[str, float]) -> str:
    if values["expected"] >= 3:
        return f"{values['expected']:,.1f} days ({values['low']:,.1f} to {values['high']:,.1f})"
    low, expected, high = (
        duration_text(values[key] * 86_400) for key in ("low", "expected", "high")
    )
    return f"{expected} ({low} to {high})"


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"
