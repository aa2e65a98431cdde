"""The token shard: documents as one flat array of token ids, memory-mapped, with an index.

Layout, all little-endian:

    header           128 bytes, see `_HEADER`
    tokens           uint16 or uint32, document after document
    padding          zeros up to a multiple of 8
    document_starts  uint64 a document: position of its first token
    utf8_bytes       uint64 a document: length of its text before encoding
    languages        uint8 a document: index into `LANGUAGES`
"""

import array
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt
import xxhash

from tongwen.errors import InputError
from tongwen.files import atomic_writer
from tongwen.formats.languages import LANGUAGES

MAGIC = b"TONGWEN\0"
VERSION = 1  # raise it when the layout below changes

_HEADER = struct.Struct("<8sIIQQQ16s16s")
"""Magic, version, token bytes, vocabulary size, tokens, documents, tokenizer and content digest."""
_HEADER_BYTES = 128  # the fields take 72; tokens then begin on a cache line, whatever is added
_CHUNK_BYTES = 8 << 20


def token_dtype(vocabulary_size: int) -> np.dtype[Any]:
    """The smallest of uint16 and uint32 that holds every id."""
    return np.dtype("<u2") if vocabulary_size <= 1 << 16 else np.dtype("<u4")


def language_code(language: str) -> int:
    """Place of a language in `LANGUAGES`; that of `other` for one that is not there."""
    return LANGUAGES.index(language) if language in LANGUAGES else 0


class ShardWriter:
    """Appends documents to a shard that is being written; see `shard_writer`."""

    def __init__(self, file: IO[bytes], vocabulary_size: int, tokenizer_digest: str) -> None:
        self._file = file
        self._vocabulary_size = vocabulary_size
        self._tokenizer_digest = bytes.fromhex(tokenizer_digest)
        self._dtype = token_dtype(vocabulary_size)
        self._content = xxhash.xxh3_128()
        self._starts = array.array("Q")
        self._utf8_bytes = array.array("Q")
        self._languages = bytearray()
        self.tokens = 0
        file.write(bytes(_HEADER_BYTES))

    @property
    def documents(self) -> int:
        return len(self._starts)

    def append(
        self, ids: Sequence[int] | npt.NDArray[np.integer[Any]], *, language: str, utf8_bytes: int
    ) -> None:
        """Add one document: its token ids, its language and the length of its text in UTF-8."""
        numbers = np.asarray(ids, np.int64)
        self.extend(
            numbers,
            token_counts=np.array([numbers.size], np.int64),
            languages=np.array([language_code(language)], np.uint8),
            utf8_bytes=np.array([utf8_bytes], np.uint64),
        )

    def extend(
        self,
        ids: npt.NDArray[np.integer[Any]],
        *,
        token_counts: npt.NDArray[np.int64],
        languages: npt.NDArray[np.uint8],
        utf8_bytes: npt.NDArray[np.uint64],
    ) -> None:
        """Add documents.

        Args:
            ids: int [tokens], of all documents, one after the other.
            token_counts: [documents], how many of them each has.
            languages: [documents], see `language_code`.
            utf8_bytes: [documents], length of each text.
        """
        assert ids.size == 0 or (ids.min() >= 0 and ids.max() < self._vocabulary_size)
        ends = self.tokens + np.cumsum(token_counts)
        assert ids.size == int(token_counts.sum())
        self._starts.frombytes((ends - token_counts).astype(np.uint64).tobytes())
        self._utf8_bytes.frombytes(utf8_bytes.astype(np.uint64).tobytes())
        self._languages += languages.tobytes()
        self._write(ids.astype(self._dtype, copy=False).tobytes())
        self.tokens += ids.size

    def _write(self, data: bytes) -> None:
        self._content.update(data)
        self._file.write(data)

    def finish(self) -> None:
        """Write index and header; `shard_writer` calls it."""
        self._write(bytes(-self.tokens * self._dtype.itemsize % 8))
        self._write(np.array(self._starts, dtype="<u8").tobytes())
        self._write(np.array(self._utf8_bytes, dtype="<u8").tobytes())
        self._write(bytes(self._languages))
        self._file.seek(0)
        self._file.write(
            _HEADER.pack(
                MAGIC,
                VERSION,
                self._dtype.itemsize,
                self._vocabulary_size,
                self.tokens,
                self.documents,
                self._tokenizer_digest,
                self._content.digest(),
            )
        )


@contextmanager
def shard_writer(
    path: Path, *, vocabulary_size: int, tokenizer_digest: str
) -> Iterator[ShardWriter]:
    """Write a shard that takes the name `path` only when the block ends without an error.

    Memory grows by 17 bytes a document. `tokenizer_digest` is 32 hexadecimal digits.

    Raises:
        DiskFullError: no space is left.
    """
    with atomic_writer(path) as file:
        writer = ShardWriter(file, vocabulary_size, tokenizer_digest)
        yield writer
        writer.finish()


