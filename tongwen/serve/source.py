"""Where a served model comes from: a model folder or a run directory."""

from dataclasses import dataclass
from pathlib import Path

from tongwen.errors import InputError
from tongwen.files import read_json
from tongwen.model.device import Arithmetic
from tongwen.model.llama import Llama
from tongwen.model.quantized.folder import load_any_model
from tongwen.recipe.loader import load_section
from tongwen.serve.settings import ServeSettings
from tongwen.stages import find_model_folder
from tongwen.tokenizer.special import IM_END, IM_START
from tongwen.tokenizer.text import Tokenizer


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
        has_chat=IM_START in tokenizer.special_ids and IM_END in tokenizer.special_ids,
    )


def _name(source: Path) -> str:
    """What a person would call it: `runs/sample` and `runs/sample/model` are both `sample`."""
    parts = [part for part in source.absolute().parts if part not in ("model", "export", "stages")]
    return parts[-1]


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
