"""Chat templates in the language of Jinja, rendered in a sandbox as transformers renders them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from tongwen.errors import InputError


class Template:
    """A template with the special pieces that it may name.

    Args:
        source: Jinja.
        names: `bos_token` and the like -> piece.

    Raises:
        InputError: it is not valid Jinja, or the package jinja2 is missing.
    """

    def __init__(self, source: str, names: Mapping[str, str]) -> None:
        self.source = source
        self.shows_tools = "tools" in source
        self._names = dict(names)
        self._template = _compiled(source)

    def render(self, variables: Mapping[str, Any]) -> str:
        """What the template writes.

        Raises:
            InputError: it refuses the dialogue.
        """
        import jinja2

        try:
            return str(self._template.render(**{"documents": None, **self._names, **variables}))
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise InputError(
                f"the model's chat template refuses this: {error}",
                hint="does it ask for other roles, or for user and assistant in turn?",
            ) from error


def cut_at_typed(text: str, typed: Sequence[tuple[int, int]]) -> Iterator[tuple[int, str, bool]]:
    """First character, text and whether special pieces are read, part by part."""
    place = 0
    for start, end in typed:
        if start > place:
            yield place, text[place:start], True
        yield start, text[start:end], False
        place = end
    if place < len(text):
        yield place, text[place:], True


def typed_pieces(
    text: str, special: re.Pattern[str], places: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """The special pieces in a text, first character and the one after the last, that one of the
    places is inside of.
    """
    return tuple(
        match.span()
        for match in special.finditer(text)
        if any(match.start() < place < match.end() for place in places)
    )


def _compiled(source: str) -> Any:
    """A template with what transformers offers to it."""
    try:
        import jinja2
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise InputError(
            "the model's chat template needs the package jinja2",
            hint="pip install 'tongwen[train]'",
        ) from error

    class Generation(Extension):
        """`{% generation %}` marks answers for trainers; it writes what is inside."""

        tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise InputError(
            f"the model's chat template is not valid Jinja: {error}", hint="copy it again"
        ) from error


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, **options)


def _refuse(message: str) -> None:
    raise ValueError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)
