"""A large file is read in pieces, and the documents are those of the whole file."""

from pathlib import Path
from typing import Any

from curate_runs import CurateFunction, write_crawl
from curate_texts import CHINESE, ENGLISH

from tongwen.curate.settings import CurateSettings
from tongwen.files import read_jsonl
from tongwen.road.alone import run_alone


def test_a_file_in_pieces_gives_the_documents_of_the_whole_file(
    tmp_path: Path, curate: CurateFunction
) -> None:
    texts = [
        f"{ENGLISH} It was note {n}." if n % 2 else f"{CHINESE}记于第{n}日。" for n in range(40)
    ]
    source = write_crawl(tmp_path / "texts", {"notes": texts}) / "notes.jsonl"
    results: list[Any] = []
    for name, piece_bytes in (("whole", 1 << 20), ("pieces", 5_000)):
        crawl = tmp_path / f"crawl-{name}"
        run_alone(
            "crawl",
            inputs={},
            out=crawl,
            recipe=None,
            overrides=(
                f'crawl.sources=[{{path="{source}", format="jsonl"}}]',
                f"crawl.piece_bytes={piece_bytes}",
            ),
        )
        rows = list(read_jsonl(crawl / "inputs.jsonl"))
        assert len(rows) == (5 if name == "pieces" else 1)
        settings = CurateSettings(task_bytes=1)  # every piece is a task of its own
        curated = curate(crawl, out=f"curated-{name}", settings=settings)
        results.append([curated.rows("documents"), curated.rows("attributes")])
    assert results[0] == results[1]
    assert len(results[0][1]) == 40
