"""Documents that the page attaches to a question, read by the readers that curation uses.

PDFium and the office libraries are foreign code over strangers' bytes, so a file is read in a
process of its own: one that crashes, hangs or fills the memory costs its own request and no answer.
"""

import asyncio
import base64
import binascii
import contextlib
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from tongwen.errors import InputError
from tongwen.formats.kinds import kind_of
from tongwen.formats.readers import read_records
from tongwen.formats.records import RawRecord

FORMATS = ("text", "html", "pdf", "docx", "pptx", "xlsx", "epub", "mhtml", "csv", "json", "jsonl")
"""What can be attached."""

_SECONDS = 300  # the first page on a machine compiles the kernels of extraction
_MEMORY_BYTES = 6 << 30
_AT_ONCE = 2  # each may take `_MEMORY_BYTES`, beside the model
_AS_TEXT = ("csv", "json", "jsonl")  # as they are: a question may be about any of their fields


class AttachmentError(InputError):
    """A file that cannot be attached.

    Attributes:
        problem: in a word, by which a page finds its own sentence: `encrypted`, `malformed`,
            `scanned`, `too_large`, `no_text`, `unknown_format`, `no_reader`, `too_slow`, `name`,
            `content`.
    """

    def __init__(self, problem: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problem = problem


_WORDS = {
    "encrypted": "it needs a password",
    "malformed": "it is damaged",
    "scanned": "its pages are pictures without text",
    "too_large": "it is larger than a document may be",
    "no_text": "there is no text in it",
    "bomb": "it unpacks to far more than a document may be",
}


@dataclass(frozen=True)
class Attachment:
    """A document as text; HTML without what surrounds its main text."""

    format: str
    text: str


class AttachmentReader:
    """Reads files in processes of their own, at most two at once."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, name: str, content: str) -> Attachment:
        """The text of a file.

        Args:
            name: of the file; a folder in it is left out.
            content: its bytes in base64.

        Raises:
            AttachmentError: it cannot be read.
        """
        plain = PurePosixPath(PureWindowsPath(name).name).name
        if not plain or "\x00" in plain or len(plain.encode("utf-8", "replace")) > 255:
            raise AttachmentError("name", f"{name[:80]!r} cannot be the name of a file")
        try:
            data = base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError) as error:
            raise AttachmentError("content", f"the content is not base64: {error}") from error
        async with self._turns:
            with tempfile.TemporaryDirectory(prefix="tongwen-") as folder:
                # The name decides between formats that look alike; its suffix is enough for that.
                suffix = Path(plain).suffix.encode("ascii", "ignore").decode()[:16]
                path = Path(folder) / f"document{suffix}"
                await asyncio.to_thread(path.write_bytes, data)
                return await _read_apart(path, plain)


async def _read_apart(path: Path, name: str) -> Attachment:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, str(path),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError as error:
        message = f"{name} was not read within {_SECONDS} s"
        raise AttachmentError("too_slow", message) from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode != 0:
        raise AttachmentError("malformed", f"{name} cannot be read: its reader failed")
    found = json.loads(output)
    if "problem" in found:
        raise AttachmentError(found["problem"], f"{name}: {found['message']}", found["hint"])
    return Attachment(**found)


def read_attachment(path: Path) -> Attachment:
    """The text of a file.

    Raises:
        AttachmentError: it cannot be read.
    """
    kind = kind_of(path)
    format = kind.format or ""
    if format not in FORMATS:
        name = kind.name if kind.format is None else f"{kind.format} file"
        raise AttachmentError(
            "unknown_format",
            f"this is of no kind that can be attached ({name})",
            kind.hint or f"attach one of {', '.join(FORMATS)}",
        )
    try:
        records = list(read_records(path, "text" if format in _AS_TEXT else format))
        problem = next((record.problem for record in records if record.problem), None)
        if problem is not None:
            raise AttachmentError(problem, _WORDS.get(problem, problem))
        text = "\n\n".join(filter(None, map(_text, records)))
    except (ImportError, ModuleNotFoundError) as error:
        raise AttachmentError(
            "no_reader",
            f"the package {error.name} that reads {format} is not installed",
            "pip install 'tongwen[data,office]'",
        ) from error
    if not text:
        raise AttachmentError("no_text", _WORDS["no_text"])
    return Attachment(format, text)


def _text(record: RawRecord) -> str:
    if record.is_text:
        return record.body.decode("utf-8", "replace").strip()
    from tongwen.curate.extract.record import curate_record

    document, _ = curate_record(record, addresses=None, line_reasons=frozenset())
    return str(document["text"])


def _bound_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def main() -> None:
    """Read the file named on the command line; prints its text, or the problem, as JSON."""
    _bound_memory()
    try:
        found = read_attachment(Path(sys.argv[1]))
        shown: dict[str, str | None] = {"format": found.format, "text": found.text}
    except AttachmentError as error:
        shown = {"problem": error.problem, "message": error.message, "hint": error.hint}
    except InputError as error:
        shown = {"problem": "malformed", "message": error.message, "hint": error.hint}
    sys.stdout.write(json.dumps(shown))


if __name__ == "__main__":
    main()
