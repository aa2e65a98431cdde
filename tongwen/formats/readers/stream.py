"""The bytes of a WARC or ARC file, decompressed member by member, also after damage."""

import re
import zlib
from typing import BinaryIO

_CHUNK_BYTES = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b\x08"
_MAXIMUM_START_BYTES = 1 << 12
WARC_START = re.compile(rb"WARC/1\.")
ARC_START = re.compile(
    rb"[a-zA-Z]{2,16}:[^\n]{1,3900} [0-9.:a-f]+ [0-9]{12,17} [^ \n]+ [0-9]+\r?\n"
)


class RecordStream:
    """Walks from record to record.

    The order of calls: `next_record`, `read_head`, `begin_body`, `read_body` (or not),
    `skip_rest`; `resynchronize` instead of the last three when the head makes no sense.

    Args:
        file: to be read; it can be at any position.
        record_start: what a record begins with; how to find one after damage.
        start: where the first record begins: byte offset in the file, of a gzip member if it is
            compressed.
        end: records that begin here or later are left out.

    Attributes:
        offset: of the current record: byte offset of its gzip member plus its number in that
            member (nearly always 0), or its own byte offset in a plain file.
        begins_member: only line ends precede the current record in its gzip member.
        body_left: bytes of the current body that are not read yet.
        at_end: the file ended, maybe in the middle of the current record.
        lost: offsets of damaged gzip members without a record, until `take_lost`.
    """

    def __init__(
        self,
        file: BinaryIO,
        record_start: re.Pattern[bytes] = WARC_START,
        *,
        start: int = 0,
        end: int | None = None,
    ) -> None:
        self._file = file
        self._record_start = record_start
        self._end = end
        file.seek(0)
        self._is_gzip = file.read(2) == _GZIP_MAGIC[:2]
        file.seek(start)
        self._decoder = zlib.decompressobj(wbits=31) if self._is_gzip else None
        self._compressed = b""
        self._compressed_offset = start  # in the file, of the first byte of _compressed
        self._buffer = bytearray()
        # Bytes before the buffer: since `start` when decompressed, else of the whole file.
        self._position = 0 if self._is_gzip else start
        self._members = [(0, start)]  # (decompressed position, file offset) where a member begins
        self._number_in_member = 0
        self._record_member = -1  # file offset of the member that the record in hand is in
        self._is_damaged = False
        self._has_begun = False  # the member in hand has got some bytes
        self._body_is_cut = False
        self.offset = start
        self.begins_member = True
        self.body_left = 0
        self.at_end = False
        self.lost: list[int] = []

    @property
    def is_cut(self) -> bool:
        """Whether the file ended in the middle of a record.

        When a member's last bytes are missing, after its record, nothing is lost.
        """
        is_member_cut = self._decoder is not None and not self._decoder.eof and self._has_begun
        holds_no_record = self._members[-1][1] != self._record_member
        return self.at_end and (self._body_is_cut or (is_member_cut and holds_no_record))

    @property
    def cut_offset(self) -> int:
        """Where the record begins that is cut off."""
        return self._members[-1][1] if self._is_gzip else self.offset

    def next_record(self) -> bool:
        """Go to the next record; False at the end of the file or of what is wanted of it."""
        return self._find_record() and (self._end is None or self.offset < self._end)

    def _find_record(self) -> bool:
        before = self._position
        while True:
            self._fill(1)
            while self._buffer.startswith((b"\r", b"\n")):
                blank = len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))
                self._drop(blank)
                self._fill(1)
            if self._buffer:
                break
            if not self._is_damaged:
                return False
            damaged = self._members[-1][1]
            if damaged != self._record_member:
                self.lost.append(damaged)
            if not self._next_intact_member():
                return False
        if not self._is_gzip:
            self.offset = self._position
            return True
        while len(self._members) > 1 and self._members[1][0] <= self._position:
            self._members.pop(0)
            self._number_in_member = 0
        self.begins_member = self._number_in_member == 0 and self._members[0][0] >= before
        self._record_member = self._members[0][1]
        self.offset = self._record_member + self._number_in_member
        self._number_in_member += 1
        return True

    def take_lost(self) -> list[int]:
        """The members lost since the last call."""
        lost, self.lost = self.lost, []
        return lost

    def read_head(self, limit_bytes: int) -> bytes:
        """Everything before the empty line, which is taken away; at most `limit_bytes`."""
        start = 0
        while True:
            ends = [
                (position, len(blank))
                for blank in (b"\r\n\r\n", b"\n\n")
                if (position := self._buffer.find(blank, start)) >= 0
            ]
            if ends:
                position, blank_bytes = min(ends)
                head = bytes(self._buffer[: position + 1 + blank_bytes // 4])
                if head.startswith(b"WARC/"):
                    self._drop(position + blank_bytes)
                return head
            start = max(0, len(self._buffer) - 3)
            size = len(self._buffer)
            if size >= limit_bytes or not self._fill(size + 1):
                return bytes(self._buffer[:limit_bytes]).rstrip(b"\r\n")

    def peek(self, count: int) -> bytes:
        """The next bytes, `count` of them if there are as many; they stay."""
        self._fill(count)
        return bytes(self._buffer[:count])

    def take(self, count: int) -> None:
        """Go over bytes that were looked at."""
        self._drop(count)

    def begin_body(self, length_bytes: int) -> None:
        """Say how long the body is that follows."""
        self.body_left = length_bytes

    def read_body(self) -> tuple[bytes, bool]:
        """The whole body and True, or what is left of it and False."""
        wanted = self.body_left
        self._fill(wanted)
        body = bytes(self._buffer[:wanted])
        self._drop(len(body))
        self.body_left = 0
        return body, len(body) == wanted

    def skip_rest(self) -> None:
        """Skip the rest of the current body, in bounded memory."""
        while self.body_left and self._fill(1):
            count = min(self.body_left, len(self._buffer))
            self._drop(count)
            self.body_left -= count
        self._body_is_cut = self.body_left > 0
        self.body_left = 0

    def resynchronize(self) -> None:
        """Go to the next place where a record begins a line, or to the end."""
        pattern = re.compile(rb"\n(?=" + self._record_start.pattern + rb")")
        while True:
            found = pattern.search(self._buffer, 1)
            if found is not None:
                self._drop(found.end())
                return
            self._drop(max(0, len(self._buffer) - _MAXIMUM_START_BYTES))
            if not self._fill(len(self._buffer) + 1):
                self._drop(len(self._buffer))
                return

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._position += count

    def _fill(self, wanted: int) -> bool:
        """Read until the buffer holds `wanted` bytes; False when it cannot."""
        while len(self._buffer) < wanted:
            if self._is_damaged or self.at_end:
                return False
            if self._decoder is None:
                chunk = self._file.read(max(_CHUNK_BYTES, wanted - len(self._buffer)))
                self.at_end = not chunk
                self._buffer += chunk
            else:
                self._decompress()
        return True

    def _decompress(self) -> None:
        """Append some more decompressed bytes; note damage and the beginning of members."""
        assert self._decoder is not None
        if self._decoder.eof:
            self._compressed_offset += len(self._compressed) - len(self._decoder.unused_data)
            self._compressed = self._decoder.unused_data or self._file.read(_CHUNK_BYTES)
            while self._compressed and not self._compressed.lstrip(b"\0"):
                self._compressed_offset += len(self._compressed)
                self._compressed = self._file.read(_CHUNK_BYTES)
            padding = len(self._compressed) - len(self._compressed.lstrip(b"\0"))
            self._compressed = self._compressed[padding:]  # zeros may stand between members
            self._compressed_offset += padding
            if not self._compressed:
                self.at_end = True
                return
            self._start_member()
        elif not self._compressed:
            self._compressed = self._file.read(_CHUNK_BYTES)
            if not self._compressed:
                self.at_end = True
                return
        self._has_begun = True
        try:
            self._buffer += self._decoder.decompress(self._compressed, _CHUNK_BYTES)
        except zlib.error:
            self._is_damaged = True
            return
        if not self._decoder.eof:
            rest = self._decoder.unconsumed_tail
            self._compressed_offset += len(self._compressed) - len(rest)
            self._compressed = rest

    def _start_member(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)
        self._has_begun = False
        self._members.append((self._position + len(self._buffer), self._compressed_offset))

    def _next_intact_member(self) -> bool:
        """After damage: go to the next gzip member that begins with a WARC record."""
        offset = self._members[-1][1] + 1
        self._file.seek(offset)
        window = b""
        while chunk := self._file.read(_CHUNK_BYTES):
            window += chunk
            found = window.find(_GZIP_MAGIC)
            while found >= 0:
                if self._begins_record(offset + found):
                    self._compressed, self._compressed_offset = b"", offset + found
                    self._file.seek(offset + found)
                    self._is_damaged = False
                    self._start_member()
                    return True
                found = window.find(_GZIP_MAGIC, found + 1)
            offset += len(window) - 2
            window = window[-2:]
            self._file.seek(offset + len(window))
        self.at_end, self._has_begun = True, False  # what was lost is in `lost`
        return False

    def _begins_record(self, offset: int) -> bool:
        self._file.seek(offset)
        try:
            decoder = zlib.decompressobj(wbits=31)
            start = decoder.decompress(self._file.read(_CHUNK_BYTES), _MAXIMUM_START_BYTES)
        except zlib.error:
            return False
        return self._record_start.match(start) is not None
