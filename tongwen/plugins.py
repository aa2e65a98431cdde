"""Others' code: quality rules, scorers, readers and metrics that users add without editing Tongwen.

A function is marked by a decorator of this module and found in a Python file that the recipe
names, or in an installed package by its entry point (groups `tongwen.rules`, `tongwen.scorers`,
`tongwen.readers`, `tongwen.tasks`). The content of the code is part of the results' digests.

Naming a Python file in a recipe runs it, with all rights of whoever starts Tongwen.
"""

import difflib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, TypeVar

import xxhash

from tongwen.errors import InputError, RecipeError
from tongwen.files import file_digest, value_digest

Kind = Literal["rule", "scorer", "reader", "task", "metric", "extraction"]
_GROUPS = {
    "rule": "tongwen.rules",
    "scorer": "tongwen.scorers",
    "reader": "tongwen.readers",
    "task": "tongwen.tasks",
}
_MARK = "__tongwen__"


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document as rules and scorers see it.

    Attributes:
        text: extracted and repaired, templates of its host cut.
        lang: en, zh-Hans, zh-Hant or code.
        doc_id: 32 hexadecimal digits that name it in every output.
        host: of a web address; empty for files.
        date: ISO 8601, UTC; empty when unknown.
        source: name of its source in the recipe.
    """

    text: str
    lang: str
    doc_id: str = ""
    url: str = ""
    host: str = ""
    date: str = ""
    title: str = ""
    source: str = ""
    license: str = ""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a reader yields: a text, or a page as raw bytes.

    Attributes:
        text: plain text; nothing is extracted from it.
        body: instead of `text`, bytes as they were served, HTML for example.
        content_type: of `body`, without parameters.
        charset: of `body`, where the file says it.
        url: where it is from; the file and the record's number when empty.
        date: ISO 8601, UTC.
        problem: a word that says why nothing can be read here; the record is dropped by that name.
    """

    text: str | None = None
    body: bytes = b""
    content_type: str = "text/html"
    charset: str = ""
    url: str = ""
    date: str = ""
    license: str = ""
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class JudgedAnswer:
    """A model's free answer as a metric sees it.

    Attributes:
        text: the whole answer.
        judged: what was extracted of it; the whole answer where nothing was.
        accepted: right answers.
        choices: the item's choices, where it has any.
        language: of the item.
        question: what was asked, without examples.
    """

    text: str
    judged: str
    accepted: tuple[str, ...]
    choices: tuple[str, ...]
    language: str
    question: str


RuleFunction = Callable[[Document], float | None]
"""A value of one document; None where it cannot be measured."""
ScorerFunction = Callable[[Sequence[Document]], Sequence[float | None]]
"""A value for each document of a batch, in order."""
ReaderFunction = Callable[[Path], Iterable[Record]]
"""The records of one file, in file order."""
MetricFunction = Callable[[JudgedAnswer], float]
"""A score between 0 and 1."""
ExtractionFunction = Callable[[str], str | None]
"""What is judged of an answer; None where nothing is found."""


class ScorerClass(Protocol):
    """A scorer that prepares something once in each worker process, such as a model."""

    def __init__(self) -> None: ...

    def score(self, documents: Sequence[Document], /) -> Sequence[float | None]:
        """A value for each document, in order."""
        ...


@dataclass(frozen=True)
class Mark:
    """What a decorator notes on a function.

    Attributes:
        kind: which decorator.
        languages: documents it measures; all when empty.
        suffixes: of a reader's files, in lower case.
        batch_documents: documents a scorer gets at once.
    """

    kind: Kind
    languages: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    batch_documents: int = 1


_Rule = TypeVar("_Rule", bound=RuleFunction)
_Scorer = TypeVar("_Scorer", bound=ScorerFunction | type[ScorerClass])
_Reader = TypeVar("_Reader", bound=ReaderFunction)
_Metric = TypeVar("_Metric", bound=MetricFunction)
_Extraction = TypeVar("_Extraction", bound=ExtractionFunction)


