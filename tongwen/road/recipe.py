"""The recipe of the whole road: one frozen dataclass a section, its presets, and reading it."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

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
    Origin,
    apply_override,
    from_toml,
    merge,
    parse_toml,
    read_toml,
    set_value,
    to_toml,
)
from tongwen.report.settings import ReportSettings
from tongwen.serve.settings import ServeSettings
from tongwen.tokenizer.settings import TokenizerSettings
from tongwen.train.settings import PretrainSettings
from tongwen.tune.settings import TuneSettings


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole road. A section that is None leaves its stage out."""

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


def preset_names() -> list[str]:
    """Names of the recipes that ship in the package."""
    folder = resources.files("tongwen.road") / "presets"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def load_recipe(
    name: str, overrides: Sequence[str] = (), options: Mapping[str, Any] = {}
) -> Recipe:
    """The recipe of a preset or of a TOML file, with `section.key=value` overrides applied.

    `options` are what a command's own options and arguments set, `section.key` -> value as TOML
    has it; they go over the recipe, and `overrides` over them.

    A file may start with `base = "PRESET"`: its keys then replace the preset's one by one.
    `SECTION = false` leaves an optional stage out.

    Raises:
        RecipeError: not found, not TOML, unknown key, wrong type or impossible value; the
            message names the key, the file's line and the nearest valid name.
    """
    values, origin = _read(name)
    for key, value in options.items():
        set_value(values, key, value, origin)
    for override in overrides:
        apply_override(values, override, origin)
    return from_toml(Recipe, values, origin)


def recipe_text(recipe: Recipe) -> str:
    """The recipe as TOML, every value written out; `false` stands for an absent one."""
    import tomli_w

    return tomli_w.dumps(to_toml(recipe))


def _read(name: str) -> tuple[dict[str, Any], Origin]:
    """The TOML values of a preset or file, laid over those of its `base`."""
    if name in preset_names():
        text = (resources.files("tongwen.road") / "presets" / f"{name}.toml").read_text("utf-8")
        values, origin = parse_toml(text, f"preset {name}")
    elif Path(name).is_file():
        values, origin = read_toml(Path(name))
    else:
        near = difflib.get_close_matches(name, preset_names(), n=1)
        raise RecipeError(
            f"there is no recipe `{name}`: neither a file nor a preset",
            hint=f"did you mean `{near[0]}`?" if near else f"presets: {', '.join(preset_names())}",
        )
    base = values.pop("base", None)
    if base is None:
        return values, origin
    if base not in preset_names():
        raise RecipeError(
            f"unknown base {base!r} ({origin.place('base')})",
            hint=f"presets: {', '.join(preset_names())}",
        )
    merged, _ = _read(base)
    merge(merged, values)
    return merged, origin
