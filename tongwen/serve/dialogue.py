"""A dialogue in the terminal: commands, questions and streamed answers."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tongwen.errors import InputError, TongwenError, UsageError
from tongwen.files import read_json, write_json
from tongwen.model.sampler import Sampling
from tongwen.serve.engine import Engine
from tongwen.serve.generation import GenerationRequest
from tongwen.serve.settings import ServeSettings
from tongwen.tokenizer.special import Message, check_messages

HELP = '''\
/clear                   forget the dialogue
/set NAME VALUE          temperature, top_p, top_k, seed, max_tokens or system
/show                    the settings, and how much of the context window is used
/save FILE, /load FILE   the dialogue as JSON
/bye                     leave (also Ctrl-D)
"""                      begins and ends a text of several lines
Ctrl-C                   stops an answer'''

_NUMBERS: dict[str, tuple[type, float, float]] = {  # name: kind, least and most
    "temperature": (float, 0, 2),
    "top_p": (float, 0, 1),
    "top_k": (int, 1, 2**31),
    "seed": (int, 0, 2**63 - 1),
    "max_tokens": (int, 1, 2**31),
}

Write = Callable[[str], None]


class Dialogue:
    """The state of one terminal session.

    Args:
        engine: writes the answers.
        settings: how it answers until `/set` says otherwise.
        write: shows a piece of an answer.
        say: shows a line of our own.
    """

    def __init__(self, engine: Engine, settings: ServeSettings, *, write: Write, say: Write):
        self._engine = engine
        self._write = write
        self._say = say
        self._sampling = settings.sampling_over(Sampling())
        self._max_tokens = settings.max_tokens
        self._system = ""
        self.messages: list[Message] = []
        self.finish = "stop"
        """Why the last answer ended."""

    def handle(self, text: str) -> bool:
        """Carry out a command or answer a question; False when the user leaves.

        Raises:
            TongwenError: the command is not usable, or the question cannot be answered. The
                dialogue is as it was before.
        """
        if not text.startswith("/"):
            if text.strip():
                self.ask(text)
            return True
        name, _, value = text.strip().partition(" ")
        if name == "/bye":
            return False
        commands: dict[str, Callable[[str], None]] = {
            "/?": lambda _: self._say(HELP),
            "/help": lambda _: self._say(HELP),
            "/clear": lambda _: self.messages.clear(),
            "/set": self._set,
            "/show": lambda _: self._show(),
            "/save": self._save,
            "/load": self._load,
        }
        if name not in commands:
            raise UsageError(f"there is no command {name}", hint="/? lists them")
        commands[name](value.strip())
        return True

    def ask(self, question: str) -> str:
        """Stream the answer to `write`; it and the question join the dialogue.

        Ctrl-C ends the answer; what was written of it stays, a question without a word does not.
        """
        messages = [*self.messages, {"role": "user", "content": question}]
        request = GenerationRequest(
            prompt_ids=self._prompt_ids(messages),
            max_tokens=self._max_tokens,
            sampling=self._sampling,
        )
        answer, finish, started = "", "stopped", time.monotonic()
        try:
            for delta in self._engine.stream(request):
                answer += delta.text
                self._write(delta.text)
                finish = delta.finish or finish
        except KeyboardInterrupt:
            self._say(f"\n[stopped after {time.monotonic() - started:.1f} s]")
        if finish == "length":
            self._say("\n[the longest answer is reached: /set max_tokens, or /clear]")
        if answer or finish == "stop":
            self.messages = [*messages, {"role": "assistant", "content": answer}]
        self.finish = finish
        return answer

    def _prompt_ids(self, messages: list[Message]) -> tuple[int, ...]:
        system = [{"role": "system", "content": self._system}] if self._system else []
        ids, _ = self._engine.tokenizer.encode_dialogue(
            [*system, *messages], add_generation_prompt=True
        )
        return tuple(ids)

    def _set(self, text: str) -> None:
        name, _, value = text.partition(" ")
        if name == "system":
            self._system = value
            return
        if name not in _NUMBERS:
            known = ", ".join([*_NUMBERS, "system"])
            raise UsageError(f"there is no setting {name!r}", hint=f"known: {known}")
        number = _number(name, value)
        if name == "max_tokens":
            self._max_tokens = int(number)
        else:
            changes: dict[str, Any] = {name: number}
            self._sampling = replace(self._sampling, **changes)

    def _show(self) -> None:
        sampling = self._sampling
        self._say(
            f"temperature {sampling.temperature}, top_p {sampling.top_p}, top_k {sampling.top_k}, "
            f"seed {sampling.seed}, max_tokens {self._max_tokens}, system {self._system!r}"
        )
        used = len(self._prompt_ids(self.messages)) if self.messages else 0
        self._say(f"context: {used:,} of {self._engine.context_tokens:,} tokens")

    def _save(self, name: str) -> None:
        path = _path(name, "/save FILE")
        try:
            write_json(path, {"system": self._system, "messages": self.messages})
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        self._say(f"saved {len(self.messages)} messages to {path}")

    def _load(self, name: str) -> None:
        path = _path(name, "/load FILE")
        try:
            value = read_json(path)
            system, messages = str(value["system"]), list(value["messages"])
            check_messages(messages)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
            raise InputError(f"{path} is no dialogue saved by /save: {error}") from error
        self._system, self.messages = system, messages
        self._say(f"{len(messages)} messages from {path}")


def _number(name: str, value: str) -> float:
    kind, least, most = _NUMBERS[name]
    try:
        number: float = kind(value)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise UsageError(f"{name} is {value!r}", hint=f"use a number from {least:g} to {most:g}")
    return number


def _path(name: str, usage: str) -> Path:
    if not name:
        raise UsageError("the name of the file is missing", hint=usage)
    return Path(name).expanduser()


def texts_of(lines: Iterator[str]) -> Iterator[str]:
    '''The texts in typed or piped lines: one a line, or all between two lines with """.'''
    for line in lines:
        if not line.lstrip().startswith('"""'):
            yield line.rstrip("\n")
            continue
        first = line.lstrip()[3:].rstrip("\n")
        if first.rstrip().endswith('"""'):
            yield first.rstrip()[:-3]
            continue
        parts = [first] if first else []
        for following in lines:
            if following.rstrip().endswith('"""'):
                last = following.rstrip()[:-3]
                parts += [last] if last else []
                break
            parts.append(following.rstrip("\n"))
        yield "\n".join(parts)


def answer_lines(
    dialogue: Dialogue, lines: Iterator[str], *, as_json: bool, write: Write
) -> Iterator[TongwenError]:
    """Answer each text on its own, without those before it; gives the errors of failed ones.

    Args:
        dialogue: answers, and carries out commands.
        lines: of the input.
        as_json: write an object a question in place of the bare answer.
        write: takes what belongs on stdout, where the dialogue itself should write nothing.
    """
    for text in texts_of(lines):
        try:
            if text.startswith("/"):
                if not dialogue.handle(text):
                    return
                continue
            if not text.strip():
                continue
            dialogue.messages.clear()
            answer = dialogue.ask(text)
        except TongwenError as error:
            yield error
            continue
        row = {"question": text, "answer": answer, "finish_reason": dialogue.finish}
        write((json.dumps(row, ensure_ascii=False) if as_json else answer) + "\n")
