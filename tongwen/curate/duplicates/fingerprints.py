"""What deduplication knows of a record: hashes of its address and text, its signature, its rank."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from tongwen.curate.duplicates.minhash import Sketches, sketch_texts
from tongwen.curate.extract.record import normal_url
from tongwen.curate.records.edits import apply, edits_between
from tongwen.curate.records.numbering import record_numbers
from tongwen.flow.task import TaskContext, step

FINGERPRINT = np.dtype(
    [
        ("url", "<u8", 2),  # xxh3-128 of the normal URL; zeros when it has none
        ("text", "<u8", 2),  # xxh3-128 of the folded text; zeros when nothing is left of it
        ("doc_id", "<u8", 2),  # high half first, so that they compare as the hexadecimal form
        ("rank", "<u4"),  # place of the source in the list of inputs
        ("characters", "<u8"),
        ("date", "S25"),
        ("has_signature", "?"),
    ]
)
_COLUMNS = ("doc_id", "url", "date", "lang", "source", "text")
_BATCH_ROWS = 256  # rows read at once; `_BATCH_BYTES` bounds those of long texts
_BATCH_BYTES = 8 << 20  # of text, unless one text is longer


@step("fingerprint", inputs=("documents", "edits"))
def fingerprint_records(context: TaskContext) -> Mapping[str, int]:
    """Fingerprint the records of one extraction task, as their edits leave them.

    Writes `fingerprints.npy` and `signatures.bin`, row by
    row; the signatures are rows of 32-bit hashes without a header, zeros where there is no text.
    """
    params = context.params
    documents, edit_files = context.file("documents"), context.inputs["edits"]
    ranks = {source: rank for rank, source in enumerate(params["sources"])}
    hashes = params["bands"] * params["rows"]
    parts = [np.zeros(0, FINGERPRINT)]
    with (context.out / "signatures.bin").open("wb") as file:
        for batch, texts in _edited_batches(documents, edit_files, params["task"]):
            is_chinese = pc.starts_with(batch["lang"], "zh").to_numpy(zero_copy_only=False)
            shingles = np.where(
                is_chinese, params["shingle_characters"], params["shingle_words"]
            ).astype(np.int64)
            sketches = sketch_texts(texts, shingles, hashes=hashes, seed=params["seed"])
            file.write(sketches.signatures.tobytes())
            parts.append(_fingerprints(batch, texts, sketches, ranks))
    rows = np.concatenate(parts)
    np.save(context.out / "fingerprints.npy", rows)
    return {"records": len(rows)}


def _fingerprints(
    batch: pa.RecordBatch, texts: pa.Array, sketches: Sketches, ranks: Mapping[str, int]
) -> npt.NDArray[Any]:
    rows = np.zeros(len(texts), FINGERPRINT)
    ids = bytes.fromhex("".join(batch["doc_id"].to_pylist()))
    rows["doc_id"] = np.frombuffer(ids, ">u8").reshape(-1, 2)
    rows["rank"] = [ranks[source] for source in batch["source"].to_pylist()]
    rows["characters"] = pc.utf8_length(texts).to_numpy()
    rows["date"] = [date.encode("ascii", "replace")[:25] for date in batch["date"].to_pylist()]
    rows["has_signature"] = sketches.units > 0
    rows["url"] = [_halves(normal_url(url).encode()) for url in batch["url"].to_pylist()]
    rows["text"] = sketches.digests
    return rows


def _edited_batches(
    documents: Path, edit_files: Sequence[Path], task: int
) -> Iterator[tuple[pa.RecordBatch, pa.Array]]:
    """Batches of documents and their edited texts; rows without edits are not touched."""
    file = pq.ParquetFile(documents)
    rows = file.metadata.num_rows
    bounds = record_numbers(task, np.arange(rows + 1))
    edits = edits_between(edit_files, int(bounds[0]), int(bounds[-1]))
    places = np.searchsorted(edits["record"], bounds)
    first = 0
    for whole in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(_COLUMNS)):
        for batch in _slices(whole):
            texts = batch["text"]
            part = places[first : first + len(batch) + 1]
            if part[0] < part[-1]:
                edited = texts.to_pylist()
                for row in np.flatnonzero(np.diff(part)).tolist():
                    edited[row] = apply(edited[row], edits[part[row] : part[row + 1]]).text
                texts = pa.array(edited, pa.large_string())
            yield batch, texts
            first += len(batch)


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Consecutive parts of a batch, of `_BATCH_BYTES` of text or one row."""
    ends = np.cumsum(pc.binary_length(batch["text"]).to_numpy())
    start = 0
    while start < len(batch):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + _BATCH_BYTES, "right")))
        yield batch.slice(start, end - start)
        start = end


def _halves(data: bytes) -> tuple[int, int]:
    return divmod(xxhash.xxh3_128_intdigest(data), 1 << 64) if len(data) else (0, 0)
