"""Speed of multiple choice beside lm-evaluation-harness (Hugging Face backend), in one run.

    python bench/evaluate.py EVALS [--shapes sample 25m] [--limit 60] [--record]

EVALS is a folder with the public data of each task in a folder of its own, as `tongwen evaluate`
reads it. Both programs get the same model folder, questions and choices, in float32 on one thread,
and their CPU time is taken from text to log-probabilities; loading the model is not part of
it. Weights are random, since what is computed does not depend on them; they are drawn wide enough
for the choices to differ. The tokenizer is trained on the questions unless `--tokenizer` names one.

Tokens are those that go through the model, padding included. The bound is what a tree of all
requests of the suite holds, each token once. Examples are shared within a subject, so questions are
drawn as whole subjects, up to `--limit` a task. Answers are compared question by question; where
they differ, the question is listed with the difference between its two best choices.

The peer is installed, pinned, in an environment of its own at `--environment`.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
import xxhash
from peers import interpreter, result_of
from record import append_section, machine

from tongwen.evaluate.choices import choice_requests
from tongwen.evaluate.evaluator import Evaluator
from tongwen.evaluate.items import Item, make_items, plain_prompt
from tongwen.evaluate.readers import read_rows
from tongwen.evaluate.records import Questions
from tongwen.evaluate.settings import EvaluateSettings, TaskSettings
from tongwen.evaluate.spec import TaskSpec, builtin_spec
from tongwen.evaluate.trie import Requests, Trie
from tongwen.model.config import ModelConfig
from tongwen.model.folder import save_model_folder
from tongwen.model.llama import Llama
from tongwen.tokenizer.export import write_tokenizer_folder
from tongwen.tokenizer.text import Tokenizer
from tongwen.tokenizer.train import train_model

PEERS = ("lm_eval==0.4.13", "transformers==5.23.0", "accelerate==1.15.0", "torch==2.13.0")
SUITES = {
    5: ("mmlu", "ceval", "cmmlu", "arc_easy", "piqa"),
    0: ("mmlu", "ceval", "cmmlu", "arc_easy", "piqa", "hellaswag6", "openbookqa"),
}
"""Shots -> tasks."""
FOLDERS = {"hellaswag6": "hellaswag"}
SHAPES: dict[str, dict[str, Any]] = {
    "sample": {
        "hidden_size": 192, "intermediate_size": 576, "num_hidden_layers": 4,
        "num_attention_heads": 3, "num_key_value_heads": 1,
    },
    "25m": {
        "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 12,
        "num_attention_heads": 4, "num_key_value_heads": 2, "qk_norm": True,
    },
}  # fmt: skip
"""Of the presets `sample` and `tongwen-25m`."""
PIECES = {"sample": 5_000, "25m": 64_000}
"""Of the tokenizers. The preset `sample` has 2,500, less than the data has characters."""
WINDOW_TOKENS = 4_096


@dataclass(frozen=True)
class Task:
    """A task with the questions that are asked."""

    name: str
    spec: TaskSpec
    items: list[Item]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Context and choice of each request, as the peer takes them."""
        return [
            (plain_prompt(self.spec, item, item.contexts[min(n, len(item.contexts) - 1)]), choice)
            for item in self.items
            for n, choice in enumerate(item.choices)
        ]


def load_task(name: str, evals: Path, shots: int, limit: int) -> Task:
    """Questions of whole subjects, drawn by the hash of their names, up to `limit`."""
    spec = builtin_spec(name)
    path = evals / FOLDERS.get(name, name)
    items = make_items(
        spec,
        TaskSettings(name=name, path=str(path), shots=shots),
        read_rows(spec, path),
        chat=False,
    )

    def drawn(index: int) -> tuple[int, ...]:
        group, name = items[index].group, items[index].id
        return *(xxhash.xxh3_64_intdigest(text.encode()) for text in (group, name)), index

    chosen = sorted(sorted(range(len(items)), key=drawn)[:limit])
    return Task(name, spec, [items[index] for index in chosen])


def train_tokenizer(evals: Path, shape: str, folder: Path) -> None:
    """A tokenizer of the shape's size, trained on the questions of all suites."""
    names = sorted({name for suite in SUITES.values() for name in suite})
    tasks = [load_task(name, evals, 0, 10**9) for name in names]
    texts = dict.fromkeys(context + choice for task in tasks for context, choice in task.pairs[::4])
    write_tokenizer_folder(train_model(texts, vocabulary_size=PIECES[shape]), folder)


