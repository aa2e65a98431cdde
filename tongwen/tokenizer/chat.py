"""Dialogues to learn from, as the chat template of another model writes them, and where in it the
answers are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tongwen.errors import InputError
from tongwen.tokenizer.special import Message
from tongwen.tokenizer.template import Template, typed_pieces

_NONCHARACTERS = [chr(number) for number in range(0xFDD0, 0xFDF0)]
"""Code points that no text may hold: our marks inside a rendered template."""

_THOUGHTS_END = re.compile(r"</think>\s*")


@dataclass(frozen=True)
class RenderedDialogue:
    """A dialogue as its template writes it.

    Attributes:
        text: of the whole dialogue.
        answers: where the learnt answers are in it, first character and the one after the last.
        typed: places of special pieces that a message's own text spells, in the same form.
    """

    text: str
    answers: tuple[tuple[int, int], ...]
    typed: tuple[tuple[int, int], ...]


class ChatTemplate:
    """A template with the special pieces that it may name.

    Args:
        source: Jinja.
        names: `bos_token` and the like -> piece.
        special_pieces: that a message must not spell.

    Raises:
        InputError: it is not valid Jinja, or the package jinja2 is missing.
    """

    def __init__(
        self, source: str, names: Mapping[str, str], special_pieces: Sequence[str]
    ) -> None:
        self.source = source
        pieces = sorted(filter(None, special_pieces), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, pieces)) or r"(?!)")
        self._answer_end = re.compile(rf"\s*(?:{self._special.pattern})")
        self._template = Template(source, names)

    def render(
        self, messages: Sequence[Message], *, add_generation_prompt: bool, learnt: Sequence[bool]
    ) -> RenderedDialogue:
        """The dialogue with the places of learnt answers, their end-of-turn piece included.

        Raises:
            InputError: the template refuses the dialogue, or an answer cannot be found in what it
                writes.
        """
        plain = self._text(messages, add_generation_prompt)
        has_typed = any(self._special.search(message["content"]) for message in messages)
        if not any(learnt) and not has_typed:
            return RenderedDialogue(plain, (), ())
        held = "".join(message["content"] for message in messages)
        free = [mark for mark in _NONCHARACTERS if mark not in held and mark not in self.source]
        if len(free) < 3:
            raise InputError("the dialogue is full of Unicode noncharacters (U+FDD0 and on)")
        found = None
        for keeps_spaces in (True, False):  # a template may trim what a message says
            found = self._found(messages, add_generation_prompt, learnt, free[:3], keeps_spaces)
            if found is not None and found.text == plain and len(found.answers) == sum(learnt):
                break
        else:
            return self._searched(plain, messages, learnt, has_typed=has_typed)
        answers = tuple((start, self._end_of_turn(plain, end)) for start, end in found.answers)
        typed = typed_pieces(plain, self._special, [place for place, _ in found.typed])
        return RenderedDialogue(plain, answers, typed)

    def _found(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool,
        learnt: Sequence[bool],
        marks: Sequence[str],
        keeps_spaces: bool,
    ) -> RenderedDialogue | None:
        """What the template writes of messages with marks, and where the marks are then."""
        marked = [
            {**message, "content": self._marked(message["content"], wanted, marks, keeps_spaces)}
            for message, wanted in zip(messages, learnt, strict=True)
        ]
        try:
            rendered = self._text(marked, add_generation_prompt)
        except InputError:  # it looks into messages
            return None
        return _without_marks(rendered, *marks)

    def _marked(self, text: str, wanted: bool, marks: Sequence[str], keeps_spaces: bool) -> str:
        first, last, split = marks
        text = self._special.sub(lambda match: match[0][:1] + split + match[0][1:], text)
        if not wanted:
            return text
        core = text if keeps_spaces else text.strip()
        before, _, after = text.partition(core) if core else (text, "", "")
        # A template may leave thoughts out of earlier turns: what is left is the answer.
        core = _THOUGHTS_END.sub(lambda match: match[0] + first, core)
        return before + first + core + last + after

    def _searched(
        self, text: str, messages: Sequence[Message], learnt: Sequence[bool], *, has_typed: bool
    ) -> RenderedDialogue:
        """Answers found by their text, for templates that look into messages."""
        if has_typed:
            raise InputError(
                "the chat template changes messages that spell special pieces, so that they could "
                "end a turn",
                hint="take the special pieces out of the messages",
            )
        answers, place = [], 0
        for number, (message, wanted) in enumerate(zip(messages, learnt, strict=True), 1):
            said = message["content"].strip()
            start = text.find(said, place)
            if start < 0 and wanted:
                raise InputError(
                    f"the chat template changes message {number}, an answer: {said[:40]!r} is not "
                    "in what it writes"
                )
            if start < 0:
                continue
            place = start + len(said)
            if wanted:
                answers.append((start, self._end_of_turn(text, place)))
        return RenderedDialogue(text, tuple(answers), ())

    def _end_of_turn(self, text: str, place: int) -> int:
        match = self._answer_end.match(text, place)
        return match.end() if match else place

    def _text(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        return self._template.render(
            {
                "messages": [dict(message) for message in messages],
                "add_generation_prompt": add_generation_prompt,
                "tools": None,
            }
        )


def _without_marks(text: str, first: str, last: str, split: str) -> RenderedDialogue | None:
    """The text and where the marks were; None when an end has no beginning."""
    parts: list[str] = []
    answers: list[tuple[int, int]] = []
    typed: list[tuple[int, int]] = []
    length, begun = 0, None
    for part in re.split(f"([{first}{last}{split}])", text):
        if part == first:
            begun = length if begun is None else begun
        elif part == last:
            if begun is None:
                return None
            answers.append((begun, length))
            begun = None
        elif part == split:
            typed.append((length, length))
        else:
            parts.append(part)
            length += len(part)
    return RenderedDialogue("".join(parts), tuple(answers), tuple(typed))
