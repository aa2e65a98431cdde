"""The server that is evaluated: what it can do, whether it is still the same, and its replies."""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tongwen.ask.questions import ask_in_parallel
from tongwen.ask.server import NotServedError, Refusal, Server, checked_text
from tongwen.errors import InputError
from tongwen.evaluate.journal import Journal
from tongwen.evaluate.programs import Report
from tongwen.evaluate.server import PROBE_FILE, SERVER_FILE
from tongwen.evaluate.server.echo import Echo, NoEchoError, UnalignedError, read_echo
from tongwen.evaluate.settings import ServerSettings
from tongwen.files import read_json, value_digest, write_json

COMPLETIONS = "/completions"
CHAT = "/chat/completions"

_PROBES = (
    "Question: 1 + 1? Answer: 2. Question: which river runs through Paris? Answer:",
    "问题：一加一等于几？答案：二。问题：中国最长的河是哪一条？答案：",
)
_PROBE_TOKENS = 8
_LEAST_CHANGE = 0.02
"""In the log-probability of a token. Servers add in another order when they are busy, so more than
four times the difference between two equal questions is what counts as another model."""
_LEAST_NEAR_TIE = 1e-3


@dataclass(frozen=True)
class Written:
    """What a server wrote after a prompt.

    Attributes:
        text: without the prompt.
        is_cut: it ended at `max_tokens`.
    """

    text: str
    is_cut: bool


@dataclass(frozen=True)
class Wanted:
    """One request; equal ones are sent once.

    Attributes:
        path: below the server's address.
        body: as it is sent.
        scored_text: whose tokens are scored; None where the server writes.
        context_bytes: what of it is context.
    """

    path: str
    body: Mapping[str, Any]
    scored_text: str | None = None
    context_bytes: int = 0

    @cached_property
    def name(self) -> str:
        return value_digest([self.path, self.body, self.context_bytes])


Reply = Echo | Written | Refusal


@dataclass(frozen=True)
class Probes:
    """What tells one model from another: answers to fixed questions, each asked twice.

    Attributes:
        name: of the model.
        texts: the likeliest continuations; empty where a second asking changed one.
        log_probabilities: of the probes' own tokens; empty where the server gives none.
        no_scores: why there are none; empty where there are.
        noise: largest difference between two askings.
        writes: path of the interface that wrote the texts.
    """

    name: str
    texts: list[str]
    log_probabilities: list[float]
    no_scores: str
    noise: float
    writes: str

    @property
    def digest(self) -> str:
        """Names the model in results, wherever it is served."""
        return value_digest([self.name, self.texts, bool(self.no_scores)])

    def changed(self, later: "Probes") -> str | None:
        """How the server answers otherwise than before; None where it is the same."""
        if later.name != self.name:
            return f"its model is {later.name}, before {self.name}"
        if later.no_scores != self.no_scores:
            return f"log-probabilities: {later.no_scores or 'given'}, before " + (
                self.no_scores or "given"
            )
        both = self.log_probabilities, later.log_probabilities
        if len(both[0]) != len(both[1]):
            return f"it has {len(both[1])} tokens where it had {len(both[0])}"
        most = max((abs(one - two) for one, two in zip(*both, strict=True)), default=0.0)
        if not most <= max(_LEAST_CHANGE, 4 * self.noise):
            return f"the log-probability of a token differs by {most:.3f}"
        if self.texts and later.texts and self.texts != later.texts:
            place = next(n for n, one in enumerate(self.texts) if one != later.texts[n])
            return f"it continues with {later.texts[place]!r}, before {self.texts[place]!r}"
        return None


