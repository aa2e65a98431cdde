"""The layouts that people keep preference pairs in, told apart by the fields of each row.

HH-RLHF (whole transcripts in `chosen` and `rejected`), UltraFeedback (lists of messages), a prompt
with two answers, one answer of each pair as a turn (LLaMA-Factory), and OpenAI's (`input`,
`preferred_output`, `non_preferred_output`).
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from tongwen.errors import InputError
from tongwen.tokenizer.special import ANSWER_ROLE, Message
from tongwen.tune.layouts import Dialogue, NotForTuningError, dialogue_of, text_of

_PAIRS = (
    ("chosen", "rejected"),
    ("preferred_output", "non_preferred_output"),
    ("response", "rejected_response"),
)
_PROMPTS = (
    "prompt",
    "conversations",
    "messages",
    "instruction",
    "input",
    "question",
    "query",
    "问题",
)
_SYSTEM = ("system", "system_prompt")
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant|System): ?")
_ROLES = {"Human": "user", "Assistant": ANSWER_ROLE, "System": "system"}

KNOWN_PAIRS = (
    'known layouts: {"prompt": "...", "chosen": "...", "rejected": "..."}, chosen and rejected as '
    "lists of messages, or as transcripts with Human: and Assistant:"
)


@dataclass(frozen=True)
class PreferencePair:
    """Two ways to go on with a dialogue.

    Attributes:
        layout: of the row, in a word.
        chosen: with the better answers; those after the turns that both have are learnt.
        rejected: with the worse ones, likewise.
        unused: names of the row's fields that hold something and have no part in it.
    """

    layout: str
    chosen: Dialogue
    rejected: Dialogue
    unused: tuple[str, ...] = ()


def preference_pair_of(row: Any) -> PreferencePair:
    """The pair of a row, whatever known layout it has.

    Raises:
        NotForTuningError: the row is a dialogue and no pair.
        InputError: no known layout, or a malformed one.
    """
    if not isinstance(row, dict):
        raise InputError("the row is not an object", hint=KNOWN_PAIRS)
    row = _with_answer_apart(row)
    names = {str(name).strip().casefold(): name for name in row}
    pair = next((pair for pair in _PAIRS if set(pair) <= names.keys()), None)
    if pair is None:
        raise _not_a_pair(row)
    better, worse = (row[names[name]] for name in pair)
    before, taken, layout = _prompt(row, names)
    sides = [_turns(side, name) for side, name in ((better, pair[0]), (worse, pair[1]))]
    if isinstance(better, str) and isinstance(worse, str) and all(map(_is_transcript, sides)):
        layout, before = "HH", []
    elif layout == "prompt" and not isinstance(better, str):
        layout = "messages"
    taken |= {names[pair[0]], names[pair[1]]}
    whole = [_joined(before, side) for side in sides]
    alike = len(list(takewhile(lambda turns: turns[0] == turns[1], zip(*whole, strict=False))))
    dialogues = [_dialogue(turns, alike, name) for turns, name in zip(whole, pair, strict=True)]
    unused = tuple(
        str(name)
        for name, value in row.items()
        if name not in taken and value is not None and value not in ("", [], {})
    )
    return PreferencePair(layout, dialogues[0], dialogues[1], unused)


def _with_answer_apart(row: dict[Any, Any]) -> dict[Any, Any]:
    """A row of ms-swift, whose better answer is the last of its messages, with that one apart."""
    messages = row.get("messages")
    if "rejected_response" not in row or not isinstance(messages, list) or not messages:
        return row
    return {**row, "messages": messages[:-1], "response": [messages[-1]]}


def _not_a_pair(row: Mapping[Any, Any]) -> InputError:
    fields = ", ".join(map(str, row)) or "none"
    try:
        _ = dialogue_of(dict(row))
    except NotForTuningError as error:
        return NotForTuningError(error.message, hint=KNOWN_PAIRS)
    except InputError:
        return InputError(f"no known layout of pairs (fields of the row: {fields})",
                          hint=KNOWN_PAIRS)  # fmt: skip
    return NotForTuningError(
        "a dialogue and no preference pair, which [tune.dpo] cannot use",
        hint="leave [tune.dpo] out to learn its answers, or name a file with pairs",
    )


def _prompt(
    row: Mapping[Any, Any], names: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], set[Any], str]:
    """The turns before both answers, the fields they are from, and the layout."""
    taken: set[Any] = set()
    turns: list[dict[str, Any]] = []
    layout = "pairs"
    for name in _PROMPTS:
        if name in names and row[names[name]] not in (None, "", [], {}):
            value = row[names[name]]
            if isinstance(value, dict) and isinstance(value.get("messages"), list):
                value = value["messages"]
            turns = _turns(value, name, role="user")
            taken.add(names[name])
            layout = {"input": "OpenAI pairs", "conversations": "ShareGPT pairs"}.get(
                name, "prompt"
            )
            break
    extra = names.get("input") if layout == "prompt" and "instruction" in names else None
    if extra is not None and isinstance(row[extra], str) and row[extra] and extra not in taken:
        turns[-1]["content"] += "\n" + row[extra]
        taken.add(extra)
    for name in _SYSTEM:
        if name in names and isinstance(row[names[name]], str):
            taken.add(names[name])
            if row[names[name]].strip() and not _begins_with_system(turns):
                turns.insert(0, {"role": "system", "content": row[names[name]]})
    return turns, taken, layout


def _begins_with_system(turns: Sequence[Mapping[str, Any]]) -> bool:
    return bool(turns) and turns[0].get("role", turns[0].get("from")) == "system"


def _turns(value: Any, name: str, role: str = ANSWER_ROLE) -> list[dict[str, Any]]:
    """A field as turns: a text is one of `role`, or a transcript of several."""
    if isinstance(value, str) and value.lstrip().startswith("["):  # a cell of a table
        with suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, dict):
        return [dict(value)]
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return [dict(turn) for turn in value]
    text = text_of(value, name)
    parts = _SPEAKER.split(text)
    if len(parts) >= 3 and not parts[0].strip():
        speakers = zip(parts[1::2], parts[2::2], strict=True)
        return [{"role": _ROLES[who], "content": said.strip()} for who, said in speakers]
    return [{"role": role, "content": text}]


def _is_transcript(turns: Sequence[Mapping[str, Any]]) -> bool:
    return len(turns) > 1 and turns[0]["role"] != ANSWER_ROLE


def _joined(before: list[dict[str, Any]], side: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The prompt and an answer; UltraFeedback's answers begin with the prompt already."""
    if not before or _role(side[0]) != ANSWER_ROLE:
        begins = [turn for turn in before if _role(turn) == "system"]
        return side if _begins_with_system(side) else [*begins, *side]
    if _role(before[-1]) == ANSWER_ROLE:  # TRL's implicit prompt ends in what the answer replaces
        before = before[:-1]
    return [*before, *side]


def _role(turn: Mapping[str, Any]) -> str:
    role = str(turn.get("role", turn.get("from"))).lower()
    return {"gpt": ANSWER_ROLE, "model": ANSWER_ROLE, "bot": ANSWER_ROLE, "human": "user"}.get(
        role, role
    )


def _dialogue(turns: list[dict[str, Any]], alike: int, name: str) -> Dialogue:
    """The turns with all answers from turn number `alike` on learnt."""
    try:
        found = dialogue_of({"messages": turns})
    except InputError as error:
        raise InputError(f"`{name}`: {error.message}", hint=error.hint) from None
    messages: tuple[Message, ...] = found.messages
    is_learnt = tuple(
        number >= alike and message["role"] == ANSWER_ROLE
        for number, message in enumerate(messages)
    )
    return Dialogue(found.layout, messages, is_learnt, found.unused)