def rule(*, languages: Sequence[str] = ()) -> Callable[[_Rule], _Rule]:
    """Mark a function of a document as a quality rule's value.

    Its thresholds are set in the recipe: `[curate.rules.NAME]` with `minimum` or `maximum`.

    Args:
        languages: of en, zh-Hans, zh-Hant and code; the function is not called for others.
    """
    return _marking(Mark("rule", tuple(languages)))


def scorer(
    *, languages: Sequence[str] = (), batch_documents: int = 64
) -> Callable[[_Scorer], _Scorer]:
    """Mark a function of a list of documents, or a class with a method `score`, as a scorer.

    A class is created once in each worker process, without arguments.

    Args:
        languages: of en, zh-Hans, zh-Hant and code; other documents are not handed over.
        batch_documents: documents in a call, at most. A batch must end within a minute.
    """
    if batch_documents < 1:
        raise RecipeError(f"batch_documents is {batch_documents}", hint="use 1 or more")
    return _marking(Mark("scorer", tuple(languages), batch_documents=batch_documents))


def reader(*, suffixes: Sequence[str]) -> Callable[[_Reader], _Reader]:
    """Mark a function from a file's path to its records as a reader of a format.

    Args:
        suffixes: endings of file names, such as ".mbox", which are taken from a folder.
    """
    return _marking(Mark("reader", suffixes=tuple(suffix.lower() for suffix in suffixes)))


def metric() -> Callable[[_Metric], _Metric]:
    """Mark a function as a metric of free answers; a task file names it as its `metric`."""
    return _marking(Mark("metric"))


def extraction() -> Callable[[_Extraction], _Extraction]:
    """Mark a function that finds the answer in what a model wrote; a task file names it as its
    `extract_function`.
    """
    return _marking(Mark("extraction"))


def _marking(mark: Mark) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        setattr(function, _MARK, mark)
        return function

    return add


@dataclass(frozen=True)
class Code:
    """One function of the user's own, and where it is.

    Attributes:
        kind: what it must be marked as.
        function: its name.
        path: the Python file; of an installed package the file of the module.
        module: name of the module of an installed package; empty for a file by itself.
    """

    kind: Kind
    function: str
    path: Path
    module: str = ""

    @property
    def name(self) -> str:
        """Function and file, for messages."""
        return f"`{self.function}` in {self.path}"

    def files(self) -> list[Path]:
        """The file, or all Python files of the installed package: what the digest is made of."""
        if not self.module:
            return [self.path]
        top = _installed_file(self.module.partition(".")[0])
        return sorted(top.parent.rglob("*.py")) if top.name == "__init__.py" else [top]

    @property
    def digest(self) -> str:
        """Of the content of the files.

        Raises:
            InputError: a file cannot be read.
        """
        try:
            if not self.module:
                return file_digest(self.path)
            files = self.files()
            return value_digest(
                [[path.relative_to(files[0].parent).as_posix() if path.is_relative_to(
                    files[0].parent) else path.name, file_digest(path)] for path in files]
            )  # fmt: skip
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}") from error

    def mark(self) -> Mark:
        """What its decorator says.

        Raises:
            InputError: as `load`.
        """
        mark: Mark = getattr(self.load(), _MARK)
        return mark

    def load(self) -> Any:
        """The function or class.

        Raises:
            InputError: the file cannot be read or run, or has no such function, or that one is not
                marked as what it is used for.
        """
        module = _installed(self.module) if self.module else _from_file(self.path)
        found = getattr(module, self.function, None)
        mark = getattr(found, _MARK, None)
        if isinstance(mark, Mark) and mark.kind == self.kind:
            return found
        marked = [
            name for name, value in vars(module).items()
            if isinstance(getattr(value, _MARK, None), Mark)
            and getattr(value, _MARK).kind == self.kind
        ]  # fmt: skip
        if found is not None:
            raise InputError(
                f"{self.name} is not marked as a {self.kind}",
                hint=f"put @{self.kind}(...) of tongwen.plugins above it",
            )
        raise InputError(
            f"{self.path} has no function `{self.function}`",
            hint=f"its {self.kind}s: {', '.join(marked)}; name one with `function = ...`"
            if marked
            else f"no function in it is marked with @{self.kind}(...) of tongwen.plugins",
        )


