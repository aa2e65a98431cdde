"""Turns a model's weights into int8 or int4 and measures what that costs on text."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from tongwen.errors import InputError
from tongwen.files import write_json
from tongwen.flow.stage import StageContext
from tongwen.formats.shards import Shard
from tongwen.model.folder import load_model_folder
from tongwen.model.llama import Llama
from tongwen.model.quantized.folder import (
    is_quantized_folder,
    load_any_model,
    quantize_model,
    save_quantized_folder,
)
from tongwen.model.quantized.grid import Bits
from tongwen.quantize.gptq import calibrated
from tongwen.quantize.quality import Score, compare, documents_of, score
from tongwen.quantize.settings import QuantizeSettings
from tongwen.stages import find_model_folder
from tongwen.tokenizer.text import Tokenizer

LANGUAGES = ("en", "zh")

Documents = list[tuple[list[int], int]]
_TEXT_PIECE_CHARACTERS = 4_000  # of a file without documents: about a window of tokens


@dataclass(frozen=True)
class Texts:
    """Text of one language.

    Attributes:
        measured: documents that the model is compared on, with their UTF-8 bytes.
        calibration: other ones.
    """

    measured: Documents
    calibration: Documents


def files(settings: QuantizeSettings) -> list[Path]:
    """The user's own texts."""
    return [Path(path) for path in settings.texts]


def run(context: StageContext[QuantizeSettings]) -> Mapping[str, float]:
    """Write `model/` with quantized weights, and `quality.json`.

    Raises:
        InputError: no model, a model that is quantized already, or text that cannot be used.
    """
    settings = context.settings
    assert settings is not None
    source = find_model_folder(context.inputs["model"])
    if is_quantized_folder(source):
        raise InputError(
            f"the weights of {source} are quantized already",
            hint="name the folder with plain weights: rounding twice adds both errors",
        )
    tokenizer = Tokenizer.load(source)
    texts = _texts(context, settings, tokenizer)
    # float32 on both sides: the comparison then shows the weights' rounding and nothing else.
    model, _ = load_model_folder(source, torch.float32)
    model.eval().requires_grad_(False)
    before = _scores(model, texts, tokenizer.end_id, context, "before")
    bits: Bits = 4 if settings.weights == "int4" else 8
    method = settings.method if bits == 4 else "nearest"
    if method == "gptq" and not texts:
        context.progress.say(
            "  there is no text to calibrate on: each weight goes to the nearest step; "
            "name files with --text"
        )
        method = "nearest"
    rounded = {}
    if method == "gptq":
        documents = _calibration_rows(texts, settings, model.config.max_position_embeddings)
        rounded = calibrated(
            model,
            documents,
            bits,
            lambda done, total: context.progress.update("quantize: layers", done, total),
        )
    plain, _ = load_model_folder(source)
    plain.eval().requires_grad_(False)
    names = quantize_model(plain, bits, 4 if settings.edge_weights == "int4" else 8, rounded)
    target = context.out / "model"
    save_quantized_folder(target, plain, source, names)
    reloaded, config = load_any_model(target, torch.float32)
    after = _scores(reloaded, texts, tokenizer.end_id, context, "after")
    languages = {name: compare(before[name], after[name]) for name in before}
    sizes = {"bytes_before": _weight_bytes(source), "bytes_after": _weight_bytes(target)}
    write_json(
        context.out / "quality.json",
        {
            "weights": settings.weights,
            "edge_weights": settings.edge_weights,
            "method": method,
            "bits_per_weight": round(8 * sizes["bytes_after"] / config.parameters, 3),
            "languages": languages,
            "modules": len(names),
            **sizes,
        },
    )
    counts: dict[str, float] = dict(sizes)
    for name, numbers in languages.items():
        context.progress.say(
            f"  {name}: {numbers['bits_per_byte_before']:.4f} bits per byte before, "
            f"{numbers['bits_per_byte_after']:.4f} after; "
            f"{numbers['same_greedy_choice_share']:.1%} of the greedy choices are the same"
        )
        for key in ("bits_per_byte_before", "bits_per_byte_after", "same_greedy_choice_share"):
            counts[f"{name}_{key}"] = numbers[key]
    return counts


