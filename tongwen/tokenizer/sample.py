"""Which documents a tokenizer is trained on: drawn by document id, up to a number of bytes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from tongwen.errors import InputError
from tongwen.formats.documents import document_batches, document_files, draw

_BUCKETS = 1 << 16


def is_chinese(language: str) -> bool:
    """Whether a document's `lang` is Chinese in either script."""
    return language.startswith("zh")


@dataclass(frozen=True)
class DocumentSample:
    """A rule that says for every document whether it is drawn.

    Attributes:
        directory: of the documents.
        purpose: of the draw, see `draw`.
        cutoffs: for other languages and for Chinese, the draw below which a document is taken.
        documents, utf8_bytes: in the whole folder, for other languages and for Chinese.
        drawn_bytes: about how much of them is drawn, likewise.
    """

    directory: Path
    purpose: str
    cutoffs: tuple[float, float]
    documents: tuple[int, int]
    utf8_bytes: tuple[int, int]
    drawn_bytes: tuple[int, int]

    def texts(self) -> Iterator[tuple[str, str]]:
        """Language and text of the documents drawn, in file order; memory is bounded."""
        for path in document_files(self.directory):
            for batch in document_batches(path, ["doc_id", "lang", "text"]):
                names = zip(batch["doc_id"].to_pylist(), batch["lang"].to_pylist(), strict=True)
                drawn = [
                    (row, language)
                    for row, (doc_id, language) in enumerate(names)
                    if draw(doc_id, self.purpose) < self.cutoffs[is_chinese(language)]
                ]
                for row, language in drawn:
                    yield language, batch["text"][row].as_py()


def sample_documents(
    directory: Path, *, sample_bytes: int, chinese_share: float | None, seed: int
) -> DocumentSample:
    """Draw documents for `sample_bytes` of UTF-8 text, with the given share of Chinese bytes.

    Reads the documents once. Memory does not grow with them: the draws are counted in 65,536
    buckets, so the sample's size is right within about 1/65,536 and a document.

    Raises:
        InputError: no documents, or none in a language that the share asks for.
    """
    purpose = f"tokenizer sample {seed}"
    bytes_by_bucket, documents = _count(directory, purpose)
    other_bytes, chinese_bytes = (int(total) for total in bytes_by_bucket.sum(axis=1))
    if chinese_share is None:
        cutoff = _cutoff(bytes_by_bucket.sum(axis=0), sample_bytes)
        cutoffs = (cutoff, cutoff)
    else:
        parts = ((other_bytes, 1 - chinese_share), (chinese_bytes, chinese_share))
        for (available, share), name in zip(parts, ("other than Chinese", "Chinese"), strict=True):
            if share and not available:
                raise InputError(
                    f"tokenizer.chinese_share is {chinese_share}, but {directory} "
                    f"has no document in a language {name}",
                    hint="leave tokenizer.chinese_share out to take the documents as they are",
                )
        reachable = min(available / share for available, share in parts if share)
        budget = min(sample_bytes, reachable)
        cutoffs = (
            _cutoff(bytes_by_bucket[0], budget * parts[0][1]),
            _cutoff(bytes_by_bucket[1], budget * parts[1][1]),
        )
    drawn = [
        int(sizes[: round(cutoff * _BUCKETS)].sum())
        for sizes, cutoff in zip(bytes_by_bucket, cutoffs, strict=True)
    ]
    return DocumentSample(
        directory,
        purpose,
        cutoffs,
        documents=documents,
        utf8_bytes=(other_bytes, chinese_bytes),
        drawn_bytes=(drawn[0], drawn[1]),
    )


def _count(directory: Path, purpose: str) -> tuple[npt.NDArray[np.int64], tuple[int, int]]:
    """UTF-8 bytes by draw, int64 [2, buckets], and documents; of other languages and Chinese."""
    bytes_by_bucket = np.zeros((2, _BUCKETS), dtype=np.int64)
    documents = [0, 0]
    for path in document_files(directory):
        for batch in document_batches(path, ["doc_id", "lang", "text"]):
            lengths = pc.binary_length(batch["text"]).to_pylist()
            languages = batch["lang"].to_pylist()
            for doc_id, language, length in zip(
                batch["doc_id"].to_pylist(), languages, lengths, strict=True
            ):
                chinese = is_chinese(language)
                bytes_by_bucket[int(chinese), int(draw(doc_id, purpose) * _BUCKETS)] += length
                documents[chinese] += 1
    return bytes_by_bucket, (documents[0], documents[1])


def _cutoff(bytes_by_bucket: npt.NDArray[np.int64], budget: float) -> float:
    """The draw below which documents hold at most `budget` bytes, but at least one document."""
    if not budget:
        return 0.0
    sums = np.cumsum(bytes_by_bucket)
    buckets = int(np.searchsorted(sums, budget, side="right"))
    first = int(np.searchsorted(sums, 0, side="right"))
    return max(buckets, first + 1 if first < _BUCKETS else 0) / _BUCKETS