@dataclass(frozen=True)
class Shard:
    """A shard on disk, mapped read-only; nothing is read until it is looked at.

    Attributes:
        path: of the file.
        vocabulary_size: ids are below it.
        tokenizer_digest: of the tokenizer that made the ids, 32 hexadecimal digits.
        content_digest: xxh3-128 of all bytes after the header, 32 hexadecimal digits.
        tokens: uint16 or uint32 [tokens].
        document_starts: uint64 [documents], position of each document's first token.
        utf8_bytes: uint64 [documents], length of each document's text, for bits per byte.
        languages: uint8 [documents], index into `LANGUAGES`.
    """

    path: Path
    vocabulary_size: int
    tokenizer_digest: str
    content_digest: str
    tokens: npt.NDArray[np.unsignedinteger[Any]]
    document_starts: npt.NDArray[np.uint64]
    utf8_bytes: npt.NDArray[np.uint64]
    languages: npt.NDArray[np.uint8]

    @property
    def documents(self) -> int:
        return len(self.document_starts)

    def document(self, number: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Token ids of one document, counted from 0."""
        start = int(self.document_starts[number])
        if number + 1 < self.documents:
            return self.tokens[start : int(self.document_starts[number + 1])]
        return self.tokens[start:]

    def language(self, number: int) -> str:
        """Language of one document; `other` for one that is not in `LANGUAGES`."""
        return LANGUAGES[self.languages[number]]

    @classmethod
    def open(cls, path: Path, *, tokenizer_digest: str | None = None) -> Self:
        """Map the shard at `path`; costs no more for a large one than for a small one.

        Args:
            path: a `.shard` file.
            tokenizer_digest: refuse ids of any other tokenizer.

        Raises:
            InputError: missing, not a shard, another version, cut off, or another tokenizer's.
        """
        header, file_bytes = _read_header(path)
        _, version, item_bytes, vocabulary_size, tokens, documents, tokenizer, content = header
        if version != VERSION:
            raise InputError(
                f"{path} is a shard of version {version}; this program reads {VERSION}",
                hint="run `tongwen encode` again",
            )
        index_start = _HEADER_BYTES + tokens * item_bytes
        index_start += -index_start % 8
        expected_bytes = index_start + 17 * documents
        if item_bytes not in (2, 4) or file_bytes != expected_bytes:
            raise InputError(
                f"{path} is damaged: {file_bytes:,} bytes, its header promises {expected_bytes:,}",
                hint="run `tongwen encode` again",
            )
        if tokenizer_digest is not None and tokenizer.hex() != tokenizer_digest:
            raise InputError(
                f"{path} was encoded with another tokenizer: its digest is {tokenizer.hex()}, "
                f"the one given has {tokenizer_digest}",
                hint="run `tongwen encode` with this tokenizer, or give the one it was made with",
            )
        data = np.memmap(path, dtype=np.uint8, mode="r")
        starts_end = index_start + 8 * documents
        lengths_end = starts_end + 8 * documents
        token_bytes = data[_HEADER_BYTES : _HEADER_BYTES + tokens * item_bytes]
        return cls(
            path=path,
            vocabulary_size=vocabulary_size,
            tokenizer_digest=tokenizer.hex(),
            content_digest=content.hex(),
            tokens=token_bytes.view(f"<u{item_bytes}"),
            document_starts=data[index_start:starts_end].view("<u8"),
            utf8_bytes=data[starts_end:lengths_end].view("<u8"),
            languages=data[lengths_end:],
        )

    def check_content(self) -> None:
        """Read the whole file and compare it with its digest.

        Raises:
            InputError: a byte has changed since it was written.
        """
        state = xxhash.xxh3_128()
        with self.path.open("rb") as file:
            file.seek(_HEADER_BYTES)
            while chunk := file.read(_CHUNK_BYTES):
                state.update(chunk)
        if state.hexdigest() != self.content_digest:
            raise InputError(
                f"{self.path} is damaged: its content has the digest {state.hexdigest()}, "
                f"its header says {self.content_digest}",
                hint="run `tongwen encode` again",
            )


def _read_header(path: Path) -> tuple[tuple[Any, ...], int]:
    """The header's fields and the size of the file in bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
            file_bytes = file.seek(0, 2)
    except OSError as error:
        raise InputError(
            f"cannot read the shard {path}: {error.strerror}", hint="run `tongwen encode` first"
        ) from error
    if head[: len(MAGIC)] != MAGIC or len(head) < _HEADER_BYTES:
        raise InputError(f"{path} is not a token shard", hint="run `tongwen encode` to make one")
    return _HEADER.unpack_from(head), file_bytes
