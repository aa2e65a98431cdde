"""Many questions to one server: a few at a time, and every answer is kept."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

from tongwen.ask.journal import Journal
from tongwen.ask.server import Answer, Messages, Server
from tongwen.errors import InputError
from tongwen.files import value_digest

# None answered yet: a wrong model or setting refuses all, one odd text only itself.
_REFUSED_IN_A_ROW = 10
Work = TypeVar("Work")
Reply = TypeVar("Reply")


@dataclass(frozen=True)
class Question:
    """A request for one answer.

    Attributes:
        about: what it is about, in words: a document and a rubric.
        model: that is asked.
        messages: the conversation.
        max_tokens: of the answer.
        temperature: 0 is the likeliest answer.
    """

    about: str
    model: str
    messages: Messages
    max_tokens: int
    temperature: float = 0.0

    @property
    def body(self) -> dict[str, Any]:
        """As it is sent."""
        return {
            "model": self.model,
            "messages": [dict(message) for message in self.messages],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }

    @cached_property
    def name(self) -> str:
        """Digest of all that is sent; not of where it is sent to."""
        return value_digest(self.body)


def ask_all(
    server: Server,
    questions: Sequence[Question],
    journal: Journal,
    *,
    parallel: int,
    on_answer: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Ask the questions that the journal has no answer to; equal ones once.

    Args:
        server: to ask.
        questions: in the order they are asked in.
        journal: gets every answer as it arrives.
        parallel: questions under way at a time.
        on_answer: called with how many of how many are answered.

    Raises:
        InputError: the server is down, needs a key, or refuses ten questions and answers none.
            All answers until then are kept.
    """
    open_ = {q.name: q for q in questions if q.name not in journal.answers}
    counts = {"refused": 0, "answered": 0}

    def count(_: Question, answer: Answer) -> None:
        counts["answered" if answer.refused is None else "refused"] += 1
        if counts["refused"] >= _REFUSED_IN_A_ROW and not counts["answered"]:
            raise InputError(
                f"{server.url} refused the first {counts['refused']} questions; the last: "
                f"{answer.refused}",
                hint="check --model; a document may be too long for it: --characters",
            )
        on_answer(sum(counts.values()), len(open_))

    ask_in_parallel(server, open_.values(), lambda one: _ask(server, one, journal), parallel, count)


def ask_in_parallel(
    server: Server,
    work: Iterable[Work],
    call: Callable[[Work], Reply],
    parallel: int,
    on_reply: Callable[[Work, Reply], None],
) -> None:
    """Call `call` on each piece of work, `parallel` at a time; `on_reply`, in this thread, gets
    what it returns, in the order in which calls end. Where either fails, the server is stopped, and
    with it the calls under way.
    """
    waiting = iter(work)
    with ThreadPoolExecutor(parallel, thread_name_prefix="ask") as pool:
        running: dict[Future[Reply], Work] = {}
        try:
            running |= {pool.submit(call, one): one for one in islice(waiting, parallel)}
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    on_reply(running.pop(future), future.result())
                running |= {pool.submit(call, one): one for one in islice(waiting, len(done))}
        except BaseException:
            server.stop()
            for future in running:
                future.cancel()
            raise


def _ask(server: Server, question: Question, journal: Journal) -> Answer:
    answer = server.answer(question.body)
    journal.add(question.name, answer)
    return answer
