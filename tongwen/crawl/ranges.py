"""Single records out of the files of a crawl, by their byte ranges."""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tongwen.crawl.checks import check_content
from tongwen.crawl.common_crawl import Record, file_url
from tongwen.crawl.download import (
    Download,
    failure,
    finish,
    finished,
    locked_part,
)
from tongwen.crawl.http import HttpClient, RefusedError, TryAgainError
from tongwen.crawl.secrets import public_url
from tongwen.files import disk_errors


def download_records(
    client: HttpClient, base_url: str, records: Sequence[Record], path: Path, attempts: int
) -> Download:
    """The records, one after the other in a WARC file at `path`; fetched only if not there.

    The lengths tell after a kill which records are here already. The file's record `.NAME.json`
    says from where each came.

    Raises:
        InputError: a record cannot be had, or is no gzip member with a WARC record.
        DiskFullError: no space is left.
    """
    if (done := finished(path)) is not None:
        return done
    with locked_part(path) as (part, file), disk_errors(path):
        if (done := finished(path)) is not None:
            return done
        size = 0
        have = os.fstat(file.fileno()).st_size
        for record in records:
            if size + record.length > have:
                file.truncate(size)
                have = size
                _append(client, file_url(base_url, record.filename), record, file, attempts)
                have += record.length
            size += record.length
        file.truncate(size)
        file.flush()
        os.fsync(file.fileno())
        digest, checked = check_content(part, {}, is_gzip=True)
        places = [[item.url, item.filename, item.offset, item.length] for item in records]
        found = Download(public_url(base_url), path, size, digest, checked)
        return finish(part, found, {"records": places})


def _append(client: HttpClient, url: str, record: Record, file: IO[bytes], attempts: int) -> None:
    """Fetch one record and write it to the end of the file."""
    last = record.offset + record.length - 1
    place = f"{url} (bytes {record.offset:,} to {last:,})"
    failures = 0
    while True:
        try:
            data = _fetch(client, url, record)
            break
        except TryAgainError as error:
            failures += 1
            if failures >= (min(4, attempts) if error.status == 403 else attempts):
                raise failure(place, str(error), error.status) from error
            client.back_off(failures, error)
        except RefusedError as error:
            raise failure(place, str(error), error.status) from error
    file.write(data)
    file.flush()


def _fetch(client: HttpClient, url: str, record: Record) -> bytes:
    last = record.offset + record.length - 1
    with client.get(url, {"Range": f"bytes={record.offset}-{last}"}) as response:
        if response.status != 206:
            raise RefusedError(
                response.status, "the server gives no ranges, or the file is shorter"
            )
        data = bytearray()
        for chunk in client.chunks(response):
            data += chunk
            if len(data) > record.length:
                break
    if len(data) != record.length:
        raise TryAgainError(f"{len(data):,} bytes came instead of {record.length:,}")
    decoder = zlib.decompressobj(wbits=31)
    try:
        start = decoder.decompress(bytes(data), 5)
        while not decoder.eof and decoder.unconsumed_tail:
            decoder.decompress(decoder.unconsumed_tail, 1 << 20)
    except zlib.error as error:
        raise TryAgainError(f"it is no gzip member: {error}") from error
    if start != b"WARC/" or not decoder.eof or decoder.unused_data:
        raise TryAgainError("it is not one gzip member with a WARC record")
    return bytes(data)
