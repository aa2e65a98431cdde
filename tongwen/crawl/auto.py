"""Files of any kind: each gets the reader that fits its content, archives are unpacked first, and
what nothing can read is named, not passed over.
"""

import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tongwen.crawl.settings import SourceFormat, SourceSettings
from tongwen.errors import InputError
from tongwen.files import disk_errors, remove_tree, write_bytes
from tongwen.formats.kinds import kind_of, unpack_gzip
from tongwen.formats.readers.rows import first_rows, text_field_of

_ROWS = ("jsonl", "json", "csv", "parquet")
_MOST_MEMBERS = 100_000  # the directory of a ZIP is read into memory before anything is unpacked
_MOST_UNPACKED_BYTES = 64 << 30
# Text stays far below it, deflate reaches 1,032; small files of one value get a MiB free.
_BOMB_RATIO = 200
_DEEPEST_ARCHIVE = 3  # a ZIP that holds itself would be unpacked for ever


@dataclass(frozen=True)
class TakenFile:
    """A file with the reader that fits it.

    Attributes:
        path: where its content is now; below the stage's folder when it was unpacked.
        shown: how messages and `inputs.jsonl` name it.
        format: of a reader.
        text_field: of its rows.
    """

    path: Path
    shown: str
    format: SourceFormat
    text_field: str


@dataclass(frozen=True)
class FileNotTaken:
    """A file that is left out.

    Attributes:
        path: of the file; `ARCHIVE!MEMBER` inside of an archive.
        kind: in a word, for counting.
        hint: what can be done about it.
        is_bad: it is broken (empty, damaged, unreadable), not merely of another kind.
    """

    path: str
    kind: str
    hint: str = ""
    is_bad: bool = False


def take_files(
    paths: Sequence[tuple[Path, str]], source: SourceSettings, unpacked: Path
) -> Iterator[TakenFile | FileNotTaken]:
    """What becomes of each file.

    Args:
        paths: of files, each with the name that is shown.
        source: its `text_field` counts where rows have it.
        unpacked: an empty folder for the content of archives.
    """
    for number, (path, shown) in enumerate(paths):
        yield from _take(path, shown, source, unpacked / f"{number:06d}", depth=0)


def _take(
    path: Path, shown: str, source: SourceSettings, unpacked: Path, depth: int
) -> Iterator[TakenFile | FileNotTaken]:
    try:
        kind = kind_of(path)
        if kind.format is None:
            is_bad = kind.name.startswith(("empty", "damaged"))
            yield FileNotTaken(shown, kind.name, kind.hint, is_bad)
        elif kind.format == "zip":
            yield from _unzip(path, shown, source, unpacked, depth)
        elif kind.format == "gzip":
            inner = unpacked / path.with_suffix("").name
            write_bytes(inner, unpack_gzip(path))
            yield from _take(inner, shown, source, unpacked / "inside", depth + 1)
        elif kind.format in _ROWS:
            yield _with_rows(path, shown, kind.format, source)
        else:
            yield TakenFile(path, shown, kind.format, source.text_field)  # type: ignore[arg-type]
    except InputError as error:
        yield FileNotTaken(shown, error.message, error.hint or "", is_bad=True)


def _with_rows(
    path: Path, shown: str, format: str, source: SourceSettings
) -> TakenFile | FileNotTaken:
    rows = first_rows(path, format)
    fields = {name for row in rows for name in row}
    field = source.text_field if source.text_field in fields else text_field_of(rows)
    if field is None and format != "csv":  # a table without texts is read as one text
        if fields & {"messages", "conversations", "instruction", "prompt"}:
            return FileNotTaken(shown, "dialogues", "name them as `tune.dialogues`")
        names = ", ".join(sorted(map(str, fields))[:8]) or "none"
        return FileNotTaken(
            shown, "rows without a text", f"set `text_field` of the source (fields: {names})"
        )
    return TakenFile(path, shown, format, field or source.text_field)  # type: ignore[arg-type]


def _unzip(
    path: Path, shown: str, source: SourceSettings, unpacked: Path, depth: int
) -> Iterator[TakenFile | FileNotTaken]:
    """The files of an archive, one unpacked after the other."""
    if depth >= _DEEPEST_ARCHIVE:
        yield FileNotTaken(shown, "archive in an archive", "unpack it", is_bad=True)
        return
    remove_tree(unpacked)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            size = sum(member.file_size for member in members)
            if len(members) > _MOST_MEMBERS or size > _MOST_UNPACKED_BYTES:
                yield FileNotTaken(shown, "too large archive", "unpack it", is_bad=True)
                return
            for number, member in enumerate(members):
                name = f"{shown}!{_member_name(member)}"
                if _is_left_out(member):
                    continue
                if member.flag_bits & 1:
                    yield FileNotTaken(name, "encrypted", "unpack it with its password", True)
                    continue
                if member.file_size > _BOMB_RATIO * max(1, member.compress_size) + (1 << 20):
                    yield FileNotTaken(name, "bomb", is_bad=True)
                    continue
                # Never under the name it gives: that may lead out of the folder.
                inner = unpacked / f"{number:06d}" / PurePosixPath(_member_name(member)).name
                inner.parent.mkdir(parents=True, exist_ok=True)
                with disk_errors(inner), archive.open(member) as data, inner.open("wb") as file:
                    shutil.copyfileobj(data, file)
                yield from _take(inner, name, source, inner.parent / "inside", depth + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        yield FileNotTaken(shown, f"damaged ZIP archive: {error}", is_bad=True)


def _member_name(member: zipfile.ZipInfo) -> str:
    """The name as it was meant: ZIP programs in China write GBK and say nothing of it."""
    if member.flag_bits & 0x800:
        return member.filename
    try:
        return member.filename.encode("cp437").decode("gb18030")
    except UnicodeError:
        return member.filename


def _is_left_out(member: zipfile.ZipInfo) -> bool:
    """Hidden files, and what macOS puts beside each file."""
    parts = [part for part in PurePosixPath(member.filename).parts if part not in (".", "..")]
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def not_taken_text(files: Sequence[FileNotTaken], most: int = 6) -> str:
    """Counts by kind, largest first, with what can be done: `12 image, 1 archive (unpack it)`."""
    counts = Counter(file.kind for file in files)
    hints = {file.kind: file.hint for file in files if file.hint}
    shown = [
        f"{number:,} {kind}" + (f" ({hints[kind]})" if kind in hints else "")
        for kind, number in counts.most_common(most)
    ]
    rest = sum(counts.values()) - sum(number for _, number in counts.most_common(most))
    return ", ".join([*shown, f"{rest:,} others"] if rest else shown)
