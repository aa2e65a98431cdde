"""The whole recipe: one frozen dataclass per section, the presets, and reading them."""

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from tongwen.crawl.settings import CrawlSettings
from tongwen.curate.settings import CurateSettings
from tongwen.encode.settings import EncodeSettings
from tongwen.errors import RecipeError
from tongwen.evaluate.settings import EvaluateSettings
from tongwen.export.settings import ExportSettings
from tongwen.extend.settings import ExtendSettings
from tongwen.flow.settings import RunSettings
from tongwen.model.settings import ModelSettings
from tongwen.plan.settings import PlanSettings
from tongwen.quantize.settings import QuantizeSettings
from tongwen.recipe.loader import (
    from_toml,
    hints_of,
    merge,
    parse_toml,
    read_toml,
    table_kind,
    tables_of,
    to_toml,
)
from tongwen.recipe.origin import Origin, Source
from tongwen.recipe.override import Override, apply_override, parse_override
from tongwen.recipe.shared import SharedSection
from tongwen.report.settings import ReportSettings
from tongwen.serve.settings import ServeSettings
from tongwen.tokenizer.settings import TokenizerSettings
from tongwen.train.settings import PretrainSettings
from tongwen.tune.settings import TuneSettings


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole recipe. A section that is None leaves its stage out."""

    run: RunSettings
    crawl: CrawlSettings = field(default_factory=CrawlSettings)
    curate: CurateSettings = field(default_factory=CurateSettings)
    tokenizer: TokenizerSettings = field(default_factory=TokenizerSettings)
    encode: EncodeSettings = field(default_factory=EncodeSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    plan: PlanSettings = field(default_factory=PlanSettings)
    pretrain: PretrainSettings | None = None
    extend: ExtendSettings | None = None
    tune: TuneSettings | None = None
    evaluate: EvaluateSettings | None = None
    quantize: QuantizeSettings | None = None
    export: ExportSettings = field(default_factory=ExportSettings)
    serve: ServeSettings = field(default_factory=ServeSettings)
    report: ReportSettings = field(default_factory=ReportSettings)


TRAIN = SharedSection(
    "train", {"pretrain": PretrainSettings, "extend": ExtendSettings, "tune": TuneSettings}
)
"""[train]: what the three stages that train have in common."""

_TABLES = {**tables_of(Recipe), TRAIN.name: TRAIN.tables}


def preset_names() -> list[str]:
    """Names of the recipes that ship in the package."""
    folder = resources.files("tongwen.road") / "presets"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def preset_line(name: str) -> str:
    """What a preset is, in one line: the comment it begins with."""
    return _preset_text(name).partition("\n")[0].removeprefix("#").strip().rstrip(".")


def load_recipe(
    name: str, overrides: Sequence[str] = (), options: Mapping[str, Any] = {}
) -> Recipe:
    """The recipe of a preset or of a TOML file, with `section.key=value` overrides applied.

    `options` are what a command's own options and arguments set, `section.key` -> value as TOML
    has it; they go over the recipe, and `overrides` over them.

    A file may begin with `base = "NAME"`, a preset or another file: its keys then replace the
    base's one by one. [train] holds for pretrain, extend and tune, each of which may say otherwise
    for itself. What is written on top wins: the command line over the file, the file over its base,
    and within one of them a section over [train]. `SECTION = false` leaves an optional stage out.

    Raises:
        RecipeError: not found, not TOML, unknown key, wrong type or impossible value; the
            message names the key, the file's line and the nearest valid name.
    """
    sources = _read(name, ())
    origin = Origin(sources)
    values: dict[str, Any] = {}
    for source in reversed(sources):
        _lay_over(values, source.values)
    given = [Override(tuple(key.split(".")), value, "") for key, value in options.items()]
    given += [parse_override(text) for text in overrides]
    names_sample = any(override.path[:2] == ("crawl", "sample") for override in given)
    for override in sorted(given, key=lambda override: override.path[0] != TRAIN.name):
        TRAIN.override(values, override.table)
        if override.path == ("crawl", "sources") and not names_sample:
            _leave_sample_out(values)
        apply_override(values, override)
        origin.overrides[override.key] = override.text
    TRAIN.spread(values, origin)
    _take_tokenizer(values, origin)
    return from_toml(Recipe, values, origin, _homes(), also=(TRAIN.name, "base"))


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """The recipe as TOML values, every one written out; `false` where one is absent.

    What the training stages have alike is in [train].
    """
    return TRAIN.gather(to_toml(recipe))


def recipe_text(recipe: Recipe) -> str:
    """`recipe_values` as TOML; `load_recipe` turns it back into the same recipe."""
    import tomli_w

    return tomli_w.dumps(recipe_values(recipe))


def _read(name: str, above: tuple[str, ...]) -> tuple[Source, ...]:
    """A preset or file and those below it, down from `name`.

    Args:
        name: of a preset, or a path.
        above: what is laid over it; none may come again.
    """
    if name in preset_names():
        identity, source = name, parse_toml(_preset_text(name), f"preset {name}")
    elif Path(name).is_file():
        identity, source = str(Path(name).resolve()), read_toml(Path(name))
    else:
        raise RecipeError(f"there is no recipe `{name}`: neither a file nor a preset",
                          hint=_nearest_preset(name))  # fmt: skip
    if identity in above:
        raise RecipeError(
            f"the base of a recipe is laid over itself: {' -> '.join([*above, identity])}",
            hint="take the line `base = ...` out of one of them",
        )
    base = source.values.pop("base", None)
    if base is None:
        return (source,)
    place = source.place("base")
    if not isinstance(base, str):
        raise RecipeError(f"`base` must be a string, got {base!r} ({place})")
    if base not in preset_names():
        path = (source.folder or Path()) / base
        if not path.is_file():
            raise RecipeError(
                f"unknown base {base!r} ({place}): neither a preset nor the file {path}",
                hint=_nearest_preset(base),
            )
        base = str(path)
    return (source, *_read(base, (*above, identity)))


def _preset_text(name: str) -> str:
    return (resources.files("tongwen.road") / "presets" / f"{name}.toml").read_text("utf-8")


def _nearest_preset(name: str) -> str:
    near = difflib.get_close_matches(name, preset_names(), n=1)
    return f"did you mean `{near[0]}`?" if near else f"presets: {', '.join(preset_names())}"


def _lay_over(values: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Lay one source over those below it."""
    TRAIN.override(values, above)
    crawl = above.get("crawl")
    if isinstance(crawl, dict) and crawl.get("sources") and "sample" not in crawl:
        _leave_sample_out(values)
    merge(values, copy.deepcopy(dict(above)), _TABLES)


