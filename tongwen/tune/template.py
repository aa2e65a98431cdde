"""Rows to dialogues by the user's own templates, `tune.pairs`."""

import re
from typing import Any

from tongwen.errors import InputError
from tongwen.tokenizer.special import ANSWER_ROLE
from tongwen.tune.layouts import Dialogue, text_of
from tongwen.tune.settings import PairSettings

_PLACE = re.compile(r"\{([^{}\n]+)\}")
_FIELD_NAME = re.compile(r"[\w .-]+")


def pair_dialogue(pair: PairSettings, row: Any) -> Dialogue:
    """A question and an answer from the fields that the templates name.

    Raises:
        InputError: the row lacks one of these fields, or it is a list or an object.
    """
    if not isinstance(row, dict):
        raise InputError("the row is not an object with fields", hint="fields of the row: none")

    def fill(template: str) -> str:
        return _PLACE.sub(lambda match: _field(row, match), template)

    turns = (
        {"role": "user", "content": fill(pair.question)},
        {"role": ANSWER_ROLE, "content": fill(pair.answer)},
    )
    # The user has named what is wanted, so fields that no template names are not worth a word.
    return Dialogue("tune.pairs", turns, (False, True))


def _field(row: dict[str, Any], match: re.Match[str]) -> str:
    name = match[1]
    if name in row:
        return text_of(row[name], name)
    if not _FIELD_NAME.fullmatch(name):
        return match[0]  # braces of the text itself, as in JSON
    raise InputError(
        f"the row has no field {name!r}", hint=f"fields of the row: {', '.join(map(str, row))}"
    )