def ours(folder: Path, tasks: Sequence[Task]) -> dict[str, Any]:
    """Processor time, tokens and log-probabilities of the whole suite."""
    evaluator = Evaluator.load(folder, EvaluateSettings(device="cpu", precision="fp32"))
    tokens = 0

    def count(model: Any, arguments: tuple[torch.Tensor, ...]) -> None:
        nonlocal tokens
        tokens += arguments[0].numel()

    evaluator.model.register_forward_pre_hook(count)
    questions = [Questions(task.spec, task.items, chat=False) for task in tasks]
    started = time.process_time()
    records = evaluator.choice_records(questions, report=lambda done, total: None)
    return {
        "seconds": time.process_time() - started,
        "tokens": tokens,
        "log_probabilities": [
            [choice["log_probability"] for row in rows for choice in row["choices"]]
            for rows in records
        ],
    }


def bound(tokenizer: Tokenizer, tasks: Sequence[Task]) -> int:
    """Tokens of the tree of all requests."""
    requests = Requests(
        request
        for task in tasks
        for item in task.items
        for request in choice_requests(
            task.spec, item, tokenizer, chat=False, window_tokens=WINDOW_TOKENS
        )[0]
    )
    return len(Trie.of(requests))


def differences(task: Task, ours: Sequence[float], theirs: Sequence[float]) -> list[str]:
    """The questions that are answered differently, with the gap between our best two choices."""
    found, start = [], 0
    for item in task.items:
        here = slice(start, start + len(item.choices))
        start = here.stop
        first, second = list(ours[here]), list(theirs[here])
        if first.index(max(first)) != second.index(max(second)):
            best, other = sorted(first, reverse=True)[:2]
            found.append(f"{task.name} {item.id} ({best - other:.5f})")
    return found


def measure(
    shape: str, shots: int, evals: Path, tokenizer: Path, python: Path, options: argparse.Namespace
) -> str:
    """One line of the table; differences are printed."""
    tasks = [load_task(name, evals, shots, options.limit) for name in SUITES[shots]]
    pieces = Tokenizer.load(tokenizer)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        config = ModelConfig(
            **SHAPES[shape], head_dim=64, max_position_embeddings=WINDOW_TOKENS,
            tie_word_embeddings=True, initializer_range=0.08,
            vocabulary_size=pieces.vocabulary_size,
        )  # fmt: skip
        model = Llama(config)
        model.initialize(seed=1)
        save_model_folder(folder, model, tokenizer, dtype=torch.float32)
        given = {
            "folder": str(folder),
            "batch_size": options.batch_size,
            "tasks": [task.pairs for task in tasks],
        }
        theirs = result_of(python, "evaluate_peers.py", given)
        mine = ours(folder, tasks)
    changed = [
        line
        for task, one, other in zip(tasks, mine["log_probabilities"], theirs, strict=True)
        for line in differences(task, one, other["log_probabilities"])
    ]
    for line in changed:
        print(f"{shape}, {shots} shots, answered differently: {line}")
    seconds = sum(found["seconds"] for found in theirs)
    tokens = sum(found["tokens"] for found in theirs)
    least = bound(pieces, tasks)
    items = sum(len(task.items) for task in tasks)
    return (
        f"| {seconds / mine['seconds']:.1f}x | {shape} | {shots} | {items:,} "
        f"| {seconds:.1f} | {mine['seconds']:.1f} | {tokens / mine['tokens']:.1f}x | {tokens:,} "
        f"| {mine['tokens']:,} | {mine['tokens'] / least:.3f} | {len(changed)} |"
    )


HEAD = """\
| faster | model | shots | questions | lm-eval, CPU s | tongwen | fewer tokens | lm-eval \
| tongwen | of the bound | answers differ |
|---|---|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("evals", type=Path)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--shots", nargs="+", type=int, default=list(SUITES), choices=list(SUITES))
    parser.add_argument("--limit", type=int, default=60, help="questions a task")
    parser.add_argument("--batch-size", type=int, default=8, help="of the peer")
    parser.add_argument("--tokenizer", type=Path, help="a folder, of which {shape} is replaced")
    parser.add_argument("--environment", type=Path, default=Path("build/bench/evaluate"))
    parser.add_argument("--record", action="store_true", help="append to docs/benchmarks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    python = interpreter(options.environment, PEERS)
    with tempfile.TemporaryDirectory() as temporary:
        rows = []
        for shape in options.shapes:
            if options.tokenizer is None:
                tokenizer = Path(temporary) / shape
                train_tokenizer(options.evals, shape, tokenizer)
            else:
                tokenizer = Path(str(options.tokenizer).format(shape=shape))
            rows += [
                measure(shape, shots, options.evals, tokenizer, python, options)
                for shots in options.shots
            ]
    text = "\n".join([HEAD, *rows])
    print(text)
    if options.record:
        append_section(
            "## Evaluation, `python bench/evaluate.py`",
            f"{date.today()}, {machine()}, one thread, float32, {PEERS[0].replace('==', ' ')}, "
            f"batches of {options.batch_size}.\n\n{text}",
        )


if __name__ == "__main__":
    main()