def find_code(kind: Kind, name: str, path: str | None, function: str, key: str) -> Code:
    """The code that a table of the recipe names.

    Args:
        kind: what it is used as.
        name: of the table: the entry point's name, and the function's where `function` is empty.
        path: Python file; None for an entry point.
        function: name of the function, where it differs.
        key: of the table, for messages.

    Raises:
        RecipeError: the file is missing or is no Python file, or there is no such entry point.
    """
    if path is None:
        module, attribute = entry_point(kind, name, key)
        return Code(kind, attribute, _installed_file(module), module)
    if not path.endswith(".py"):
        raise RecipeError(f"{key}.path is {path}", hint="name a Python file (.py)")
    if not Path(path).is_file():
        raise RecipeError(
            f"{key}.path is {path}, which is not there",
            hint="relative paths start at the recipe's folder",
        )
    return Code(kind, function or name, Path(path))


def entry_point(kind: Kind, name: str, key: str) -> tuple[str, str]:
    """Module and attribute of an entry point.

    Raises:
        RecipeError: no installed package has it, or two have.
    """
    group = _GROUPS[kind]
    found = {point.name: point for point in metadata.entry_points(group=group)}
    values = {point.value for point in metadata.entry_points(group=group, name=name)}
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        raise RecipeError(
            f"{key} has no `path`, and no installed package has an entry point `{name}` in {group}",
            hint=f"did you mean `{near[0]}`?" if near else f'add `path = "my_{kind}s.py"`',
        )
    if len(values) > 1:
        raise RecipeError(
            f"two installed packages offer {group} `{name}`: {', '.join(sorted(values))}",
            hint=f"uninstall one, or name a file with {key}.path",
        )
    return found[name].module, found[name].attr


def entry_names(kind: Kind) -> list[str]:
    """Names of the entry points of a kind, sorted; no package is imported for it."""
    return sorted({point.name for point in metadata.entry_points(group=_GROUPS[kind])})


def _installed_file(module: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        raise InputError(
            f"the module {module} of an entry point is not installed here",
            hint="install the same packages on every machine",
        )
    return Path(spec.origin)


def _installed(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise InputError(
            f"{module}, which an entry point names, cannot be imported: {told(error)}",
            hint="does `python -c 'import MODULE'` work?",
        ) from error


def _from_file(path: Path) -> ModuleType:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}",
            hint="every machine that works on the run must see it at this path",
        ) from error
    return _run_file(path, content)


@cache
def _run_file(path: Path, content: bytes) -> ModuleType:
    """The module of exactly this content.

    Python's own import would take older bytecode for it when a file changes twice in a second.
    """
    name = f"tongwen_own_{path.stem}_{xxhash.xxh3_64_hexdigest(content)}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(
            f"{path} cannot be run: {told(error, path)}",
            hint="it is loaded by its path: it can import installed packages, not its neighbours",
        ) from error
    return module


def told(error: BaseException, path: Path | None = None) -> str:
    """An exception in one line; with the line of the user's file where it passed through it."""
    place = ""
    if isinstance(error, SyntaxError):
        place = f"line {error.lineno}: "
    elif path is not None:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        place = f"line {lines[-1]}: " if lines else ""
    message = str(error).strip().splitlines()
    return f"{place}{type(error).__name__}" + (f": {message[0]}" if message else "")


def call(code: Code, about: str, function: Callable[[], Any]) -> Any:
    """The result of user code that must not fail.

    Args:
        code: whose it is.
        about: what it works on, for the message.
        function: calls it.

    Raises:
        InputError: it raised; the message names function, file, line and `about`.
    """
    try:
        return function()
    except Exception as error:
        raise _failed(code, about, error) from error


def iterate(code: Code, about: str, items: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """What user code yields, one at a time; its errors as in `call`."""
    number = 0
    try:
        for item in items():
            yield item
            number += 1
    except Exception as error:
        if isinstance(error, InputError):
            raise
        raise _failed(code, f"{about}, after {number:,} records", error) from error


def _failed(code: Code, about: str, error: Exception) -> InputError:
    return InputError(
        f"{code.name} failed on {about}: {told(error, code.path)}",
        hint="mend the function; what is finished is kept, and the same command continues",
    )
