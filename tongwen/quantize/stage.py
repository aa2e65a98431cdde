"""Turns a model's weights into int8 and measures what that costs on validation text."""

from collections.abc import Mapping
from pathlib import Path

import torch

from tongwen.errors import InputError
from tongwen.files import write_json
from tongwen.flow.stage import StageContext
from tongwen.formats.shards import Shard
from tongwen.model.folder import load_model_folder
from tongwen.model.int8_folder import load_any_model, quantize_model, save_quantized_folder
from tongwen.model.llama import Llama
from tongwen.quantize.quality import Score, compare, documents_of, score
from tongwen.quantize.settings import QuantizeSettings
from tongwen.stages import find_model_folder
from tongwen.tokenizer.text import Tokenizer

LANGUAGES = ("en", "zh")

Documents = list[tuple[list[int], int]]


def run(context: StageContext[QuantizeSettings]) -> Mapping[str, float]:
    """Write `model/` with int8 weights and `quality.json`.

    Raises:
        InputError: no model or no validation text.
    """
    settings = context.settings
    assert settings is not None
    source = find_model_folder(context.inputs["model"])
    tokenizer = Tokenizer.load(source)
    texts = _validation_texts(context.inputs["shards"], settings.quality_tokens, tokenizer.digest)
    # float32 on both sides: the comparison then shows the weights' rounding and nothing else.
    model, _ = load_model_folder(source, torch.float32)
    before = _scores(model, texts, tokenizer.end_id, context, "before")
    model, _ = load_model_folder(source)
    names = quantize_model(model)
    target = context.out / "model"
    save_quantized_folder(target, model, source, names)
    reloaded, _ = load_any_model(target, torch.float32)
    after = _scores(reloaded, texts, tokenizer.end_id, context, "after")
    languages = {name: compare(before[name], after[name]) for name in before}
    sizes = {"bytes_before": _weight_bytes(source), "bytes_after": _weight_bytes(target)}
    write_json(
        context.out / "quality.json",
        {"weights": settings.weights, "languages": languages, "modules": len(names), **sizes},
    )
    counts: dict[str, float] = dict(sizes)
    for name, numbers in languages.items():
        for key in ("bits_per_byte_before", "bits_per_byte_after", "same_greedy_choice_share"):
            counts[f"{name}_{key}"] = numbers[key]
    return counts


def _validation_texts(
    shards_dir: Path, max_tokens: int, tokenizer_digest: str
) -> dict[str, Documents]:
    texts = {}
    for language in LANGUAGES:
        files = sorted(shards_dir.glob(f"valid-{language}-*.shard"))
        shards = [Shard.open(file, tokenizer_digest=tokenizer_digest) for file in files]
        documents = list(documents_of(shards, max_tokens))
        if documents:
            texts[language] = documents
    if not texts:
        raise InputError(
            f"{shards_dir} holds no validation text (valid-en-*.shard, valid-zh-*.shard)",
            hint="run `tongwen encode` with encode.validation_share above 0",
        )
    return texts


def _scores(
    model: Llama,
    texts: Mapping[str, Documents],
    start_id: int,
    context: StageContext[QuantizeSettings],
    label: str,
) -> dict[str, Score]:
    scores = {}
    for number, (language, documents) in enumerate(texts.items()):
        context.progress.update(f"quantize: loss {label}", number, len(texts), language)
        scores[language] = score(model, documents, start_id)
    return scores


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
