"""The map task of the encode stage: row groups of one Parquet file to one shard a split."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tongwen.encode.split import split_of
from tongwen.errors import InputError
from tongwen.files import file_digest
from tongwen.flow.task import TaskContext, step
from tongwen.formats.documents import document_batches
from tongwen.formats.shards import ShardWriter, language_code, shard_writer
from tongwen.tokenizer.bulk import BulkEncoder
from tongwen.tokenizer.text import Tokenizer

_BATCH_ROWS = 256  # memory of a task against calls of the encoder: 256 texts of 20 kB are 5 MB
_LONG_BYTES = 1 << 20
"""A text from here on is encoded alone, so that it is known by name if it kills the worker."""


@step("encode-documents", inputs=("documents", "tokenizer"))
def encode_documents(context: TaskContext) -> Mapping[str, int]:
    """Encode the documents of one Parquet file with a tokenizer model, each into its split.

    Every document ends with the parameter `end_id`; markers inside a text stay text. The parameter
    `row_groups` (first and the one after the last) leaves out the others; null takes all.

    Raises:
        InputError: see `document_batches`; or a text is not valid UTF-8.
    """
    documents = context.file("documents")
    encoder = _encoder(context.file("tokenizer"))
    tokenizer = encoder.tokenizer
    end = context.params["end_id"]
    thresholds = context.params["validation_thresholds"]
    bounds = context.params["row_groups"]
    counts: Counter[str] = Counter(documents_in=0, documents_quarantined=0)
    writers: dict[str, ShardWriter] = {}
    with ExitStack() as stack:
        for batch in document_batches(
            documents,
            ["doc_id", "lang", "text"],
            batch_rows=_BATCH_ROWS,
            row_groups=None if bounds is None else range(*bounds),
        ):
            counts["documents_in"] += batch.num_rows
            kept = _without(batch, context.skip)
            counts["documents_quarantined"] += batch.num_rows - kept.num_rows
            for part in _parts(_with_utf8(kept, documents)):
                is_long = part["text"].nbytes >= _LONG_BYTES and part.num_rows == 1
                context.mark(part["doc_id"][0].as_py() if is_long else "")
                ids, starts = encoder.encode(part["text"], end_id=end)
                for split, rows in _rows_by_split(part, thresholds).items():
                    if split not in writers:
                        writers[split] = stack.enter_context(
                            shard_writer(
                                context.out / f"{split}.shard",
                                vocabulary_size=tokenizer.vocabulary_size,
                                tokenizer_digest=tokenizer.digest,
                            )
                        )
                    _append(writers[split], part, rows, ids, starts)
    return counts


_ENCODERS: dict[str, BulkEncoder] = {}
"""The encoder this process has made, by the digest of its model file: a second's work."""


def _encoder(model: Path) -> BulkEncoder:
    digest = file_digest(model)
    if digest not in _ENCODERS:
        _ENCODERS.clear()
        _ENCODERS[digest] = BulkEncoder(Tokenizer.load(model))
    return _ENCODERS[digest]


def _without(batch: Any, skip: frozenset[str]) -> Any:
    """The rows of a batch whose `doc_id` is not in `skip`."""
    if not skip:
        return batch
    return batch.filter(pc.invert(pc.is_in(batch["doc_id"], pa.array(sorted(skip)))))


def _with_utf8(batch: Any, path: Path) -> Any:
    """The batch with `text` as large strings. Rejects invalid UTF-8; Parquet does not."""
    try:
        texts = batch["text"].cast(pa.large_string())
        texts.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"{path} has a text that is no valid UTF-8: {error}",
            hint="write the file again with valid UTF-8 in the column `text`",
        ) from error
    return batch.set_column(batch.schema.get_field_index("text"), "text", texts)


def _parts(batch: Any) -> Iterator[Any]:
    """Long texts alone, and the others between them together; in order, none left out."""
    lengths = pc.binary_length(batch["text"]).to_numpy(zero_copy_only=False)
    start = 0
    for place in np.flatnonzero(lengths >= _LONG_BYTES).tolist():
        if place > start:
            yield batch.slice(start, place - start)
        yield batch.slice(place, 1)
        start = place + 1
    if start < batch.num_rows:
        yield batch.slice(start)


def _rows_by_split(part: Any, thresholds: Mapping[str, float]) -> dict[str, npt.NDArray[np.int64]]:
    """The rows of each split, ascending."""
    rows: dict[str, list[int]] = {}
    names = zip(part["doc_id"].to_pylist(), part["lang"].to_pylist(), strict=True)
    for row, (doc_id, language) in enumerate(names):
        rows.setdefault(split_of(doc_id, language, thresholds), []).append(row)
    return {split: np.array(numbers, np.int64) for split, numbers in rows.items()}


def _append(
    writer: ShardWriter,
    part: Any,
    rows: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
) -> None:
    """Add these rows of a part to a shard; `ids` and `starts` are those of the whole part."""
    token_counts = np.diff(starts)[rows]
    if len(rows) < part.num_rows:
        ids = np.concatenate([ids[starts[row] : starts[row + 1]] for row in rows.tolist()])
    languages = [language_code(language) for language in part["lang"].take(rows).to_pylist()]
    lengths = pc.binary_length(part["text"]).to_numpy(zero_copy_only=False)
    writer.extend(
        ids,
        token_counts=token_counts,
        languages=np.array(languages, np.uint8),
        utf8_bytes=lengths[rows].astype(np.uint64),
    )
