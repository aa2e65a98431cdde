"""The encode stage: documents to token shards, each exactly once."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from tongwen.encode.settings import EncodeSettings
from tongwen.encode.split import TRAIN, validation_thresholds
from tongwen.encode.tasks import encode_documents
from tongwen.errors import InputError
from tongwen.files import file_digest, write_json
from tongwen.flow.local import TaskResult
from tongwen.flow.stage import StageContext
from tongwen.flow.task import Task, TaskInput
from tongwen.formats.documents import document_batches, document_files, row_group_ranges
from tongwen.formats.languages import LANGUAGES
from tongwen.formats.shards import Shard, shard_writer
from tongwen.kernels import compile_once
from tongwen.tokenizer.bulk import BulkEncoder
from tongwen.tokenizer.fast import FastTokenizer
from tongwen.tokenizer.folder import FAST_FILE, MODEL_FILE
from tongwen.tokenizer.text import Tokenizer

_TASK_BYTES = 64 << 20
"""Text of one task, in row groups: two seconds of work, to spread a large file over all cores."""
_CHUNK_TOKENS = 16 << 20


def run(context: StageContext[EncodeSettings]) -> Mapping[str, float]:
    """Encode row groups of every Parquet file in tasks, then join the results into shards.

    Raises:
        InputError: no documents, or the tokenizer has no `<|endoftext|>`.
    """
    settings = context.settings
    files = document_files(context.inputs["documents"])
    tokenizer = Tokenizer.load(context.inputs["tokenizer"])
    is_foreign = isinstance(tokenizer, FastTokenizer)
    model = context.inputs["tokenizer"] / (FAST_FILE if is_foreign else MODEL_FILE)
    end_id = tokenizer.end_id
    compile_once({"encode": lambda: BulkEncoder(tokenizer).encode_trial()}, context.progress)
    thresholds = validation_thresholds(_names(files), settings.validation_share)
    model_input = TaskInput(model, file_digest(model))
    tasks: list[Task] = []
    for path in files:
        file_input = TaskInput(path, file_digest(path))
        ranges = row_group_ranges(path, _TASK_BYTES)
        tasks += [
            Task(
                encode_documents,
                index=len(tasks) + number,
                inputs={"documents": file_input, "tokenizer": model_input},
                params={
                    "validation_thresholds": thresholds,
                    "end_id": end_id,
                    "row_groups": None if len(ranges) == 1 else bounds,
                },
            )
            for number, bounds in enumerate(ranges)
        ]
    results = context.runner.run(tasks, context.out / "tasks")
    paths = _join(results, context.out, settings.shard_tokens)
    for path in context.out.glob("*.shard"):  # of an earlier run with other settings
        if path not in paths:
            path.unlink()
    counts = _sum(results)
    summary = _summary([Shard.open(path) for path in paths], tokenizer, counts)
    write_json(context.out / "shards.json", summary)
    documents = {item["split"]: 0 for item in summary["shards"]}
    tokens = dict(documents)
    for item in summary["shards"]:
        documents[item["split"]] += item["documents"]
        tokens[item["split"]] += item["tokens"]
    return {
        "documents": counts["documents_in"],
        "documents_quarantined": counts["documents_quarantined"],
        "tokens": sum(tokens.values()),
        **{f"{split}_documents": count for split, count in documents.items()},
        **{f"{split}_tokens": count for split, count in tokens.items()},
    }


def _names(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """(doc_id, lang) of all documents; reads no text.

    Raises:
        InputError: the files hold no document at all.
    """
    found = False
    for path in files:
        for batch in document_batches(path, ["doc_id", "lang"], batch_rows=65_536):
            for row in batch.to_pylist():
                found = True
                yield row["doc_id"], row["lang"]
    if not found:
        raise InputError(
            f"no document in {files[0].parent}",
            hint="look at the funnel of `tongwen curate`: were all documents dropped?",
        )


def _sum(results: Sequence[TaskResult]) -> dict[str, int]:
    counts = {"documents_in": 0, "documents_quarantined": 0}
    for result in results:
        for key, value in result.manifest.counts.items():
            counts[key] = counts.get(key, 0) + int(value)
    return counts


def _join(results: Sequence[TaskResult], out: Path, shard_tokens: int) -> list[Path]:
    """Join the tasks' shards split by split, in task order; only `train` is cut into many.

    A document is never cut.
    """
    paths = []
    splits = sorted(
        {Path(item.path).stem for result in results for item in result.manifest.outputs}
    )
    for split in splits:
        parts = [
            Shard.open(result.directory / item.path)
            for result in results
            for item in result.manifest.outputs
            if Path(item.path).stem == split
        ]
        limit = shard_tokens if split == TRAIN else None
        paths += _write_shards(parts, out, split, limit)
    return paths


def _write_shards(parts: Sequence[Shard], out: Path, split: str, limit: int | None) -> list[Path]:
    paths: list[Path] = []
    with ExitStack() as stack:
        writer = None
        for part in parts:
            ends = np.append(part.document_starts[1:].astype(np.int64), len(part.tokens))
            first = 0
            while first < part.documents:
                if writer is None or (limit is not None and writer.tokens >= limit):
                    stack.close()
                    paths.append(out / f"{split}-{len(paths):05d}.shard")
                    writer = stack.enter_context(
                        shard_writer(
                            paths[-1],
                            vocabulary_size=part.vocabulary_size,
                            tokenizer_digest=part.tokenizer_digest,
                        )
                    )
                room = _CHUNK_TOKENS if limit is None else min(_CHUNK_TOKENS, limit - writer.tokens)
                start = int(part.document_starts[first])
                last = min(int(np.searchsorted(ends, start + room)), part.documents - 1)
                chosen = slice(first, last + 1)
                writer.extend(
                    part.tokens[start : ends[last]],
                    token_counts=np.diff(ends[chosen], prepend=start),
                    languages=part.languages[chosen],
                    utf8_bytes=part.utf8_bytes[chosen],
                )
                first = last + 1
    return paths


def _summary(
    shards: Sequence[Shard], tokenizer: Tokenizer, counts: Mapping[str, int]
) -> dict[str, Any]:
    """Content of `shards.json`. What came in must have gone out."""
    rows = []
    for shard in shards:
        split = shard.path.stem.rpartition("-")[0]
        rows.append(
            {
                "path": shard.path.name,
                "split": split,
                "documents": shard.documents,
                "tokens": len(shard.tokens),
                "utf8_bytes": int(shard.utf8_bytes.sum()),
                "content_digest": shard.content_digest,
                "languages": _by_language(shard),
            }
        )
    documents_out = sum(shard.documents for shard in shards)
    expected = counts["documents_in"] - counts["documents_quarantined"]
    assert documents_out == expected, f"{expected} documents to write, {documents_out} written"
    return {
        "tokenizer_digest": tokenizer.digest,
        "vocabulary_size": tokenizer.vocabulary_size,
        "documents_in": counts["documents_in"],
        "documents_quarantined": counts["documents_quarantined"],
        "documents_out": documents_out,
        "shards": rows,
    }


def _by_language(shard: Shard) -> dict[str, dict[str, int]]:
    """Documents, tokens and bytes of each language in a shard."""
    token_counts = np.diff(shard.document_starts.astype(np.int64), append=len(shard.tokens))
    result: dict[str, dict[str, int]] = {}
    for code, language in enumerate(LANGUAGES):
        chosen = shard.languages == code
        if chosen.any():
            result[language] = {
                "documents": int(chosen.sum()),
                "tokens": int(token_counts[chosen].sum()),
                "utf8_bytes": int(shard.utf8_bytes[chosen].sum()),
            }
    return result
