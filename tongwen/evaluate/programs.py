"""Answers that are programs: drawn from the model, run against their tests, counted as pass@k."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tongwen.errors import RecipeError
from tongwen.evaluate.answers import cut_at
from tongwen.evaluate.items import Item, ProgramTest
from tongwen.evaluate.sandbox.pool import Isolation, Program, sandbox
from tongwen.evaluate.settings import TaskSettings
from tongwen.evaluate.spec import PROGRAM_METRICS, TaskSpec
from tongwen.evaluate.statistics import pass_at_k

if TYPE_CHECKING:
    from tongwen.evaluate.free import Answer
    from tongwen.evaluate.journal import Journal
    from tongwen.model.llama import Llama
    from tongwen.tokenizer.text import Tokenizer

_SAMPLES_AT_ONCE = 256
SEED = 1234
_FENCE = re.compile(r"^```[^\n`]*\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class ProgramSettings:
    """How many programs are drawn for each question, and how they run."""

    samples: int = 1
    temperature: float = 0.0
    isolation: Isolation = "isolated"


def check_sandbox(isolation: Isolation) -> None:
    """Find out before any program is drawn whether this machine can run it.

    Raises:
        SandboxError: it cannot.
    """
    with sandbox(isolation, workers=1):
        pass


def check_metric(spec: TaskSpec, task: TaskSettings) -> None:
    """Refuse pass@k of fewer than k samples, and samples of what is no program.

    Raises:
        RecipeError: the task asks for one of them.
    """
    if spec.kind == "program" and (least := _k_of(spec.metric)) > task.samples:
        raise RecipeError(
            f"the task {task.name} is scored by {spec.metric}, and samples = {task.samples}",
            hint=f"set samples = {least} or more, and a temperature",
        )
    if spec.kind != "program" and (task.samples != 1 or task.temperature != 0):
        raise RecipeError(
            f"the task {task.name} has samples = {task.samples}, temperature = {task.temperature}, "
            f"but is of kind {spec.kind!r}",
            hint="only program tasks are sampled; leave both out",
        )


def _k_of(metric: str) -> int:
    return int(metric.partition("@")[2])


def sample_answers(
    model: "Llama",
    tokenizer: "Tokenizer",
    prompts: Sequence[Sequence[int]],
    *,
    stops: Sequence[str],
    max_new_tokens: int,
    batch_tokens: int,
    cache_tokens: int,
    programs: ProgramSettings,
    report: Report,
    journal: "Journal | None",
) -> list[list["Answer"]]:
    """The answers to every prompt: the greedy one, or `samples` draws with a fixed seed.

    Only greedy answers are kept in the journal; draws of a killed run are drawn again, and alike.
    """
    from tongwen.evaluate.free import answer_prompts, rows_at_once  # torch comes with it

    if programs.temperature == 0:
        greedy = answer_prompts(
            model, tokenizer, prompts, stops=stops, max_new_tokens=max_new_tokens,
            batch_tokens=batch_tokens, cache_tokens=cache_tokens, report=report, journal=journal,
        )  # fmt: skip
        return [[answer] for answer in greedy]
    rows = rows_at_once(prompts, max_new_tokens, batch_tokens, cache_tokens)
    drawn = [
        _draw(
            model, tokenizer, prompts, SEED + number * len(prompts), stops=stops,
            max_new_tokens=max_new_tokens, rows=rows,
            temperature=programs.temperature,
            report=lambda done, total, number=number: report(  # type: ignore[misc]
                number * total + done, programs.samples * total
            ),
        )
        for number in range(programs.samples)
    ]  # fmt: skip
    return [list(samples) for samples in zip(*drawn, strict=True)]


def _draw(
    model: "Llama",
    tokenizer: "Tokenizer",
    prompts: Sequence[Sequence[int]],
    seed: int,
    *,
    stops: Sequence[str],
    max_new_tokens: int,
    rows: int,
    temperature: float,
    report: Report,
) -> list["Answer"]:
    """One draw for every prompt; draw `i` of prompt `j` depends on nothing but the seed and `j`."""
    from tongwen.evaluate.free import Answer
    from tongwen.model.generate import generate

    answers = []
    for start in range(0, len(prompts), _SAMPLES_AT_ONCE):
        some = prompts[start : start + _SAMPLES_AT_ONCE]
        broken: set[int] = set()
        written = generate(
            model,
            some,
            max_new_tokens=max_new_tokens,
            stop_ids=tokenizer.stop_ids,
            temperature=temperature,
            seed=seed + start,
            rows=rows,
            report_not_finite=broken.add,
        )
        for place, ids in enumerate(written):
            text = tokenizer.decode(ids)
            cut = cut_at(text, stops)
            hit_limit = cut == text and len(ids) >= max_new_tokens
            answers.append(Answer(cut, hit_limit, is_finite=place not in broken))
        report(start + len(some), len(prompts))
    return answers


def program_text(test: ProgramTest, answer: str, *, chat: bool) -> str:
    """The program that an answer makes.

    A plain answer continues the program's start. A chat answer is the code of its first fenced
    block, or all of it without one; it comes after the setup, whose imports it may rely on.
    """
    if not chat:
        return test.start + answer
    blocks = _FENCE.findall(answer)
    defining = [block for block in blocks if test.entry and f"def {test.entry}" in block]
    code = (defining or blocks or [answer])[0]
    return f"{test.setup}\n{code}"


def judged_samples(
    items: Sequence[Item],
    answers: Sequence[Sequence["Answer"]],
    isolation: Isolation,
    *,
    chat: bool,
) -> list[list[dict[str, Any]]]:
    """For every item its samples as JSON: the answer, the verdict and what it says."""
    pairs = [(item, a) for item, given in zip(items, answers, strict=True) for a in given]
    programs = [_program(item, answer.text, chat=chat) for item, answer in pairs]
    if not programs:
        return []
    with sandbox(isolation) as pool:
        verdicts = iter(pool.judge(programs))
    return [
        [
            {
                "answer": answer.text,
                "verdict": verdict.kind,
                "message": verdict.message,
                "hit_limit": answer.hit_limit,
                "is_finite": answer.is_finite,
            }
            for answer, verdict in zip(given, verdicts, strict=False)
        ]
        for given in answers
    ]


def _program(item: Item, answer: str, *, chat: bool) -> Program:
    test = item.program
    assert test is not None
    return Program(
        text=program_text(test, answer, chat=chat),
        setup=test.setup,
        tests=test.tests,
        entry=test.entry,
    )


def program_scores(samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """pass@k for every k of `PROGRAM_METRICS` that there are samples for."""
    passed = sum(sample["verdict"] == "passed" for sample in samples)
    return {
        metric: pass_at_k(len(samples), passed, _k_of(metric))
        for metric in PROGRAM_METRICS
        if _k_of(metric) <= len(samples)
    }
