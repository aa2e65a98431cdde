"""The tokenizer stage: documents in, a verified tokenizer folder out."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tongwen.errors import DoesNotFitError, TongwenError
from tongwen.files import write_json
from tongwen.flow.memory import available_memory_bytes
from tongwen.flow.stage import StageContext
from tongwen.tokenizer.compare import open_side
from tongwen.tokenizer.export import write_tokenizer_folder
from tongwen.tokenizer.fast import FastTokenizer
from tongwen.tokenizer.folder import (
    FAST_FILE,
    GENERATION_FILE,
    TOKENIZER_FILES,
    copy_tokenizer,
    find_tokenizer_folder,
)
from tongwen.tokenizer.report import MEASURED_BYTES, Texts, compare, measure
from tongwen.tokenizer.sample import DocumentSample, is_chinese, sample_documents
from tongwen.tokenizer.settings import TokenizerSettings
from tongwen.tokenizer.sides import FastSide, SentencePieceSide
from tongwen.tokenizer.text import Tokenizer
from tongwen.tokenizer.train import train_model
from tongwen.tokenizer.verify import Check, verify_folder

# Memory of the trainer for a byte of its text, measured on 40 MB of English and of Chinese with
# 64,000 pieces (2026-11). 100 MB of both, half and half, took 19.4: this asks for a sixth too much.
_MEMORY_PER_BYTE, _MEMORY_PER_CHINESE_BYTE = 9, 36


def files(settings: TokenizerSettings) -> list[Path]:
    """The files of a tokenizer that is taken from elsewhere."""
    if settings.model is None:
        return []
    folder = find_tokenizer_folder(Path(settings.model))
    names = (*TOKENIZER_FILES, GENERATION_FILE)
    return [folder / name for name in names if (folder / name).is_file()]


def run(context: StageContext[TokenizerSettings]) -> Mapping[str, float]:
    """Train or take over, export, verify and measure.

    Raises:
        InputError: the documents do not have what the settings ask for, or a tokenizer to compare
            with cannot be read.
        TongwenError: the new tokenizer fails its acceptance suite.
    """
    settings = context.settings
    others = {folder: open_side(Path(folder)) for folder in settings.compare_with}
    sample = sample_documents(
        context.inputs["documents"],
        sample_bytes=settings.sample_bytes,
        chinese_share=settings.chinese_share,
        seed=context.run.seed,
    )
    sampled = {"documents": 0, "utf8_bytes": 0, "chinese_utf8_bytes": 0}
    if settings.model is None:
        check_memory(sample, available_memory_bytes())
        model = train_model(
            _counted(sample.texts(), sampled),
            vocabulary_size=settings.vocabulary_size,
            character_coverage=settings.character_coverage,
        )
        hint = "give it more text or a larger tokenizer.vocabulary_size"
        write_tokenizer_folder(model, context.out)
    else:
        _take_over(find_tokenizer_folder(Path(settings.model)), context.out)
        hint = f"tokenizer.model is {settings.model}; it must have the special tokens of ours"
    tokenizer = Tokenizer.load(context.out)
    is_foreign = isinstance(tokenizer, FastTokenizer)
    checks = verify_folder(context.out)
    if not is_foreign:  # other people's have their own habits; the report names them
        _refuse_failures(checks, hint)
    side = FastSide(context.out / FAST_FILE) if is_foreign else SentencePieceSide(tokenizer)
    texts = Texts.gather(sample.texts(), measured_bytes=MEASURED_BYTES)
    report: dict[str, Any] = {
        "vocabulary_size": tokenizer.vocabulary_size,
        "digest": tokenizer.digest,
        "checks": [{"name": item.name, "passed": item.passed} for item in checks],
        "sample": sampled,
        "available": {
            "documents": sum(sample.documents),
            "utf8_bytes": sum(sample.utf8_bytes),
            "chinese_utf8_bytes": sample.utf8_bytes[1],
        },
        **measure(side, texts),
    }
    if others:
        report["comparison"] = compare({"this": side, **others}, texts)
    write_json(context.out / "report.json", report)
    return {
        "pieces": tokenizer.vocabulary_size,
        "documents_sampled": sampled["documents"],
        "utf8_bytes_sampled": sampled["utf8_bytes"],
        "unused_pieces": report["unused_pieces"],
        "checks_passed": sum(item.passed is True for item in checks),
    }


def _take_over(source: Path, out: Path) -> None:
    """Copy a tokenizer that others made; one of ours gets its files anew."""
    for name in (*TOKENIZER_FILES, GENERATION_FILE):  # of an earlier run
        (out / name).unlink(missing_ok=True)
    tokenizer = Tokenizer.load(source)
    if isinstance(tokenizer, FastTokenizer):
        copy_tokenizer(source, out)
        if (source / GENERATION_FILE).is_file():
            shutil.copyfile(source / GENERATION_FILE, out / GENERATION_FILE)
    else:
        write_tokenizer_folder(tokenizer.model, out)


def check_memory(sample: DocumentSample, available_bytes: int) -> None:
    """Refuse a sample that the trainer, which holds it in memory, has no room for.

    Raises:
        DoesNotFitError: with the sample that would fit.
    """
    others, chinese = sample.drawn_bytes
    needed = others * _MEMORY_PER_BYTE + chinese * _MEMORY_PER_CHINESE_BYTE
    if needed > available_bytes:
        fitting = int((others + chinese) * available_bytes / needed)
        raise DoesNotFitError(
            f"training on {(others + chinese) / 1e6:,.0f} MB of text takes about "
            f"{needed / 2**30:,.1f} GiB of memory, {available_bytes / 2**30:,.1f} GiB are free",
            hint=f"--set tokenizer.sample_bytes={fitting}; a tokenizer gains little beyond some "
            "100 MB",
        )


def _counted(texts: Iterable[tuple[str, str]], sampled: dict[str, int]) -> Iterator[str]:
    """The texts, which are counted as they pass."""
    for language, text in texts:
        length = len(text.encode("utf-8"))
        sampled["documents"] += 1
        sampled["utf8_bytes"] += length
        sampled["chinese_utf8_bytes"] += length if is_chinese(language) else 0
        yield text


def _refuse_failures(checks: list[Check], hint: str) -> None:
    failed = [item for item in checks if item.passed is False]
    if failed:
        raise TongwenError(
            "the tokenizer fails its acceptance suite: "
            + "; ".join(f"{item.name}: {item.detail}" for item in failed),
            hint=hint,
        )