class Endpoint:
    """A model behind an address.

    Args:
        folder: that holds `server.json`.
        settings: how it is asked.
        parts: folder of the stage that keeps what is known of it between calls.

    Raises:
        InputError: `server.json` is damaged; the server does not answer, or otherwise than before.
        UsageError: no http address, or no key where one is named.
    """

    def __init__(self, folder: Path, settings: ServerSettings, parts: Path) -> None:
        self.url, self.name = _read_address(folder / SERVER_FILE)
        self._settings = settings
        self._echo_tokens = 0
        self._kept = parts / PROBE_FILE
        self.server = Server(
            self.url,
            key_variable=settings.key_variable,
            key_file=None if settings.key_file is None else Path(settings.key_file),
            timeout_seconds=settings.timeout_seconds,
            attempts=settings.attempts,
            connections=settings.parallel,
        )
        self.probes = self._known()

    def close(self) -> None:
        """Close the connections."""
        self.server.close()

    def refuses(self, kind: str, *, chat: bool) -> str | None:
        """Why tasks of a kind cannot be asked; None where they can."""
        if kind == "choice" and chat:
            return "OpenAI's interface gives no log-probabilities of answers in a dialogue"
        if kind == "choice" and self.probes.no_scores:
            return f"no log-probabilities: {self.probes.no_scores}"
        if not chat and self.probes.writes != COMPLETIONS:
            return "the server has no /v1/completions for plain prompts; --chat asks in a dialogue"
        return None

    @property
    def near_tie(self) -> float:
        """Choices less apart than this may change places when they are asked again."""
        return max(_LEAST_NEAR_TIE, 2 * self.probes.noise)

    def to_json(self) -> dict[str, Any]:
        """What results say of the model."""
        return {"digest": self.probes.digest, "name": self.name, "server": self.url}

    def check_unchanged(self) -> None:
        """Ask the probes again.

        Raises:
            InputError: the answers are others than those the work began with.
        """
        self._compare(self._probe())

    def echo(self, text: str, context_bytes: int) -> Wanted:
        """A request for the log-probabilities of a text's tokens."""
        body = {
            "model": self.name, "prompt": text, "max_tokens": self._echo_tokens, "echo": True,
            "logprobs": 1, "temperature": 0,
        }  # fmt: skip
        return Wanted(COMPLETIONS, body, text, context_bytes)

    def replies(
        self, wanted: Sequence[Wanted], journal: Journal | None, report: Report
    ) -> dict[str, Reply]:
        """The reply to each request by its name: those in the journal, and the others from the
        server, a few at a time.

        Raises:
            InputError: the server does not answer, wants a key, or stopped scoring texts.
        """
        every = {one.name: one for one in wanted}
        found: dict[str, Reply] = {}
        for name, value in journal.entries if journal is not None else ():
            if name in every:
                found[name] = _reply_of(value)
        open_ = [one for name, one in every.items() if name not in found]
        report(len(found), len(every))

        def keep(one: Wanted, reply: Reply) -> None:
            found[one.name] = reply
            if journal is not None:
                journal.add([one.name, _entry_of(reply)])
            report(len(found), len(every))

        ask_in_parallel(self.server, open_, self._reply, self._settings.parallel, keep)
        return found

    def _reply(self, one: Wanted) -> Reply:
        if one.scored_text is None:
            return self.server.ask(one.path, one.body, _read_written)
        text = one.scored_text

        def read(value: Any) -> Reply:
            try:
                return read_echo(value, text, one.context_bytes)
            except UnalignedError as error:
                return Refusal(f"an answer {error}")
            except NoEchoError as error:
                raise ValueError(str(error)) from error  # it gave some before: ask again

        return self.server.ask(one.path, one.body, read)

    def _known(self) -> Probes:
        """The probes' answers; those of an earlier call where the server still gives them."""
        now = self._probe()
        try:
            kept = read_json(self._kept)
            before = Probes(**kept)
        except (OSError, ValueError, TypeError):
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._kept, vars(now))
            return now
        self._compare(now, before)
        return before

    def _compare(self, now: Probes, before: Probes | None = None) -> None:
        change = (before or self.probes).changed(now)
        if change is not None:
            raise InputError(
                f"{self.url} answers otherwise than when this evaluation began: {change}",
                hint="evaluate the other model into another --out folder",
            )

    def _probe(self) -> Probes:
        scores, no_scores = [], ""
        for _ in range(2):
            values, no_scores = self._score_probes()
            scores.append(values)
        writes, first = self._write_probes()
        _, second = self._write_probes()
        noise = max((abs(one - two) for one, two in zip(*scores, strict=True)), default=0.0)
        return Probes(
            name=self.name,
            texts=first if first == second else [],
            log_probabilities=scores[0],
            no_scores=no_scores,
            noise=noise,
            writes=writes,
        )

    def _score_probes(self) -> tuple[list[float], str]:
        """Log-probabilities of the probes' tokens, or why there are none."""
        reason = ""
        for tokens in (0, 1):  # some servers refuse to write nothing
            self._echo_tokens = tokens
            try:
                values = [value for text in _PROBES for value in self._probe_scores(text)]
            except NotServedError:
                return [], "the server has no /v1/completions"
            except NoEchoError as error:
                reason = f"the server answers {error}"
                continue
            if all(map(math.isfinite, values)):
                return values, ""
            reason = "the server's log-probabilities are not finite"
        return [], reason

    def _probe_scores(self, text: str) -> list[float]:
        one = self.echo(text, 0)
        reply = self.server.ask(one.path, one.body, lambda value: read_echo(value, text))
        if isinstance(reply, Refusal):
            raise NoEchoError(reply.reason)
        return [value for value in reply.log_probabilities if value is not None]

    def _write_probes(self) -> tuple[str, list[str]]:
        """Greedy continuations, by the interface that the server has."""
        for path in (COMPLETIONS, CHAT):
            texts = []
            try:
                for text in _PROBES:
                    wanted = self.writing(path, text, max_tokens=_PROBE_TOKENS)
                    reply = self._reply(wanted)
                    if isinstance(reply, Refusal):
                        raise NotServedError(f"{self.url} answers {reply.reason}")
                    assert isinstance(reply, Written)
                    texts.append(reply.text)
            except NotServedError as error:
                failure = error
                continue
            return path, texts
        raise failure

    def writing(
        self,
        path: str,
        prompt: str | Sequence[Mapping[str, str]],
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Wanted:
        """A request for an answer to a prompt, or to a dialogue where the path is `CHAT`."""
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        body: dict[str, Any] = {"model": self.name}
        body |= {"messages": turns} if path == CHAT else {"prompt": prompt}
        body |= {"max_tokens": max_tokens, "temperature": temperature}
        body |= {"stop": list(stop)} if stop else {}
        body |= {"seed": seed} if seed is not None else {}
        return Wanted(path, body)


def write_address(out: Path, url: str, model: str | None, settings: ServerSettings) -> Path:
    """The folder below `out` that takes the place of a model's; asks for the name of the server's
    only model where none is given.

    Raises:
        UsageError: no http address, no key, or the server has several models.
        InputError: the server does not answer.
    """
    server = Server(
        url,
        key_variable=settings.key_variable,
        key_file=None if settings.key_file is None else Path(settings.key_file),
        timeout_seconds=settings.timeout_seconds,
        attempts=settings.attempts,
    )
    with closing(server):
        name = model or server.only_model()
    folder = out / "server"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / SERVER_FILE, {"url": server.url, "model": name})
    return folder


def _read_address(path: Path) -> tuple[str, str]:
    try:
        values = read_json(path)
        url, name = values["url"], values["model"]
        if not (isinstance(url, str) and isinstance(name, str)):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} does not name a server's url and model: {type(error).__name__}",
            hint='it reads {"url": "http://127.0.0.1:8000/v1", "model": "NAME"}',
        ) from error
    return url, name


def _read_written(value: Any) -> Written:
    """What a completion or a chat completion says; an error such as KeyError where it is none."""
    choice = value["choices"][0]
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    is_cut = choice.get("finish_reason") == "length"
    return Written("" if text is None else checked_text(text), is_cut)


def _entry_of(reply: Reply) -> Any:
    """As it is kept in the journal."""
    return [type(reply).__name__, vars(reply)]


def _reply_of(entry: Any) -> Reply:
    kind, values = entry
    kinds: Mapping[str, type[Reply]] = {"Echo": Echo, "Written": Written, "Refusal": Refusal}
    return kinds[kind](**values)
