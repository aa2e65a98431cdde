"""WARC files are read to the end, whatever is wrong with one record."""

import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tongwen.errors import InputError
from tongwen.formats.readers import ReadCounts, read_records
from tongwen.formats.records import RawRecord

PAGE = "<html><p>春天来了，the river rises。</p></html>".encode()


def http(body: bytes, *headers: str, status: str = "200 OK", media: str = "text/html") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {media}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def warc(
    payload: bytes,
    *,
    kind: str = "response",
    url: str = "http://a.example/",
    media: str = "application/http; msgtype=response",
    extra: str = "",
) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: 2026-11-01T00:00:00Z\r\nContent-Type: {media}\r\n{extra}"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload + b"\r\n\r\n"


def read(path: Path, data: bytes, **options: object) -> tuple[list[RawRecord], ReadCounts]:
    path.write_bytes(data)
    counts = ReadCounts()
    return list(read_records(path, "warc", counts=counts, **options)), counts  # type: ignore[arg-type]


def pages(count: int, pack: Callable[[bytes], bytes]) -> list[bytes]:
    return [pack(warc(http(PAGE + b"%d" % n), url=f"http://a.example/{n}")) for n in range(count)]


def plain(data: bytes) -> bytes:
    return data


PACKINGS = pytest.mark.parametrize("pack", [plain, gzip.compress], ids=["plain", "gzip"])


@PACKINGS
def test_pages_are_given_and_other_records_are_counted(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    data = b"".join(
        [
            pack(warc(b"software: x", kind="warcinfo")),
            pack(warc(b"GET / HTTP/1.1\r\n\r\n", kind="request")),
            pack(warc(http(PAGE, media="text/html; charset=UTF-8"))),
            pack(warc(b"", kind="revisit")),
        ]
    )
    (record,), counts = read(tmp_path / "x.warc", data, source="s", license="CC0")
    assert (record.body, record.content_type, record.charset) == (PAGE, "text/html", "UTF-8")
    assert (record.source, record.license, record.problem) == ("s", "CC0", None)
    assert counts.skipped == {"warcinfo": 1, "request": 1, "revisit": 1}


def test_a_file_compressed_as_a_whole_gives_every_record_its_own_offset(tmp_path: Path) -> None:
    data = gzip.compress(b"".join(pages(5, plain)))
    records, _ = read(tmp_path / "x.warc.gz", data)
    assert len({record.offset for record in records}) == 5
    assert [record.url[-1] for record in records] == list("01234")


def test_wet_records_are_plain_text_already(tmp_path: Path) -> None:
    data = warc("你好，世界".encode(), kind="conversion", media="text/plain")
    (record,), _ = read(tmp_path / "x.wet", data)
    assert record.is_text
    assert record.body.decode() == "你好，世界"


@PACKINGS
@pytest.mark.parametrize("kind", ["response", "request"])
def test_wherever_a_file_is_cut_all_before_is_read_and_the_cut_is_told_once(
    tmp_path: Path, pack: Callable[[bytes], bytes], kind: str
) -> None:
    whole = pages(2, pack)
    last = pack(warc(http(PAGE), kind=kind))
    start = len(whole[0]) + len(whole[1])
    data = b"".join([*whole, last])
    for cut in range(start + 1, len(data) - 20, 7):  # 20: checksum, empty lines
        records, counts = read(tmp_path / "x.warc", data[:cut])
        assert [record.problem for record in records] == [None, None, "truncated"], cut
        assert counts.problems == {"truncated": 1}
        assert records[2].offset == start


@PACKINGS
def test_a_damaged_record_in_the_middle_costs_only_itself(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    members = pages(4, pack)
    middle = bytearray(members[1])
    middle[:20] = b"\x1f\x8b\x08" + b"\xff" * 17 if pack is gzip.compress else b"x" * 20
    members[1] = bytes(middle)
    records, _ = read(tmp_path / "x.warc", b"".join(members))
    assert [record.url for record in records if record.problem is None] == [
        f"http://a.example/{n}" for n in (0, 2, 3)
    ]
    assert sum(record.problem is not None for record in records) <= 1


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("br", brotli.compress),
        ("zstd", zstandard.compress),
        ("identity", plain),
        ("gzip", plain),
        ("br", plain),
    ],
)
def test_content_encodings_are_undone_also_when_the_header_lies(
    tmp_path: Path, name: str, encode: Callable[[bytes], bytes]
) -> None:
    data = warc(http(encode(PAGE), f"Content-Encoding: {name}"))
    (record,), _ = read(tmp_path / "x.warc", data)
    assert (record.body, record.problem) == (PAGE, None)


def test_chunks_are_joined_and_a_missing_last_chunk_is_a_truncation(tmp_path: Path) -> None:
    chunked = b"5\r\n" + PAGE[:5] + b"\r\n%x;a=b\r\n" % (len(PAGE) - 5) + PAGE[5:] + b"\r\n"
    for end, problem in ((b"0\r\n\r\n", None), (b"", "truncated")):
        data = warc(http(chunked + end, "Transfer-Encoding: chunked"))
        (record,), _ = read(tmp_path / "x.warc", data)
        assert (record.body, record.problem) == (PAGE, problem)


