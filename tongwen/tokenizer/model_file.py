"""The content of a SentencePiece model file: its pieces, its kind and its normalization.

The Python package shows ids and pieces but neither the kind of model nor how it treats spaces. Its
file is a protocol buffer (`sentencepiece_model.proto` of google/sentencepiece, fields by number).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tongwen.errors import InputError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Kinds of pieces."""
BPE = 2  # of `TrainerSpec.ModelType`
_KINDS = {1: "unigram", BPE: "BPE", 3: "word", 4: "character"}


@dataclass(frozen=True)
class ModelFile:
    """The content of a SentencePiece model file.

    Attributes:
        pieces: (piece, score, kind) of every id.
        kind: number of the algorithm; `BPE` is the one that merges by score.
        byte_fallback: unknown characters are spelt in bytes.
        has_character_map: characters are exchanged before encoding, as by NFKC.
        adds_dummy_prefix: a space is put before every text.
        removes_extra_spaces: repeated, first and last spaces are lost.
        escapes_spaces: spaces are written as U+2581.
    """

    pieces: tuple[tuple[str, float, int], ...]
    kind: int
    byte_fallback: bool
    has_character_map: bool
    adds_dummy_prefix: bool
    removes_extra_spaces: bool
    escapes_spaces: bool

    @property
    def kind_name(self) -> str:
        return _KINDS.get(self.kind, f"kind {self.kind}")


def read_model(model: bytes) -> ModelFile:
    """Read the content of a model file.

    Raises:
        InputError: the bytes are not such a file.
    """
    try:
        return _read(model)
    except (IndexError, ValueError, struct.error) as error:
        raise InputError(
            "the SentencePiece model is damaged", hint="copy its tokenizer.model again"
        ) from error


def _read(model: bytes) -> ModelFile:
    pieces = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    for number, value in _fields(model):
        if number == 1 and isinstance(value, bytes):
            piece = dict(_fields(value))
            text, score, kind = piece.get(1, b""), piece.get(2, 0), piece.get(3, NORMAL)
            if not (isinstance(text, bytes) and isinstance(score, int) and isinstance(kind, int)):
                raise ValueError("a piece has fields of another type")
            score_bytes = score.to_bytes(4, "little")
            pieces.append((text.decode("utf-8"), struct.unpack("<f", score_bytes)[0], kind))
        elif number == 2 and isinstance(value, bytes):
            trainer = dict(_fields(value))
        elif number == 3 and isinstance(value, bytes):
            normalizer = dict(_fields(value))
    kind = trainer.get(3, 1)
    return ModelFile(
        pieces=tuple(pieces),
        kind=kind if isinstance(kind, int) else 0,
        byte_fallback=bool(trainer.get(35, 0)),
        has_character_map=bool(normalizer.get(2)),
        adds_dummy_prefix=bool(normalizer.get(3, 1)),
        removes_extra_spaces=bool(normalizer.get(4, 1)),
        escapes_spaces=bool(normalizer.get(5, 1)),
    )


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a message: an integer, or the bytes of a string or message."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield tag >> 3, value
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            yield tag >> 3, int.from_bytes(_cut(data, place, width), "little")
            place += width
        elif kind == 2:
            length, place = _varint(data, place)
            yield tag >> 3, _cut(data, place, length)
            place += length
        else:
            raise ValueError(f"wire type {kind}")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the place after it."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
        shift += 7


def _cut(data: bytes, place: int, length: int) -> bytes:
    if place + length > len(data):
        raise ValueError("cut off")
    return data[place : place + length]
