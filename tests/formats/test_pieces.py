"""The pieces of a file give exactly the records of the whole file, each once."""

import gzip
import json
import random
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tongwen.errors import InputError
from tongwen.formats.readers import Piece, read_records
from tongwen.formats.readers.pieces import split_file

BODIES = st.lists(st.binary(max_size=120), min_size=1, max_size=12)


def warc(payload: bytes, number: int) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://a.example/{number}\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload + b"\r\n\r\n"


def assert_pieces_are_the_whole(path: Path, format: str, piece_bytes: int) -> list[Piece]:
    pieces = split_file(path, format, piece_bytes)
    whole = list(read_records(path, format))
    parts = [list(read_records(path, format, piece=piece)) for piece in pieces]
    assert [record for part in parts for record in part] == whole
    return pieces


@given(BODIES, st.integers(1, 1_500), st.sampled_from(["plain", "members", "one member", "blocks"]))
def test_warc_pieces(bodies: list[bytes], piece_bytes: int, packing: str) -> None:
    records = [warc(body, number) for number, body in enumerate(bodies)]
    joined = b"".join(records)
    data = {
        "plain": joined,
        "members": b"".join(map(gzip.compress, records)),
        "one member": gzip.compress(joined),
        # Members that do not end where records end.
        "blocks": b"".join(gzip.compress(joined[at : at + 90]) for at in range(0, len(joined), 90)),
    }[packing]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.wet")
        path.write_bytes(data)
        assert_pieces_are_the_whole(path, "wet", piece_bytes)


@given(BODIES, st.integers(1, 400), st.data())
def test_damaged_warc_pieces(bodies: list[bytes], piece_bytes: int, data: st.DataObject) -> None:
    packed = bytearray(
        b"".join(gzip.compress(warc(body, number)) for number, body in enumerate(bodies))
    )
    if len(bodies) > 1:
        start = data.draw(st.integers(len(gzip.compress(warc(bodies[0], 0))), len(packed) - 1))
        packed[start : start + 5] = b"wrong"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.warc.gz")
        path.write_bytes(bytes(packed))
        assert_pieces_are_the_whole(path, "warc", piece_bytes)


def test_an_archive_inside_an_archive_is_never_cut(tmp_path: Path) -> None:
    inner = b"".join(gzip.compress(warc(b"inner", number)) for number in range(40))
    plain_inner = b"\n" + b"".join(warc(b"inner", number) for number in range(40))
    for index, data in enumerate(
        (
            b"".join(gzip.compress(warc(inner, n), compresslevel=0) for n in range(4)),
            b"".join(warc(plain_inner, n) for n in range(4)),
        )
    ):
        path = tmp_path / f"{index}.warc"
        path.write_bytes(data)
        assert len(assert_pieces_are_the_whole(path, "warc", 700)) == 4


@given(
    st.lists(st.text(max_size=40) | st.none(), min_size=1, max_size=30),
    st.integers(1, 300),
    st.booleans(),
)
def test_jsonl_pieces(texts: list[str | None], piece_bytes: int, ends: bool) -> None:
    lines = ["" if text is None else json.dumps({"text": text}) for text in ("first", *texts)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.jsonl")
        path.write_text("\n".join(lines) + "\n" * ends, encoding="utf-8")
        pieces = assert_pieces_are_the_whole(path, "jsonl", piece_bytes)
        assert sum(piece.bytes for piece in pieces) == path.stat().st_size


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_compressed_lines_are_one_piece(tmp_path: Path, compress: object) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(compress(b'{"text": "a"}\n' * 100))  # type: ignore[operator]
    assert len(split_file(path, "jsonl", 10)) == 1


@pytest.mark.parametrize("piece_bytes", [1, 3_000, 1 << 30])
def test_parquet_pieces_are_row_groups(tmp_path: Path, piece_bytes: int) -> None:
    draw = random.Random(3)
    texts = [f"{draw.random()} 春眠不觉晓" * 9 for _ in range(1_000)]
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": texts}), path, row_group_size=70)
    pieces = assert_pieces_are_the_whole(path, "parquet", piece_bytes)
    assert len(pieces) == {1: 15, 1 << 30: 1}.get(piece_bytes, len(pieces))


def test_a_large_piece_and_a_small_one_have_the_rows_of_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\n' * 3_000_000, encoding="utf-8")  # many chunks, many targets
    pieces = split_file(path, "jsonl", 5_000_000)
    assert [piece.first_row * 14 for piece in pieces] == [piece.start for piece in pieces]
    assert len(pieces) == 9


def test_a_wrong_text_field_is_told_by_the_first_piece(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"content": "a"}\n' * 100, encoding="utf-8")
    first, *_ = split_file(path, "jsonl", 500)
    with pytest.raises(InputError, match="content"):
        list(read_records(path, "jsonl", piece=first))
