"""The top of the report: the result, whether it met the goals, how to talk to the model."""

import json
import math
import shlex
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tongwen.report.cost import Cost
from tongwen.report.evaluation import Evaluation, ScoreRow
from tongwen.report.funnel import Funnel, kept_tokens
from tongwen.report.gold import Gold
from tongwen.report.run_files import RunFiles
from tongwen.report.training import Phase
from tongwen.report.words import amount, duration, number, share, size, words
from tongwen.stages import TRAINING_STAGES

_SAMPLE_TASK = "sample_answer"
_BAD_FILES_NAMED = 3
_ANSWERS_AIM = 0.9  # of the held-out questions of that task


@dataclass(frozen=True)
class Tile:
    """One figure. `verdict` is `good` or `bad` where there is an aim, else empty."""

    name: Markup
    value: Markup | str
    note: Markup | None = None
    verdict: str = ""


@dataclass(frozen=True)
class Headline:
    """A sentence, a few figures, and the command that opens the chat."""

    sentence: Markup
    tiles: Sequence[Tile]
    command: str | None


def build_headline(
    run: RunFiles,
    funnel: Funnel | None,
    shards: Mapping[str, Any] | None,
    gold: Gold | None,
    phases: Sequence[Phase],
    evaluation: Evaluation | None,
    cost: Cost,
    bad_files: Sequence[str],
) -> Headline:
    """The headline of the run so far; `bad_files` are names."""
    parameters = model_parameters(run)
    time = duration(cost.seconds)
    if run.alone is not None:
        sentence: Markup = words("headline_alone", stage=words(f"stage_{run.alone}"))
    elif funnel is None:
        sentence = words("headline_begun")
    elif parameters is None:
        kept, pages = funnel.kept["all"].pages, funnel.read["all"].pages
        sentence = words("headline_data", kept=number(kept), pages=number(pages), time=time)
    else:
        pages = funnel.read["all"].pages
        sentence = words(
            "headline_model", parameters=amount(parameters), pages=number(pages), time=time
        )
    tiles = [
        *_data_tiles(funnel, shards, gold),
        *_bad_file_tiles(bad_files),
        *_model_tiles(phases, evaluation),
        Tile(words("tile_time"), time, _memory_note(cost)),
    ]
    is_servable = (run.directory / "model").exists()
    command = f"tongwen serve {shlex.quote(str(run.directory))}"
    return Headline(sentence, tiles, command if is_servable else None)


def _data_tiles(
    funnel: Funnel | None, shards: Mapping[str, Any] | None, gold: Gold | None
) -> list[Tile]:
    tiles = []
    if funnel is not None:
        note = words("tile_kept_note", pages=number(funnel.read["all"].pages))
        tiles.append(Tile(words("tile_kept"), number(funnel.kept["all"].pages), note))
    if shards is not None:
        tokens = {group: amount(count) for group, count in kept_tokens(shards).items()}
        note = words("tile_tokens_note", english=tokens["english"], chinese=tokens["chinese"])
        tiles.append(Tile(words("tile_tokens"), tokens["all"], note))
    for name, labels in (("tile_gold", ("good",)), ("tile_gold_dropped", _BAD_LABELS)):
        rows = [row for row in map(gold.row, labels) if row] if gold else []
        if rows:
            right = sum(row.share * row.pages for row in rows)
            verdict = "good" if all(row.is_met for row in rows) else "bad"
            value = share(right, sum(row.pages for row in rows))
            tiles.append(Tile(words(name), value, words("tile_gold_note"), verdict))
    return tiles


def _bad_file_tiles(names: Sequence[str]) -> list[Tile]:
    if not names:
        return []
    shown = ", ".join(names[:_BAD_FILES_NAMED]) + (", …" if len(names) > _BAD_FILES_NAMED else "")
    note = words("tile_bad_files_note", names=shown)
    return [Tile(words("tile_bad_files"), number(len(names)), note, "bad")]


_BAD_LABELS = ("spam", "duplicate", "foreign", "broken")


def _model_tiles(phases: Sequence[Phase], evaluation: Evaluation | None) -> list[Tile]:
    tiles = []
    for phase in phases[:1]:
        english = phase.last.get("valid_en_bits_per_byte", math.nan)
        chinese = phase.last.get("valid_zh_bits_per_byte", math.nan)
        if math.isfinite(english) and math.isfinite(chinese):
            value = f"{english:.2f} / {chinese:.2f}"
            tiles.append(Tile(words("tile_bits"), value, words("tile_bits_note")))
    for row in _free_answers(evaluation):
        key = "tile_answers_zh" if row.language.startswith("zh") else "tile_answers_en"
        note = words("tile_score_note", task=row.task, n=number(row.n))
        verdict = "good" if row.score >= _ANSWERS_AIM else "bad"
        is_aimed = row.task == _SAMPLE_TASK
        tiles.append(Tile(words(key), share(row.score, 1), note, verdict if is_aimed else ""))
    return tiles


def _free_answers(evaluation: Evaluation | None) -> list[ScoreRow]:
    """The first task of free answers, in English and in Chinese."""
    rows = [row for row in evaluation.scores if row.kind == "generate"] if evaluation else []
    return [row for row in rows if row.task == rows[0].task and row.language[:2] in ("en", "zh")]


def _memory_note(cost: Cost) -> Markup | None:
    most = max((row.memory_bytes for row in cost.rows), default=0)
    return words("tile_memory_note", memory=size(most)) if most else None


def model_parameters(run: RunFiles) -> int | None:
    """Parameters of the last model that was trained, from the headers of its safetensors files:
    eight bytes of length, then JSON with the shape of every tensor.
    """
    for stage in reversed(TRAINING_STAGES):
        files = sorted(run.path(f"{stage}/model").glob("*.safetensors"))
        if files:
            return sum(_tensor_elements(file) for file in files)
    return None


def _tensor_elements(path: Path) -> int:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return sum(math.prod(tensor["shape"]) for tensor in header.values())
