"""The list of inputs is complete, sorted and honest about what is missing."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from tongwen.crawl.settings import CrawlSettings, SourceSettings
from tongwen.crawl.stage import files, run, source_files
from tongwen.errors import InputError
from tongwen.files import file_digest, read_jsonl
from tongwen.flow.local import LocalRunner
from tongwen.flow.settings import RunSettings
from tongwen.flow.stage import StageContext
from tongwen.formats.readers import Piece, read_records
from tongwen.progress import Progress


def context(tmp_path: Path, *sources: SourceSettings, piece_bytes: int = 64 << 20) -> StageContext:
    settings = CrawlSettings(sources=sources, piece_bytes=piece_bytes)
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    return StageContext(
        settings, RunSettings(name="t"), {}, out, tmp_path, LocalRunner(), Progress()
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "语料"
    (data / "deep").mkdir(parents=True)
    for name in ("b.warc.gz", "a.warc", "deep/c.WARC.GZ", "notes.txt", ".hidden.warc"):
        (data / name).write_bytes(gzip.compress(name.encode()))
    return data


def test_every_file_is_listed_once_in_order_with_its_digest(tmp_path: Path, folder: Path) -> None:
    source = SourceSettings(path=str(folder), format="warc", license="CC0")
    stage = context(tmp_path, source)
    counts = run(stage)
    rows = list(read_jsonl(stage.out / "inputs.jsonl"))
    assert [Path(row["path"]).name for row in rows] == ["a.warc", "b.warc.gz", "c.WARC.GZ"]
    assert [row["digest"] for row in rows] == [file_digest(Path(row["path"])) for row in rows]
    assert {(row["source"], row["license"], row["format"]) for row in rows} == {
        ("语料", "CC0", "warc")
    }
    assert counts["files"] == 3
    assert counts["bytes"] == sum(row["bytes"] for row in rows)
    assert files(stage.settings) == [Path(row["path"]) for row in rows]


def test_patterns_reach_into_folders(folder: Path) -> None:
    for pattern, expected in (("*.warc", 1), ("**/*.[wW]*.[gG][zZ]", 2), ("d*", 1)):
        source = SourceSettings(path=str(folder / pattern), format="warc")
        assert len(source_files(source)) == expected


@pytest.mark.parametrize("pattern", ["nothing*.warc", "[ab].parquet"])
def test_a_pattern_that_matches_nothing_is_an_error(folder: Path, pattern: str) -> None:
    with pytest.raises(InputError, match="no warc files"):
        source_files(SourceSettings(path=str(folder / pattern), format="warc"))


def test_a_folder_without_files_of_the_format_says_what_was_looked_for(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        source_files(SourceSettings(path=str(folder), format="parquet"))
    assert ".parquet" in str(caught.value.hint)


def test_a_missing_path_is_answered_with_what_is_there(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        source_files(SourceSettings(path=str(folder / "no" / "a.warc"), format="warc"))
    assert "b.warc.gz" in str(caught.value.hint)


def test_an_empty_file_is_named_and_the_others_are_read(folder: Path, tmp_path: Path) -> None:
    (folder / "empty.warc").touch()
    stage = context(tmp_path, SourceSettings(path=str(folder), format="warc"))
    assert run(stage)["files"] == 3
    (row,) = read_jsonl(stage.out / "not_taken.jsonl")
    assert (Path(row["path"]).name, row["kind"]) == ("empty.warc", "empty file")


def test_a_source_of_empty_files_alone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.warc").touch()
    source = SourceSettings(path=str(tmp_path / "empty.warc"), format="warc")
    with pytest.raises(InputError, match=r"none of the 1 files can be read: .*empty\.warc"):
        run(context(tmp_path, source))


def test_a_recipe_without_any_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to crawl"):
        run(context(tmp_path))


def test_a_large_file_is_listed_in_pieces_that_give_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    path.write_text("".join(f'{{"text": "第{n}行"}}\n' for n in range(500)), encoding="utf-8")
    source = SourceSettings(path=str(path), format="jsonl")
    (whole,) = _listed(context(tmp_path, source))
    assert not {"start", "end", "first_row"} & set(whole)
    rows = _listed(context(tmp_path, source, piece_bytes=2_000))
    assert len(rows) > 3
    assert {row["digest"] for row in rows} == {whole["digest"]}
    assert sum(row["bytes"] for row in rows) == whole["bytes"]
    records = [
        record
        for row in rows
        for record in read_records(
            path, "jsonl", piece=Piece(row["start"], row["end"], row["first_row"])
        )
    ]
    assert records == list(read_records(path, "jsonl"))


def _listed(stage: StageContext) -> list[dict[str, Any]]:
    counts = run(stage)
    assert counts["files"] == 1
    return list(read_jsonl(stage.out / "inputs.jsonl"))


def test_a_trusted_source_is_listed_as_such(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("灯塔", encoding="utf-8")
    source = SourceSettings(path=str(tmp_path / "book.txt"), format="text", trusted=True)
    stage = context(tmp_path, source)
    run(stage)
    (row,) = read_jsonl(stage.out / "inputs.jsonl")
    assert row["trusted"] is True
