"""Files of object stores, listed and read through fsspec; brought to the cache as they are."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import fsspec
import xxhash

from tongwen.crawl.checks import check_content
from tongwen.crawl.download import Download, finish, finished, locked_part, with_attempts
from tongwen.crawl.http import HttpClient, StoppedError, TryAgainError
from tongwen.crawl.secrets import Secrets, public_url
from tongwen.errors import InputError, TongwenError
from tongwen.files import disk_errors, read_json, write_json

_CHUNK_BYTES = 4 << 20
_INSTALL = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub",
            "az": "adlfs", "abfs": "adlfs", "oss": "ossfs", "oci": "ocifs", "sftp": "paramiko",
            "webhdfs": "requests", "github": "requests", "smb": "smbprotocol"}  # fmt: skip


@dataclass(frozen=True)
class StoredFile:
    """A file of an object store.

    Attributes:
        url: with scheme, without keys.
        identity: of its content: checksum or version where the store tells one, else size and time.
        bytes: its size; None when the store does not tell.
    """

    system: Any
    name: str
    url: str
    identity: str
    bytes: int | None


def stored_files(
    url: str, storage: dict[str, str], secrets: Secrets, is_wanted: Callable[[str], bool]
) -> list[StoredFile]:
    """The files of an address: itself, those below it that are wanted, or those a pattern matches.

    Raises:
        InputError: the scheme is unknown or needs a package, nothing is there, or no access.
    """
    shown = public_url(url)
    try:
        system, place = fsspec.core.url_to_fs(secrets.fill(url), **secrets.options(storage))
        if any(character in place for character in "*?["):
            names = [name for name in system.glob(place) if system.isfile(name)]
        elif system.isfile(place):
            names = [place]
        else:
            names = [name for name in system.find(place) if is_wanted(name)]
        scheme = urlsplit(url).scheme
        return [_described(system, name, scheme) for name in sorted(names)]
    except TongwenError:
        raise
    except ImportError as error:
        package = _INSTALL.get(urlsplit(url).scheme)
        raise InputError(
            f"{shown} needs a package that is not installed",
            hint=f"pip install {package}" if package else secrets.redact(error),
        ) from None
    # Stores raise errors of their own, whose messages and causes can hold keys.
    except Exception as error:
        raise InputError(
            f"cannot list {shown}: {type(error).__name__}: {secrets.redact(error)}",
            hint="is the address right, and are the keys in the environment?",
        ) from None


def _described(system: Any, name: str, scheme: str) -> StoredFile:
    info = system.info(name)
    known = {
        key.lower(): str(info[key])
        for key in ("ETag", "etag", "md5Hash", "checksum", "VersionId", "generation",
                    "LastModified", "last_modified", "mtime", "updated", "created")
        if info.get(key) is not None
    }  # fmt: skip
    marks = [key for key in ("etag", "md5hash", "checksum", "generation") if key in known]
    identity = [known[key] for key in marks] or sorted(known.values())
    url = public_url(f"{scheme}://{quote(name.lstrip('/'), safe='/')}")
    return StoredFile(
        system, name, url, "\n".join([str(info.get("size")), *identity]), info.get("size")
    )


def stored_cache_path(cache: Path, stored: StoredFile) -> Path:
    """Where its copy lies. Another content of the same name has another place."""
    names = [quote(part, safe=" ()[]{}+,=@!~&;") for part in stored.name.split("/") if part]
    if any(part in (".", "..") for part in names):
        raise InputError(f"{stored.url} is no plain path", hint="rename it")
    version = xxhash.xxh3_64_hexdigest(stored.identity.encode())
    *folders, last = names
    return cache.joinpath(urlsplit(stored.url).scheme, *folders, version, last)


def copy_stored(
    client: HttpClient, stored: StoredFile, path: Path, attempts: int, secrets: Secrets
) -> Download:
    """The copy at `path`; made only if it does not exist yet; an interrupted copy resumes.

    Raises:
        InputError: the store goes on failing.
        DiskFullError: no space is left.
    """
    if (done := finished(path)) is not None:
        return done
    with locked_part(path) as (part, file), disk_errors(path):
        if (done := finished(path)) is not None:
            return done
        state_path = part.with_name(part.name + ".json")
        if not state_path.is_file() or read_json(state_path) != stored.identity:
            file.truncate(0)
            write_json(state_path, stored.identity)

        def size() -> int:
            file.flush()
            return os.fstat(file.fileno()).st_size

        def once() -> Download:
            try:
                source = stored.system.open(stored.name, "rb")
                with source:
                    source.seek(size())
                    while chunk := source.read(_CHUNK_BYTES):
                        client.check_stopped()
                        with disk_errors(path):
                            file.write(chunk)
            except (StoppedError, TongwenError):
                raise
            except Exception as error:
                message = f"{type(error).__name__}: {secrets.redact(error)}"
                raise TryAgainError(message) from None
            file.flush()
            os.fsync(file.fileno())
            if stored.bytes is not None and size() != stored.bytes:
                ended = size()
                file.truncate(0)
                raise TryAgainError(f"{ended:,} bytes came instead of {stored.bytes:,}")
            digest, _ = check_content(part, {}, is_gzip=False)
            return finish(part, Download(stored.url, path, size(), digest, ("size",)))

        try:
            return with_attempts(client, attempts, size, once)
        except TryAgainError as error:
            raise InputError(
                f"cannot read {stored.url}: {error}",
                hint="run the same command again: what is here already is kept",
            ) from None