@pytest.mark.parametrize("name", ["gzip", "br", "zstd"])
def test_a_decompression_bomb_is_named_and_the_next_page_is_read(tmp_path: Path, name: str) -> None:
    zeros = bytes(200 << 20)
    bomb = {"gzip": gzip.compress, "zstd": zstandard.compress}.get(name)
    packed = bomb(zeros) if bomb else brotli.compress(zeros, quality=1)
    data = warc(http(packed, f"Content-Encoding: {name}")) + warc(http(PAGE))
    records, counts = read(tmp_path / "x.warc", data)
    assert [record.problem for record in records] == ["bomb", None]
    assert records[0].body == b""
    assert counts.problems == {"bomb": 1}


@PACKINGS
def test_a_page_of_50_megabytes_is_too_large_and_the_next_page_is_read(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    data = pack(warc(http(b"x" * (50 << 20)))) + pack(warc(http(PAGE)))
    records, _ = read(tmp_path / "x.warc", data)
    assert [record.problem for record in records] == ["too_large", None]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (http(b"\xff\xd8", media="image/jpeg"), "content_type"),
        (http(b"%PDF", media="application/pdf"), "content_type"),
        (http(b"moved", status="301 Moved"), "http_status"),
        (http(b"gone", status="404 Not Found"), "http_status"),
        (http(b"?", "Content-Encoding: lzma"), "bad_encoding"),
        (http(b"\x1f\x8bgarbage", "Content-Encoding: gzip"), "bad_encoding"),
    ],
)
def test_what_is_no_page_keeps_its_url_and_says_why(
    tmp_path: Path, message: bytes, problem: str
) -> None:
    (record,), _ = read(tmp_path / "x.warc", warc(message, url="http://b.example/图"))
    assert (record.problem, record.body) == (problem, b"")
    assert record.url == "http://b.example/图"


def test_a_quarantined_record_is_not_touched_and_the_others_are_marked(tmp_path: Path) -> None:
    data = b"".join(pages(3, gzip.compress))
    all_records, _ = read(tmp_path / "x.warc.gz", data)
    bad = f"x.warc.gz@{all_records[1].offset}"
    marks: list[str] = []
    records, _ = read(tmp_path / "x.warc.gz", data, skip=frozenset({bad}), mark=marks.append)
    assert [record.problem for record in records] == [None, "quarantined", None]
    assert marks == [f"x.warc.gz@{all_records[n].offset}" for n in (0, 2)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>no crawl</html>", "no WARC record"),
        (gzip.compress(b"<html>no crawl</html>", mtime=0), "no WARC record"),
        (b"BZh91AY", "bzip2"),
        (b"PK\x03\x04", "ZIP"),
        (b"\x28\xb5\x2f\xfd....", "no WARC record"),
    ],
)
def test_a_file_that_is_no_warc_is_refused_by_name(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path / "x.warc.gz", data)
    assert "x.warc.gz" in caught.value.message
    assert caught.value.hint


@given(st.data())
def test_no_damage_raises_anything_but_a_clear_error(data: st.DataObject) -> None:
    raw = bytearray(b"".join(pages(2, data.draw(st.sampled_from([plain, gzip.compress])))))
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(raw) - 1))
        raw[position : position + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    stream = bytes(raw[: data.draw(st.integers(0, len(raw)))])

    class Memory:
        name = "x.warc"

        def open(self, mode: str) -> io.BytesIO:
            return io.BytesIO(stream)

    try:
        records = list(read_records(Memory(), "warc"))  # type: ignore[arg-type]
    except InputError:
        return
    assert len({record.offset for record in records}) == len(records)


def small_members(number: int) -> list[bytes]:
    """Records so small that damage leaves nothing of them."""
    members = []
    for page in range(number):
        body = f"page {page} ".encode() * 50
        head = (
            f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://a.example/{page}\r\n"
            f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        members.append(gzip.compress(head.encode() + body + b"\r\n\r\n", mtime=0))
    return members


def wrong_checksum(member: bytes) -> bytes:
    return member[:-6] + bytes((member[-6] ^ 255,)) + member[-5:]


def wrong_data(member: bytes) -> bytes:
    return member[:20] + bytes((member[20] ^ 255,)) + member[21:]


def half(member: bytes) -> bytes:
    return member[: len(member) // 2]


@pytest.mark.parametrize("damage", [wrong_checksum, wrong_data, half])
@pytest.mark.parametrize("place", range(5))
def test_a_damaged_member_is_one_record_with_a_problem(
    tmp_path: Path, damage: Callable[[bytes], bytes], place: int
) -> None:
    members = small_members(5)
    offset = sum(map(len, members[:place]))
    members[place] = damage(members[place])
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(members))
    records = list(read_records(path, "warc"))
    problems = [record.problem for record in records]
    assert [problem is None for problem in problems] == [page != place for page in range(5)]
    assert problems[place] in ("malformed", "truncated")
    assert records[place].offset == offset


def test_zeros_between_members_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(member + bytes(100_000) for member in small_members(5)))
    records = list(read_records(path, "warc"))
    assert [record.url[-1] for record in records] == list("01234")
    assert all(record.problem is None for record in records)
