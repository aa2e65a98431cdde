"""What answering takes: the closed forms against real folders, real caches and the docs' table."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tongwen.model.cache import new_cache
from tongwen.model.config import ModelConfig
from tongwen.model.folder import load_model_folder
from tongwen.model.quantized.folder import quantize_model, save_quantized_folder
from tongwen.plan.inference import Cache, Weights, cache_bytes, weight_bytes
from tongwen.road.recipe import load_recipe

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_take_the_bytes_of_a_folder(
    bits: int, small_model_folder: Path, tmp_path: Path
) -> None:
    model, config = load_model_folder(small_model_folder, torch.bfloat16)
    names = quantize_model(model, bits)  # type: ignore[arg-type]
    save_quantized_folder(tmp_path / "folder", model, small_model_folder, names)
    stored = load_file(tmp_path / "folder" / "model.safetensors")
    found = sum(tensor.nbytes for tensor in stored.values())
    assert weight_bytes(config, "int4" if bits == 4 else "int8") == found


def test_a_cache_takes_the_bytes_of_its_tensors(small_model_folder: Path) -> None:
    model, config = load_model_folder(small_model_folder)
    kinds: tuple[Cache, ...] = ("float32", "bfloat16", "int8")
    for kind in kinds:
        tensors = new_cache(model, 2, 100, kind).tensors()
        assert cache_bytes(config, 200, kind) == sum(tensor.nbytes for tensor in tensors)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_table_in_the_docs_is_what_the_formulas_say(language: str) -> None:
    page = (DOCS / language / "quantize.md").read_text(encoding="utf-8")
    for preset in ("yi-6b", "yi-34b"):
        config = ModelConfig.from_settings(load_recipe(preset).model, 64_000)
        sizes: list[int] = []
        for weights in ("bfloat16", "int8", "int4"):
            kind: Weights = weights  # type: ignore[assignment]
            sizes.append(weight_bytes(config, kind))
        sizes += [cache_bytes(config, 200_000, kind) for kind in ("bfloat16", "int8")]
        expected = [f"{size / 1e9:.1f}" for size in sizes]
        row = next(line for line in page.splitlines() if line.startswith(f"| {preset} "))
        assert re.findall(r"\d+\.\d", row) == expected