def _leave_sample_out(values: dict[str, Any]) -> None:
    """The user's own sources replace a base's sample web."""
    if isinstance(values.get("crawl"), dict):
        values["crawl"].pop("sample", None)


def _take_tokenizer(values: dict[str, Any], origin: Origin) -> None:
    """A base model's ids are meaningful only with its own tokenizer."""
    pretrain, tokenizer = values.get("pretrain"), values.setdefault("tokenizer", {})
    base = pretrain.get("base") if isinstance(pretrain, dict) else None
    if base and isinstance(tokenizer, dict) and "model" not in tokenizer:
        tokenizer["model"] = base
        origin.shared["tokenizer.model"] = "pretrain.base"


def _homes() -> dict[str, list[str]]:
    """Key -> sections that have it; where none has it itself, the tables inside them."""
    hints = hints_of(Recipe)
    homes: dict[str, list[str]] = {key: [TRAIN.name] for key in TRAIN.hints}
    inside: dict[str, list[str]] = {}
    for section, hint in hints.items():
        kind = table_kind(hint)
        assert kind is not None
        for key, inner_hint in hints_of(kind).items():
            homes.setdefault(key, []).append(section)
            inner = table_kind(inner_hint) or next(
                (found for item in get_args(inner_hint) if (found := table_kind(item))), None
            )
            if inner is not None:
                for inner_key in hints_of(inner):
                    inside.setdefault(inner_key, []).append(f"{section}.{key}")
    return {**inside, **homes}
