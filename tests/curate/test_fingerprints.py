"""Fingerprints of records, as their edits leave them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from curate_texts import CHINESE, story

from tongwen.curate.duplicates import fingerprints
from tongwen.curate.duplicates.fingerprints import fingerprint_records
from tongwen.curate.duplicates.minhash import sketch_texts
from tongwen.curate.records.edits import EDIT, KINDS
from tongwen.curate.text.characters import folded
from tongwen.flow.task import Task, TaskContext, TaskInput
from tongwen.formats.documents import DOCUMENT_SCHEMA

PARAMETERS = {
    "task": 2, "sources": ["a", "b"], "bands": 4, "rows": 3, "seed": 1,
    "shingle_words": 5, "shingle_characters": 4,
}  # fmt: skip


def fingerprinted(folder: Path, texts: list[str], edits: np.ndarray) -> tuple[np.ndarray, ...]:
    folder.mkdir(exist_ok=True)
    rows = [
        {
            **dict.fromkeys(DOCUMENT_SCHEMA.names, ""),
            "doc_id": f"{number + (1 << 100):032x}",
            "url": f"http://Example.org/{number // 2}#x" if number else "",
            "date": "2024-05-01T00:00:00Z",
            "lang": "zh-Hans" if "。" in text else "en",
            "source": "b" if number % 2 else "a",
            "text": text,
            "warc_offset": number,
        }
        for number, text in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(rows, DOCUMENT_SCHEMA), folder / "documents.parquet")
    np.save(folder / "edits.npy", edits)
    inputs = {
        "documents": TaskInput(folder / "documents.parquet", ""),
        "edits": TaskInput(folder / "edits.npy", ""),
    }
    task = Task(fingerprint_records, 2, inputs, PARAMETERS)
    counts = fingerprint_records(TaskContext(task, folder, frozenset(), None))
    assert counts == {"records": len(texts)}
    signatures = np.fromfile(folder / "signatures.bin", np.uint32).reshape(-1, 12)
    return np.load(folder / "fingerprints.npy"), signatures


def test_every_record_has_the_fingerprint_of_its_edited_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [story(1), CHINESE, "", story(2), "x" * 40 + story(2)]
    cut = np.zeros(2, EDIT)
    cut["record"], cut["kind"] = 2 << 40 | 4, KINDS.index("host_template")
    cut["end"] = 40
    cut[1] = (3 << 40, 0, 5, 0)  # of another task
    known, signatures = fingerprinted(tmp_path / "one", texts, cut)
    edited = [*texts[:4], story(2)]
    assert known["characters"].tolist() == [len(text) for text in edited]
    assert known["rank"].tolist() == [0, 1, 0, 1, 0]
    assert known["doc_id"].tolist() == [[1 << 36, number] for number in range(5)]
    assert known["has_signature"].tolist() == [True, True, False, True, True]
    assert known["date"].tolist() == [b"2024-05-01T00:00:00Z"] * 5
    for row, text in enumerate(edited):
        points = folded(text)
        digest = xxhash.xxh3_128_intdigest(points[points != 0].tobytes()) if text else 0
        assert known["text"][row].tolist() == list(divmod(digest, 1 << 64))
    assert known["url"].any(axis=1).tolist() == [False, True, True, True, True]
    assert known["url"][2].tolist() == known["url"][3].tolist() != known["url"][1].tolist()
    sizes = np.array([5, 4, 5, 5, 5])
    expected = sketch_texts(pa.array(edited), sizes, hashes=12, seed=1).signatures
    assert signatures.tolist() == expected.tolist()

    monkeypatch.setattr(fingerprints, "_BATCH_ROWS", 2)
    monkeypatch.setattr(fingerprints, "_BATCH_BYTES", 1)
    again, same = fingerprinted(tmp_path / "small", texts, cut)
    assert again.tobytes() == known.tobytes()
    assert same.tobytes() == signatures.tobytes()


def test_no_records_give_no_fingerprints(tmp_path: Path) -> None:
    known, signatures = fingerprinted(tmp_path, [], np.zeros(0, EDIT))
    assert (len(known), len(signatures)) == (0, 0)
