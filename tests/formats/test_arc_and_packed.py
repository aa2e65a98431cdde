"""ARC files and archives compressed as a whole give the same records as WARC."""

import gzip
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tongwen.formats.readers import ReadCounts, read_records
from tongwen.formats.readers.pieces import split_file

PAGE = "<html><p>山不在高，有仙则名。</p></html>".encode()
FIXTURES = Path(os.environ.get("TONGWEN_WARC_FIXTURES", "nowhere"))


def arc_record(url: str, payload: bytes, date: str = "20140216050221") -> bytes:
    head = f"{url} 93.184.216.119 {date} text/html {len(payload)}\n"
    return head.encode() + payload + b"\n"


def http_page(body: bytes = PAGE) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + body


def arc_parts() -> list[bytes]:
    about = b"1 0 Capture\nURL IP-address Archive-date Content-type Archive-length\n"
    first = f"filedesc://x.arc 0.0.0.0 20140216050221 text/plain {len(about)}\n".encode() + about
    urls = [
        "http://a.example/?q=two words",
        "dns:a.example",
        "http://b.example/",
        "http://c.example/",
    ]
    return [first + b"\n", *(arc_record(url, http_page()) for url in urls)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_arc_pages_have_address_date_and_body(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "x.arc"
    path.write_bytes(b"".join(pack(part) for part in arc_parts()))
    counts = ReadCounts()
    records = list(read_records(path, "warc", counts=counts))
    assert [record.url for record in records] == [
        "http://a.example/?q=two%20words",
        "http://b.example/",
        "http://c.example/",
    ]
    assert {record.date for record in records} == {"2014-02-16T05:02:21Z"}
    assert {(record.body, record.charset, record.problem) for record in records} == {
        (PAGE, "utf-8", None)
    }
    assert counts.skipped == {"filedesc": 1, "response": 1}


def test_a_description_cut_short_costs_no_page(tmp_path: Path) -> None:
    path = tmp_path / "x.arc"
    path.write_bytes(b"filedesc:\n" + b"".join(arc_parts()[1:]))
    records = list(read_records(path, "warc"))
    assert [record.offset for record in records if record.problem is None] == [10, 362, 534]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_damaged_arc_record_costs_only_itself(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    parts = [pack(part) for part in arc_parts()]
    parts[3] = b"x" * 40 + parts[3][40:]
    path = tmp_path / "x.arc"
    path.write_bytes(b"".join(parts))
    records = list(read_records(path, "warc"))
    assert [record.url for record in records if record.problem is None] == [
        "http://a.example/?q=two%20words",
        "http://c.example/",
    ]


@pytest.mark.parametrize("compress", [lz4.frame.compress, zstandard.compress], ids=["lz4", "zst"])
def test_an_archive_packed_as_a_whole_reads_like_a_plain_one(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    data = b"".join(arc_parts())
    path = tmp_path / "x.arc"
    path.write_bytes(data)
    plain = list(read_records(path, "warc"))
    path.write_bytes(compress(data[:500]) + compress(data[500:]))
    assert list(read_records(path, "warc")) == plain
    assert len(split_file(path, "warc", 100)) == 1
    packed = path.read_bytes()
    path.write_bytes(packed[: len(packed) - 30])
    counts = ReadCounts()
    list(read_records(path, "warc", counts=counts))
    assert counts.problems == {"truncated": 1} or counts.records < len(plain)


@given(st.binary(max_size=300), st.integers(0, 700))
def test_random_bytes_in_an_arc_never_raise(noise: bytes, place: int) -> None:
    data = b"".join(arc_parts())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.arc")
        path.write_bytes(data[: 100 + place] + noise + data[100 + place :])
        for record in read_records(path, "warc"):
            assert record.problem is None or isinstance(record.problem, str)


@pytest.mark.skipif(
    not FIXTURES.is_dir(),
    reason="TONGWEN_WARC_FIXTURES does not name a folder of WARC and ARC files",
)
def test_no_real_file_stops_the_reader_and_all_split_cleanly() -> None:
    files = [path for path in sorted(FIXTURES.iterdir()) if "arc" in path.name]
    assert files
    for path in files:
        counts = ReadCounts()
        whole = list(read_records(path, "warc", counts=counts))
        assert counts.records + counts.skipped.total() > 0, path.name
        for piece_bytes in (1_000, 20_000):
            pieces = split_file(path, "warc", piece_bytes)
            assert [r for p in pieces for r in read_records(path, "warc", piece=p)] == whole, path
