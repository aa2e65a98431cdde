"""Rows and files become records with a place, and what cannot be read is counted."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tongwen.errors import InputError
from tongwen.formats.readers import ReadCounts, read_records

TEXTS = ["Hello, world 😀", "同文馆，一八六二年。", "全角：ＡＢＣ！"]


def lines(*values: object) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_jsonl_texts_come_back_whole_from_every_compression(tmp_path: Path, suffix: str) -> None:
    data = lines(*({"text": text, "url": f"http://a.example/{text}"} for text in TEXTS))
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    path = tmp_path / f"x.jsonl{suffix}"
    path.write_bytes(pack(data))
    records = list(read_records(path, "jsonl"))
    assert [record.body.decode() for record in records] == TEXTS
    assert all(record.is_text for record in records)
    assert [record.offset for record in records] == [0, 1, 2]


def test_lines_without_a_text_are_records_with_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        lines({"text": "good"}) + b"{not json\n[]\n\xff\xfe\n" + lines({"text": 5}, {"other": "x"})
    )
    counts = ReadCounts()
    records = list(read_records(path, "jsonl", counts=counts))
    assert [record.problem for record in records] == [None, *["bad_json"] * 3, *["no_text"] * 2]
    assert counts.problems == {"bad_json": 3, "no_text": 2}


def test_a_wrong_text_field_is_an_error_that_names_the_fields_there_are(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(lines({"content": "words"}))
    with pytest.raises(InputError, match=r"'text' \(fields: content\)"):
        list(read_records(path, "jsonl"))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_clipped_compressed_file_gives_what_is_there_and_says_it_is_clipped(
    tmp_path: Path, suffix: str
) -> None:
    import random

    draw = random.Random(1)
    data = lines(*({"text": f"{draw.random()} 天气"} for _ in range(40_000)))
    packed = gzip.compress(data) if suffix == ".gz" else zstandard.compress(data)
    path = tmp_path / f"x.jsonl{suffix}"
    path.write_bytes(packed[: len(packed) // 2])
    records = list(read_records(path, "jsonl"))
    assert records[-1].problem in ("truncated", "bad_json")
    assert len(records) > 100


def test_a_file_that_is_cut_before_its_first_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(lines({"text": "words"}))[:12])
    with pytest.raises(InputError, match="cut off"):
        list(read_records(path, "jsonl"))


def test_a_lone_surrogate_of_json_does_not_raise(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text": "half \\ud83d an emoji"}\n')
    (record,) = read_records(path, "jsonl")
    assert record.body == b"half ? an emoji"


def test_parquet_rows_keep_url_date_and_license(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table(
        {
            "content": TEXTS,
            "url": ["http://a.example", None, ""],
            "license": ["CC0", None, None],
            "date": ["2026-01-01", None, None],
        }
    )
    pq.write_table(table, path)
    records = list(read_records(path, "parquet", text_field="content", license="unknown"))
    assert [record.body.decode() for record in records] == TEXTS
    assert [record.license for record in records] == ["CC0", "unknown", "unknown"]
    assert records[1].url.endswith("x.parquet#1")
    with pytest.raises(InputError, match="columns: content, url, license, date"):
        list(read_records(path, "parquet"))


def test_a_file_that_is_no_parquet_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 but not really")
    with pytest.raises(InputError, match=r"x\.parquet"):
        list(read_records(path, "parquet"))


def test_html_and_text_files_are_one_record_each(tmp_path: Path) -> None:
    page, text = tmp_path / "页.html", tmp_path / "a.txt"
    page.write_bytes("<p>编码".encode("gb18030"))
    text.write_bytes("编码".encode("gb18030"))
    (html,) = read_records(page, "html")
    (plain,) = read_records(text, "text")
    assert html.url.startswith("file:///")
    assert html.content_type == "text/html"
    assert plain.is_text
    assert plain.body.decode() == "编码"
    assert plain.charset == "gb18030"


def test_a_file_beyond_the_limit_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"x" * (21 << 20))
    (record,) = read_records(path, "text")
    assert (record.problem, record.body) == ("too_large", b"")