def _texts(
    context: StageContext[QuantizeSettings], settings: QuantizeSettings, tokenizer: Tokenizer
) -> dict[str, Texts]:
    """By language, or by the name of the user's file; none without files and without a run."""
    tokens = settings.quality_tokens + settings.calibration_tokens
    if settings.texts:
        paths = [context.resolve(path) for path in settings.texts]
        found = {path.stem: _read_text(path, tokenizer, tokens) for path in paths}
        if len(found) < len(paths):
            raise InputError(
                f"two of the texts have the same name: {', '.join(map(str, paths))}",
                hint="the figures are named after the files; rename one",
            )
    elif "shards" in context.inputs:
        found = _validation_texts(context.inputs["shards"], tokens, tokenizer.digest)
    else:
        context.progress.say("  no text is named, so what quantizing costs is not measured")
        return {}
    return {name: _dealt(documents, settings) for name, documents in found.items()}


def _dealt(documents: Documents, settings: QuantizeSettings) -> Texts:
    """Every second document for either purpose; a single one serves both."""
    measured, calibration = documents[::2], documents[1::2] or documents
    return Texts(
        _up_to(measured, settings.quality_tokens),
        _up_to(calibration, settings.calibration_tokens),
    )


def _up_to(documents: Documents, max_tokens: int) -> Documents:
    taken: Documents = []
    tokens = 0
    for ids, size in documents:
        if tokens >= max_tokens:
            break
        taken.append((ids, size))
        tokens += len(ids)
    return taken


def _read_text(path: Path, tokenizer: Tokenizer, max_tokens: int) -> Documents:
    """A file's text in pieces of whole lines, as far as it is needed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}", hint="give plain UTF-8 text") from error
    pieces = [""]
    for line in text.splitlines(keepends=True):
        if len(pieces[-1]) >= _TEXT_PIECE_CHARACTERS:
            pieces.append("")
        pieces[-1] += line
    documents: Documents = []
    tokens = 0
    for piece in pieces:
        if piece.strip() and tokens < 2 * max_tokens:
            ids = list(tokenizer.encode(piece))
            documents.append((ids, len(piece.encode())))
            tokens += len(ids)
    if not documents:
        raise InputError(f"{path} holds no text", hint="give plain UTF-8 text")
    return documents


def _validation_texts(
    shards_dir: Path, max_tokens: int, tokenizer_digest: str
) -> dict[str, Documents]:
    texts = {}
    for language in LANGUAGES:
        files = sorted(shards_dir.glob(f"valid-{language}-*.shard"))
        shards = [Shard.open(file, tokenizer_digest=tokenizer_digest) for file in files]
        documents = list(documents_of(shards, 2 * max_tokens))
        if documents:
            texts[language] = documents
    if not texts:
        raise InputError(
            f"{shards_dir} holds no validation text (valid-en-*.shard, valid-zh-*.shard)",
            hint="run `tongwen encode` with encode.validation_share above 0",
        )
    return texts


def _calibration_rows(
    texts: Mapping[str, Texts], settings: QuantizeSettings, window: int
) -> list[list[int]]:
    """Rows of all languages in turn, no longer than the window or 2,048 tokens."""
    longest = min(window, 2_048)
    rows = []
    for text in texts.values():
        for ids, _ in text.calibration:
            rows += [ids[start : start + longest] for start in range(0, len(ids), longest)]
    return rows


def _scores(
    model: Llama,
    texts: Mapping[str, Texts],
    start_id: int,
    context: StageContext[QuantizeSettings],
    label: str,
) -> dict[str, Score]:
    scores = {}
    for number, (language, text) in enumerate(texts.items()):
        context.progress.update(f"quantize: loss {label}", number, len(texts), language)
        scores[language] = score(model, text.measured, start_id)
    return scores


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
