"""Writes the Hugging Face folder of the run, and verifies it before it counts as done."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tongwen.errors import InputError, TongwenError
from tongwen.export.adapter import check_adapter, copy_adapter, find_adapter
from tongwen.export.card import FORECASTS, STAGES, CardFacts, model_card
from tongwen.export.settings import ExportSettings
from tongwen.files import (
    disk_errors,
    read_json,
    remove_tree,
    sync_directory,
    write_json,
    write_text,
)
from tongwen.flow.manifest import Manifest
from tongwen.flow.stage import MANIFEST, StageContext
from tongwen.model.config import ModelConfig
from tongwen.model.folder import load_model_folder, read_config, save_model_folder
from tongwen.model.llama import Llama
from tongwen.model.quantized.folder import dequantize_model, is_quantized, load_any_model
from tongwen.stages import find_model_folder
from tongwen.tokenizer import special
from tongwen.tokenizer.fast import FastTokenizer
from tongwen.tokenizer.folder import GENERATION_FILE, json_object
from tongwen.tokenizer.text import Tokenizer

MODEL_FOLDER = "model"
"""Where in the stage's folder the exported one is: the stage keeps its records outside of it."""
_PROBE_TOKENS = 64  # every weight takes part in each token; some more for the positions


def run(context: StageContext[ExportSettings]) -> Mapping[str, float]:
    """Write config, weights, tokenizer and model card; then load them again and compare.

    Raises:
        InputError: the model or tokenizer is missing or damaged.
        TongwenError: what was written is not what was meant.
    """
    settings = context.settings
    if settings.adapter:
        return _export_adapter(context)
    dtype = getattr(torch, settings.dtype)
    model, config = load_any_model(find_model_folder(context.inputs["model"]), dtype)
    if is_quantized(model):
        context.progress.say(
            f"  the weights are quantized: they are written as {settings.dtype}, "
            "with the errors that quantizing made"
        )
        model = dequantize_model(model)
    target = context.out / MODEL_FOLDER
    partial = context.out / ".partial"
    save_model_folder(partial, model, context.inputs["tokenizer"], dtype)
    facts = _facts(context, config, settings.dtype)
    (context.out / FORECASTS).unlink(missing_ok=True)  # of an export before this one
    if facts.settled:
        write_json(partial / FORECASTS, dict(facts.settled))
    write_text(partial / "README.md", model_card(facts))
    _complete_stop_ids(partial)
    for file in partial.iterdir():
        file.chmod(0o644)
    partial.chmod(0o755)
    check_stop_ids(partial)
    check_logits(partial, model)
    _put_in_place(partial, target)
    files = sorted(target.iterdir())
    size = sum(file.stat().st_size for file in files)
    return {"parameters": config.parameters, "files": len(files), "bytes": size}


def _export_adapter(context: StageContext[ExportSettings]) -> Mapping[str, float]:
    """Write the adapters, their tokenizer and a card."""
    merged = find_model_folder(context.inputs["model"])
    adapter = find_adapter(merged)
    numbers = check_adapter(adapter, merged)
    partial = context.out / ".partial"
    with disk_errors(context.out):
        adapted = copy_adapter(adapter, context.inputs["tokenizer"], partial)
    facts = _facts(context, read_config(merged), "float32")
    base = str(adapted["base_model_name_or_path"])
    write_text(partial / "README.md", model_card(replace(facts, adapts=base)))
    for file in partial.iterdir():
        file.chmod(0o644)
    partial.chmod(0o755)
    target = context.out / MODEL_FOLDER
    _put_in_place(partial, target)
    files = sorted(target.iterdir())
    size = sum(file.stat().st_size for file in files)
    return {"parameters": numbers, "files": len(files), "bytes": size}


def _put_in_place(partial: Path, target: Path) -> None:
    with disk_errors(target):
        remove_tree(target)
        partial.rename(target)
        sync_directory(target.parent)


def _facts(context: StageContext[ExportSettings], config: ModelConfig, dtype: str) -> CardFacts:
    return CardFacts(
        name=context.run.name,
        license=context.settings.license,
        config=config,
        dtype=dtype,
        funnel=_json(context, "curate", "funnel.json"),
        encoded=_counts(context, "encode"),
        trained={name: counts for name in STAGES if (counts := _counts(context, name))},
        results=(_json(context, "evaluate", "results.json") or {}).get("results", ()),
        settled={name: found for name in STAGES if (found := _settlement(context, name))},
    )


def _complete_stop_ids(folder: Path) -> None:
    """Write every end of an answer into the `generation_config.json` of another maker's model.

    A base model's names the end of a document alone; tuned to dialogues it also ends turns.
    """
    tokenizer = Tokenizer.load(folder)
    if isinstance(tokenizer, FastTokenizer):
        values = json_object(folder / GENERATION_FILE)
        write_json(folder / GENERATION_FILE, values | {"eos_token_id": list(tokenizer.stop_ids)})


def check_logits(folder: Path, model: Llama) -> None:
    """Reject a folder whose logits differ from the model's in a single bit.

    Raises:
        TongwenError: they differ.
    """
    reloaded, _ = load_model_folder(folder)
    tokens = min(_PROBE_TOKENS, model.config.max_position_embeddings, model.config.vocabulary_size)
    ids_BT = torch.arange(tokens)[None]
    with torch.inference_mode():
        expected = model.logits(model(ids_BT))
        found = reloaded.logits(reloaded(ids_BT))
    if not torch.equal(expected, found):
        difference = (expected - found).abs().max().item()
        raise TongwenError(
            f"the folder written to {folder} computes other logits than the model: the largest "
            f"difference is {difference:.3g}",
            hint="is the disk sound? Run the same command again",
        )


def check_stop_ids(folder: Path) -> None:
    """Reject a folder whose files disagree on where an answer ends.

    Raises:
        TongwenError: `generation_config.json` and the tokenizer name different ids.
    """
    tokenizer = Tokenizer.load(folder)
    if isinstance(tokenizer, FastTokenizer):
        return  # its files are as they came
    named = read_json(folder / "generation_config.json")["eos_token_id"]
    pieces = tokenizer.special_ids
    meant = sorted(pieces.get(piece, -1) for piece in (special.EOS, special.IM_END))
    if sorted(named) != meant:
        raise TongwenError(
            f"generation_config.json stops at the ids {sorted(named)}, the tokenizer has "
            f"{special.EOS} and {special.IM_END} at {meant}",
            hint="train the tokenizer with `tongwen tokenizer`, which puts them at 2 and 7",
        )


def _json(context: StageContext[ExportSettings], role: str, name: str) -> Any:
    """A file of an optional input; None where the run has no such stage."""
    if role not in context.inputs:
        return None
    path = context.inputs[role] / name
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def _settlement(context: StageContext[ExportSettings], role: str) -> Any:
    """Forecast and outcome of a training stage; None where nothing was forecast."""
    if role not in context.inputs or not (context.inputs[role] / "settlement.json").is_file():
        return None
    return _json(context, role, "settlement.json")


def _counts(context: StageContext[ExportSettings], role: str) -> Mapping[str, float] | None:
    if role not in context.inputs:
        return None
    manifest = Manifest.read(context.inputs[role] / MANIFEST)
    return None if manifest is None else manifest.counts
