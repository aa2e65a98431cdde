"""Records out of the user's own reader (`tongwen.plugins.reader`)."""

from collections.abc import Iterator
from pathlib import Path

from tongwen.errors import InputError
from tongwen.formats.readers.options import MAXIMUM_BODY_BYTES, ReadOptions
from tongwen.formats.records import RawRecord
from tongwen.plugins import Code, Record, iterate


def read_own(path: Path, options: ReadOptions, code: Code) -> Iterator[RawRecord]:
    """What the function yields for a file, numbered from 0.

    Problems: those the function names, `too_large`, `quarantined`.

    Raises:
        InputError: the function raised, yielded something else than a `Record`, or held up or
            killed its worker twice; the message names it, the file and the record.
    """
    number = 0
    records = iterate(code, str(path), lambda: code.load()(path))
    while True:
        item = f"{path.name}@{number} in {code.function}"
        if item in options.skip:
            raise InputError(
                f"{code.name} held up or killed its worker twice at record {number:,} of {path}",
                hint="a record must be read within a minute and the worker's memory; mend the "
                "function, or leave the file out",
            )
        if options.mark is not None:
            options.mark(item)
        record = next(records, None)
        if record is None:
            break
        yield _raw(path, number, record, options, code)
        number += 1


def _raw(path: Path, number: int, record: object, options: ReadOptions, code: Code) -> RawRecord:
    if not isinstance(record, Record):
        raise InputError(
            f"{code.name} yielded a {type(record).__name__} as record {number:,} of {path}",
            hint="yield tongwen.plugins.Record(text=...) or Record(body=..., content_type=...)",
        )
    is_text = record.text is not None
    # A lone surrogate has no UTF-8 form.
    body = record.body if record.text is None else record.text.encode("utf-8", "replace")
    problem = record.problem
    if options.is_quarantined(path, number):
        problem = "quarantined"
    elif problem is None and len(body) > MAXIMUM_BODY_BYTES:
        problem = "too_large"
    return options.record(
        path,
        number,
        url=record.url or f"{path.resolve().as_uri()}#{number}",
        date=record.date,
        body=b"" if problem else body,
        problem=problem,
        content_type="text/plain" if is_text else record.content_type,
        charset=record.charset,
        is_text=is_text,
        license=record.license,
    )
