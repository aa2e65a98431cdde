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
from tongwen.tokenizer.prompts import ChatMl, ChatPrompt, ChatTemplate
from tongwen.tokenizer.special import Message, check_messages

HELP = '''\
/regenerate              answer the last question again
/undo                    take the last question and its answer back
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
        template: writes the dialogue; ChatML when None.
        sampling: how the model's folder wants tokens chosen.
        shows_rate: say after an answer how fast it was written.
    """

    def __init__(
        self,
        engine: Engine,
        settings: ServeSettings,
        *,
        write: Write,
        say: Write,
        template: ChatTemplate | None = None,
        sampling: Sampling | None = None,
        shows_rate: bool = False,
    ) -> None:
        self._engine = engine
        self._template = template or ChatMl(engine.tokenizer)
        self._write = write
        self._say = say
        self._sampling = settings.sampling_over(sampling or Sampling())
        self._shows_rate = shows_rate
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
        if name == "/regenerate":
            self._regenerate()
            return True
        commands: dict[str, Callable[[str], None]] = {
            "/?": lambda _: self._say(HELP),
            "/help": lambda _: self._say(HELP),
            "/undo": lambda _: self._undo(),
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
        first: float | None = None
        try:
            for delta in self._engine.stream(request):
                first = first or time.monotonic()
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
        if self._shows_rate and first is not None:
            self._say(self._rate(answer, first - started, time.monotonic() - first))
        return answer

    def _rate(self, answer: str, reading_seconds: float, seconds: float) -> str:
        """How long the question was read, and how fast the answer was written."""
        tokens = len(self._engine.tokenizer.encode(answer))
        # The first token comes of reading the question.
        rate = f", {(tokens - 1) / seconds:.1f} per second" if tokens > 1 and seconds > 0 else ""
        return f"\n[{tokens} tokens{rate}; the first after {reading_seconds:.1f} s]"

    def _last_question(self) -> int:
        """The place of the last question.

        Raises:
            UsageError: there is none.
        """
        places = [n for n, turn in enumerate(self.messages) if turn["role"] == "user"]
        if not places:
            raise UsageError("there is no question yet", hint="type one")
        return places[-1]

    def _undo(self) -> None:
        place = self._last_question()
        self._say(f"taken back: {self.messages[place]['content'][:60]}")
        self.messages = self.messages[:place]

    def _regenerate(self) -> None:
        """Answer the last question again; the answer before stays when that fails.

        A seed would repeat it word for word, so it is drawn without.
        """
        before, place, sampling = self.messages, self._last_question(), self._sampling
        if sampling.temperature == 0:
            self._say("[temperature 0 repeats the answer: /set temperature 0.7]")
        self.messages, self._sampling = before[:place], replace(sampling, seed=None)
        try:
            self.ask(before[place]["content"])
        finally:
            self._sampling = sampling
            if len(self.messages) == place:  # not a word came
                self.messages = before

    def set(self, name: str, value: str) -> None:
        """What `/set NAME VALUE` does.

        Raises:
            UsageError: there is no such setting, or the value is out of its range.
        """
        self._set(f"{name} {value}")

    def _prompt_ids(self, messages: list[Message]) -> tuple[int, ...]:
        system = [{"role": "system", "content": self._system}] if self._system else []
        return tuple(self._template.encode(ChatPrompt(turns=(*system, *messages))))

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
            raise InputError(f"{path} is not a dialogue saved by /save: {error}") from error
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
