"""Files compressed as a whole with LZ4 or Zstandard, read as if they were plain."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from tongwen.errors import InputError

_LZ4 = b"\x04\x22\x4d\x18"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_CHUNK_BYTES = 1 << 12  # a frame can hold 30,000 times what it takes


class PackedFile(io.BufferedReader):
    """The decompressed bytes; damage counts as the end of the file."""


class _Unpacked(io.RawIOBase):
    """Decompresses frame after frame; going back begins again."""

    def __init__(self, file: BinaryIO, new_decoder: Callable[[], Any]) -> None:
        self._file = file
        self._new_decoder = new_decoder
        self._begin()

    def _begin(self) -> None:
        self._file.seek(0)
        self._decoder = self._new_decoder()
        self._ready = b""
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        assert whence == io.SEEK_SET
        if offset < self._position:
            self._begin()
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        while self._position < offset and self.readinto(buffer[: offset - self._position]):
            pass
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            rest = self._decoder.unused_data if self._decoder.eof else b""
            chunk = rest or self._file.read(_CHUNK_BYTES)
            if not chunk:
                return 0
            if self._decoder.eof:
                self._decoder = self._new_decoder()
            try:
                self._ready = self._decoder.decompress(chunk)
            except (RuntimeError, zstandard.ZstdError):  # what lz4 and zstandard raise on damage
                return 0
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        self._position += count
        return count


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; one in LZ4 or Zstandard as a `PackedFile`.

    Raises:
        InputError: it cannot be opened, or LZ4 is not installed.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    with file:
        magic = file.read(4)
        file.seek(0)
        if magic == _LZ4:
            yield PackedFile(_Unpacked(file, _lz4_decoder(path)))
        elif magic == _ZSTANDARD:
            decoder = zstandard.ZstdDecompressor()
            yield PackedFile(_Unpacked(file, decoder.decompressobj))
        else:
            yield file


def _lz4_decoder(path: Path) -> Callable[[], Any]:
    try:
        # Not one of our requirements: few archives are in LZ4.
        import lz4.frame
    except ImportError as error:
        raise InputError(
            f"{path} is compressed with LZ4, for which a library is missing",
            hint="pip install lz4",
        ) from error
    decoder: Callable[[], Any] = lz4.frame.LZ4FrameDecompressor
    return decoder
