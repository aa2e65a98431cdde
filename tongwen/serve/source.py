"""Where a served model comes from: a model folder or a run directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongwen.errors import InputError
from tongwen.files import read_json
from tongwen.model.device import Arithmetic
from tongwen.model.llama import Llama
from tongwen.model.quantized.folder import load_any_model
from tongwen.model.sampler import Sampling
from tongwen.recipe.loader import load_section
from tongwen.serve.settings import ServeSettings
from tongwen.stages import find_model_folder
from tongwen.tokenizer.folder import stop_ids_of
from tongwen.tokenizer.prompts import ChatTemplate, load_template
from tongwen.tokenizer.text import Tokenizer


@dataclass(frozen=True)
class ServedModel:
    """A model with all it takes to answer.

    Attributes:
        name: what requests call it.
        folder: where it was read from.
        stop_ids: an answer ends before the first of these.
        has_chat: whether the tokenizer can write dialogues.
        template: writes dialogues; None where the model knows none.
        sampling: how its generation_config.json wants tokens chosen.
    """

    name: str
    folder: Path
    model: Llama
    tokenizer: Tokenizer
    stop_ids: tuple[int, ...]
    has_chat: bool
    template: ChatTemplate | None
    sampling: Sampling


def find_source(path: Path) -> Path:
    """`path`, or the run of that name below `runs/`.

    Raises:
        InputError: there is neither.
    """
    if not path.exists() and len(path.parts) == 1 and (Path("runs") / path).is_dir():
        return Path("runs") / path
    if not path.is_dir():
        raise InputError(
            f"there is no model folder or run directory {path}",
            hint="make one with `tongwen run sample`, then name runs/sample",
        )
    return path


def run_settings(source: Path) -> ServeSettings:
    """The `[serve]` section of a run's own recipe; of a model folder the defaults."""
    recipe = source / "recipe.toml"
    return load_section(ServeSettings, recipe, "serve") if recipe.is_file() else ServeSettings()


def load_served_model(source: Path, *, quantized: bool, settings: ServeSettings) -> ServedModel:
    """Read a model, its tokenizer and its stop ids.

    Raises:
        InputError: something is missing, damaged or does not belong together.
    """
    folder = find_model_folder(source, is_quantized=quantized)
    tokenizer = Tokenizer.load(folder)
    arithmetic = Arithmetic.for_answers("auto", settings.precision)
    model, _ = load_any_model(folder, arithmetic.dtype, arithmetic.device)
    return ServedModel(
        name=_name(source),
        folder=folder,
        model=model,
        tokenizer=tokenizer,
        stop_ids=_stop_ids(folder, tokenizer),
        has_chat=tokenizer.has_chat,
        template=load_template(folder, tokenizer),
        sampling=_sampling(folder),
    )


def _name(source: Path) -> str:
    """What a person would call it: `runs/sample` and `runs/sample/model` are both `sample`."""
    parts = [part for part in source.absolute().parts if part not in ("model", "export", "stages")]
    return parts[-1]


def _stop_ids(folder: Path, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids in `generation_config.json` or `config.json`, and the end of a turn.

    Yi's published folders name `<|endoftext|>` alone, and its chat models never stopped.
    """
    return tuple(sorted(stop_ids_of(folder) | {*tokenizer.stop_ids}))


_SAMPLING_RANGES = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 100),
}


def _sampling(folder: Path) -> Sampling:
    """How `generation_config.json` wants tokens chosen; greedy without it.

    Raises:
        InputError: a value is out of its range.
    """
    file = folder / "generation_config.json"
    config = read_json(file) if file.is_file() else {}
    found: dict[str, Any] = {}
    for name, (least, most) in _SAMPLING_RANGES.items():
        value = config.get(name)
        if value is None:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not (least <= value <= most)
        ):
            raise InputError(f"{name} is {value!r} in {file}", hint=f"use {least} to {most}")
        found[name] = float(value)
    top_k = config.get("top_k")
    if isinstance(top_k, int) and top_k > 0:
        found["top_k"] = top_k
    if config.get("do_sample"):
        found.setdefault("temperature", 1.0)  # as transformers has it
    else:
        found["temperature"] = 0.0
    return Sampling(**found)
