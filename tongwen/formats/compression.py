"""Files that may be compressed with gzip or Zstandard, recognized by their first bytes."""

import gzip
import io
import zlib
from typing import IO, cast

import zstandard

DECOMPRESSION_ERRORS = (EOFError, OSError, zlib.error, zstandard.ZstdError)
"""What reading a damaged or shortened file raises."""

_LONGEST_WINDOW_BYTES = 1 << 27
"""As `zstd --long=27` writes; zstandard reads no more than 8 MiB unless it is allowed to."""


def decompressed(raw: IO[bytes], start: int = 0) -> IO[bytes]:
    """The content of an open file; of several gzip members or Zstandard frames all.

    Args:
        raw: at its beginning.
        start: byte at which to read a file that is not compressed.
    """
    magic = raw.read(4)
    if magic.startswith(b"\x1f\x8b"):
        raw.seek(0)
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if magic == b"\x28\xb5\x2f\xfd":
        raw.seek(0)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_LONGEST_WINDOW_BYTES)
        reader = decompressor.stream_reader(raw, read_across_frames=True)
        return io.BufferedReader(cast(io.RawIOBase, reader))
    raw.seek(start)
    return raw
