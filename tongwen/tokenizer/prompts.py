"""Dialogues as prompts: ChatML as the tokenizer writes it, or a model folder's own template.

Whatever a message, a tool or an argument of the template holds, only the template itself writes
control pieces: a marker that somebody typed is spelt out as text.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tongwen.errors import InputError
from tongwen.tokenizer.folder import chat_template, special_names
from tongwen.tokenizer.special import CHAT_TEMPLATE, Message
from tongwen.tokenizer.template import Template, typed_pieces
from tongwen.tokenizer.text import Tokenizer
from tongwen.tokenizer.turns import chatml_turn, tools_prompt


@dataclass(frozen=True, kw_only=True)
class ChatPrompt:
    """What a prompt is made of.

    Attributes:
        turns: messages in OpenAI's form, checked.
        tools: definitions of functions that the model is shown, in OpenAI's form.
        continues: the last message is the beginning of the answer.
        opens_answer: the prompt ends where an answer begins.
        arguments: further variables of a template.
    """

    turns: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    continues: bool = False
    opens_answer: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def chatml(self) -> list[Message]:
        """The turns as ChatML carries them, with the functions in the system message."""
        messages = [chatml_turn(turn)[0] for turn in self.turns]
        if not self.tools:
            return messages
        shown = tools_prompt(self.tools)
        if messages[0]["role"] == "system":
            first = {"role": "system", "content": f"{messages[0]['content']}\n\n{shown}"}
            return [first, *messages[1:]]
        return [{"role": "system", "content": shown}, *messages]


class ChatTemplate(Protocol):
    """Writes dialogues for one model."""

    def encode(self, prompt: ChatPrompt) -> list[int]:
        """The token ids of a prompt."""

    def render(self, prompt: ChatPrompt) -> str:
        """The same as text, in which a typed marker looks like a real one."""


class ChatMl:
    """The template of models that Tongwen trains."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, prompt: ChatPrompt) -> list[int]:
        """The token ids of a prompt."""
        opens = prompt.opens_answer and not prompt.continues
        ids, _ = self._tokenizer.encode_dialogue(prompt.chatml(), add_generation_prompt=opens)
        if prompt.continues:  # without the end of the last turn
            ids = ids[: -1 - len(self._tokenizer.encode("\n"))]
        return ids

    def render(self, prompt: ChatPrompt) -> str:
        """The same as text, in which a typed marker looks like a real one."""
        return self._tokenizer.decode(self.encode(prompt), show_special=True)


class JinjaTemplate:
    """A template in the language of transformers' `chat_template`, in a sandbox.

    Args:
        source: of the template.
        tokenizer: encodes what it renders.
        variables: that it may name, as `bos_token`.
    """

    def __init__(
        self, source: str, tokenizer: Tokenizer, variables: Mapping[str, str] | None = None
    ) -> None:
        self._template = Template(source, variables or {})
        self._tokenizer = tokenizer

    def encode(self, prompt: ChatPrompt) -> list[int]:
        """The token ids of a prompt.

        Raises:
            InputError: the template refuses it.
        """
        parts = self._rendered(prompt, guard := _absent(prompt)).split(guard)
        places = list(itertools.accumulate(map(len, parts[:-1])))
        text = "".join(parts)
        typed = typed_pieces(text, self._tokenizer.special_pattern, places)
        return self._tokenizer.encode_rendered(text, typed)

    def render(self, prompt: ChatPrompt) -> str:
        """The same as text, in which a typed marker looks like a real one."""
        return self._rendered(prompt, "")

    def _rendered(self, prompt: ChatPrompt, guard: str) -> str:
        """The text of the template; the guard breaks every marker in its arguments."""
        end = _absent(prompt) * 2
        guarded = self._guarding(guard)
        shown = self._template.shows_tools
        turns = [dict(turn) for turn in (prompt.turns if shown else prompt.chatml())]
        if prompt.continues:
            turns[-1]["content"] = str(turns[-1]["content"]) + end
        ours = {
            "messages": guarded([_with_objects(turn) for turn in turns]),
            "tools": guarded(list(prompt.tools)) or None if shown else None,
            "add_generation_prompt": prompt.opens_answer and not prompt.continues,
        }
        if taken := sorted(ours.keys() & prompt.arguments.keys()):
            raise InputError(f"`{taken[0]}` is no further argument of a chat template")
        text = self._template.render(guarded(dict(prompt.arguments)) | ours)
        if not prompt.continues:
            return text
        before, found, _ = text.rpartition(end)
        if not found:
            raise InputError("the model's chat template cannot continue a message of this role")
        return before

    def _guarding(self, guard: str) -> Callable[[Any], Any]:
        def guarded(value: Any) -> Any:
            if isinstance(value, str):
                parts = self._tokenizer.split_special(value)
                return "".join(
                    part[0] + guard + part[1:] if part in self._tokenizer.special_ids else part
                    for part in parts
                )
            if isinstance(value, list):
                return [guarded(item) for item in value]
            if isinstance(value, dict):
                return {guarded(key): guarded(item) for key, item in value.items()}
            return value

        return guarded


def load_template(folder: Path, tokenizer: Tokenizer) -> ChatTemplate | None:
    """The template of a model folder; None where it has none and its tokenizer no ChatML.

    Raises:
        InputError: it cannot be read.
    """
    source = chat_template(folder)
    if source is not None and source != CHAT_TEMPLATE:
        return JinjaTemplate(source, tokenizer, special_names(folder))
    return ChatMl(tokenizer) if tokenizer.has_chat else None


def _with_objects(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn whose calls have their arguments as objects, which templates expect."""
    changed = dict(turn)
    if "tool_calls" in turn:
        changed["tool_calls"] = [
            call | {"function": call["function"] | {"arguments": _object(call["function"])}}
            for call in turn["tool_calls"]
        ]
    return changed


def _object(function: Mapping[str, Any]) -> Any:
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            return json.loads(arguments)
        except ValueError:
            return arguments
    return arguments


def _absent(prompt: ChatPrompt) -> str:
    """A private character, repeated until the dialogue does not hold it."""
    everything = json.dumps(
        [prompt.turns, prompt.tools, dict(prompt.arguments)],
        ensure_ascii=False,
    )
    guard = "\ue0f7"
    while guard in everything:
        guard += "\ue0f8"
    return guard
