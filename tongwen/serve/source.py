"""Where a served model comes from: a model folder or a run directory."""

from dataclasses import dataclass
from pathlib import Path

import torch

from tongwen.errors import InputError
from tongwen.files import read_json
from tongwen.model.int8_folder import MODEL_TYPE, load_any_model
from tongwen.model.llama import Llama
from tongwen.recipe.loader import load_section
from tongwen.serve.settings import ServeSettings
from tongwen.tokenizer.special import IM_END, IM_START
from tongwen.tokenizer.text import Tokenizer

_PLAIN = ("model", "stages/export", "stages/tune/model", "stages/extend/model",
          "stages/pretrain/model")  # fmt: skip
_QUANTIZED = ("stages/quantize/model",)


@dataclass(frozen=True)
class ServedModel:
    """A model with all it takes to answer.

    Attributes:
        name: what requests call it.
        folder: where it was read from.
        stop_ids: an answer ends before the first of these.
        has_chat: whether the tokenizer knows the markers of dialogues.
    """

    name: str
    folder: Path
    model: Llama
    tokenizer: Tokenizer
    stop_ids: tuple[int, ...]
    has_chat: bool


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


def choose_model_folder(source: Path, *, quantized: bool) -> Path:
    """The folder with `config.json` of a model folder or a run directory.

    Args:
        source: see `find_source`.
        quantized: of a run take the int8 model.

    Raises:
        InputError: it holds no such model.
    """
    if (source / "config.json").is_file():
        return source
    candidates = _QUANTIZED if quantized else _PLAIN
    for candidate in candidates:
        if (source / candidate / "config.json").is_file():
            return source / candidate
    stage = "quantize" if quantized else "pretrain"
    raise InputError(
        f"{source} holds no {'int8 ' if quantized else ''}model: no config.json in it or in "
        f"{', '.join(candidates)}",
        hint=f"is the run finished? It needs its stage `{stage}`: tongwen run RECIPE",
    )


def run_settings(source: Path) -> ServeSettings:
    """The `[serve]` section of a run's own recipe; of a model folder the defaults."""
    recipe = source / "recipe.toml"
    return load_section(ServeSettings, recipe, "serve") if recipe.is_file() else ServeSettings()


def load_served_model(source: Path, *, quantized: bool, settings: ServeSettings) -> ServedModel:
    """Read a model, its tokenizer and its stop ids.

    Raises:
        InputError: something is missing, damaged or does not belong together.
    """
    folder = choose_model_folder(source, quantized=quantized)
    tokenizer = Tokenizer.load(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, _ = load_any_model(folder, _dtype(folder, settings, device), device)
    return ServedModel(
        name=_name(source),
        folder=folder,
        model=model,
        tokenizer=tokenizer,
        stop_ids=_stop_ids(folder, tokenizer),
        has_chat=IM_START in tokenizer.special_ids and IM_END in tokenizer.special_ids,
    )


def _name(source: Path) -> str:
    """What a person would call it: `runs/sample` and `runs/sample/model` are both `sample`."""
    parts = [part for part in source.absolute().parts if part not in ("model", "export", "stages")]
    return parts[-1]


def _dtype(folder: Path, settings: ServeSettings, device: str) -> torch.dtype:
    if settings.precision != "auto":
        return torch.bfloat16 if settings.precision == "bf16" else torch.float32
    # int8 weights have a fast CPU kernel for bfloat16 activations only.
    is_int8 = read_json(folder / "config.json").get("model_type") == MODEL_TYPE
    return torch.bfloat16 if is_int8 or device == "cuda" else torch.float32


def _stop_ids(folder: Path, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids in `generation_config.json` or `config.json`, and the end of a turn.

    Yi's published folders name `<|endoftext|>` alone, and its chat models never stopped.
    """
    found: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            ids = read_json(folder / name).get("eos_token_id")
            found.update(ids if isinstance(ids, list) else [] if ids is None else [ids])
    if IM_END in tokenizer.special_ids:
        found.add(tokenizer.special_ids[IM_END])
    return tuple(sorted(found))
