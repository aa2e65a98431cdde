"""Outputs of tasks on an object store or any other store that fsspec reads.

A store takes the place of a folder: what is written below `root` is at `url`. Workers write a task
on their own disk, upload it, the manifest last, and remove it. Paths of outputs stay those below
`root`. A file that is opened is copied for the length of a task; exchange files are read by ranges.
"""

import atexit
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tongwen.errors import InputError, TongwenError
from tongwen.files import remove_tree, tree_files
from tongwen.flow.manifest import Manifest

_stores: dict[str, "Store"] = {}
_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "hf": "huggingface_hub"}


@dataclass(frozen=True)
class Store:
    """A folder of a store.

    Attributes:
        url: with its scheme, such as `s3://bucket/folder`. Keys come from the environment.
        root: the local folder whose place it takes.
    """

    url: str
    root: Path

    def register(self) -> None:
        """Make paths below `root` resolve to the store, in this process."""
        _stores[str(self.root)] = self

    def path(self, path: Path) -> "StorePath":
        """A path below `root` that is fetched when it is opened."""
        return StorePath(path)

    def put(self, directory: Path, last: str) -> None:
        """Move a local folder into the store, the file `last` after all others.

        Raises:
            InputError: the store fails.
        """
        system, place = self._place(str(directory))
        with _store_errors(self.url):
            if system.exists(place):
                # The promise of older outputs goes first.
                if system.exists(f"{place}/{last}"):
                    system.rm_file(f"{place}/{last}")
                system.rm(place, recursive=True)
            files = sorted(tree_files(directory), key=lambda path: path.name == last)
            for path in files:
                target = f"{place}/{path.relative_to(directory).as_posix()}"
                system.makedirs(target.rpartition("/")[0], exist_ok=True)
                system.put_file(str(path), target)
        remove_tree(directory)

    def is_intact(self, manifest: Manifest, directory: Path) -> bool:
        """Whether every output is in the store with its size."""
        system, place = self._place(str(directory))
        with _store_errors(self.url):
            system.invalidate_cache()
            found = system.find(place, detail=True)
        sizes = {name.removeprefix(place).lstrip("/"): info["size"] for name, info in found.items()}
        return all(sizes.get(item.path) == item.bytes for item in manifest.outputs)

    def remove_others(self, folder: Path, expected: set[str]) -> None:
        """Remove what is in a folder and not expected there."""
        system, place = self._place(str(folder))
        with _store_errors(self.url):
            system.invalidate_cache()
            if system.exists(place):
                for name in system.ls(place, detail=False):
                    if name.rstrip("/").rpartition("/")[2] not in expected:
                        system.rm(name, recursive=True)

    def forget(self, directory: Path) -> None:
        """Remove copies of files of a folder that has been written anew."""
        remove_tree(self._copy(str(directory)))

    def fetched(self, name: str) -> str | None:
        """A local copy of a file, None where the store has none."""
        copy = self._copy(name)
        if not copy.exists():
            system, place = self._place(name)
            with _store_errors(self.url):
                system.invalidate_cache()
                if not system.isfile(place):
                    return None
                copy.parent.mkdir(parents=True, exist_ok=True)
                partial = copy.with_name(f".{copy.name}.partial")
                system.get_file(place, str(partial))
                partial.replace(copy)
        return str(copy)

    def get(self, path: Path, target: Path) -> None:
        """Fetch a file to another place."""
        system, place = self._place(str(path))
        with _store_errors(self.url):
            system.get_file(place, str(target))

    def range(self, name: str, start: int, end: int) -> bytes:
        """Some bytes of a file."""
        system, place = self._place(name)
        with _store_errors(self.url):
            data: bytes = system.cat_file(place, start=start, end=end)
        return data

    def _place(self, name: str) -> tuple[Any, str]:
        system, place = _system(self.url)
        return system, f"{place}/{os.path.relpath(name, self.root)}"

    def _copy(self, name: str) -> Path:
        folder = self.url.replace("/", "_").replace(":", "_")
        return _copies() / folder / os.path.relpath(name, self.root)


class StorePath(type(Path())):  # type: ignore[misc]
    """A path that is fetched from its store when a system function asks for its name."""

    def __fspath__(self) -> str:
        name = str(self)
        if Path(name).exists():
            return name
        store = self.store()
        return name if store is None else store.fetched(name) or name

    def store(self) -> Store | None:
        """The store that has the file, unless it is here."""
        name = str(self)
        if Path(name).exists():
            return None
        for root, store in _stores.items():
            if name.startswith(root + os.sep):
                return store
        return None


def read_range(path: Path, start: int, size: int) -> bytes:
    """Some bytes of a file, here or in a store; fewer where it ends."""
    store = path.store() if isinstance(path, StorePath) else None
    if store is not None:
        return store.range(str(path), start, start + size)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read(size)


def clear_copies() -> None:
    """Remove the copies that this process has fetched."""
    remove_tree(_copies())


def check_store(url: str) -> None:
    """Write, read and remove a small file.

    Raises:
        InputError: that is not possible.
    """
    system, place = _system(url)
    with _store_errors(url):
        system.makedirs(place, exist_ok=True)
        system.pipe_file(f"{place}/.probe", b"tongwen")
        if system.cat_file(f"{place}/.probe") != b"tongwen":
            raise InputError(f"{url} does not return what was written there")
        system.rm_file(f"{place}/.probe")


@cache
def _copies() -> Path:
    """Folder of this process for fetched files."""
    folder = Path(tempfile.mkdtemp(prefix="tongwen-store-"))
    atexit.register(remove_tree, folder)
    return folder


@cache
def _system(url: str) -> tuple[Any, str]:
    """File system and place of an address."""
    import fsspec

    with _store_errors(url):
        system, place = fsspec.core.url_to_fs(url)
    return system, place.rstrip("/")


@contextmanager
def _store_errors(url: str) -> Iterator[None]:
    """Stores raise their own errors; keys in them are not shown."""
    try:
        yield
    except TongwenError:
        raise
    except ImportError:
        package = _PACKAGES.get(urlsplit(url).scheme, "the package of this store for fsspec")
        raise InputError(
            f"{url} needs a package that is not installed", hint=f"pip install {package}"
        ) from None
    except Exception as error:
        raise InputError(
            f"the store {url} fails: {type(error).__name__}",
            hint="is `run.work` right, and are the keys in the environment? What is finished is "
            "kept; run the same command again",
        ) from None
