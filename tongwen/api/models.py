"""A finished model: loading it, generating text, and scoring it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tongwen.errors import InputError
from tongwen.evaluate.answers import cut_at
from tongwen.evaluate.evaluator import Evaluator
from tongwen.evaluate.items import make_items
from tongwen.evaluate.programs import check_metric, check_sandbox
from tongwen.evaluate.readers import read_rows
from tongwen.evaluate.results import summaries
from tongwen.evaluate.settings import EvaluateSettings, TaskSettings
from tongwen.evaluate.spec import task_spec
from tongwen.model import generate as generation
from tongwen.serve.settings import ServeSettings
from tongwen.serve.source import ServedModel, find_source, load_served_model
from tongwen.tokenizer.special import Message


def load_model(
    folder: str | Path,
    *,
    precision: Literal["auto", "bf16", "fp32"] = "auto",
    quantized: bool = False,
) -> ServedModel:
    """The model of a Hugging Face folder or of a run directory, on the GPU where there is one.

    Args:
        folder: with `config.json`, safetensors and the tokenizer; or a run, such as `runs/sample`.
        precision: of weights and activations; `auto` is bf16 on a GPU and fp32 on a CPU.
        quantized: of a run take the quantized model.

    Returns:
        The model: `.tokenizer`, `.model` (a torch module), `.folder`, `.stop_ids`, and `.has_chat`,
        whether its tokenizer has dialogue markers.

    Raises:
        InputError: there is no such folder, or something in it is missing or damaged.
    """
    settings = ServeSettings(precision=precision)
    return load_served_model(find_source(Path(folder)), quantized=quantized, settings=settings)


def generate(
    model: ServedModel,
    prompt: str | Sequence[Message],
    *,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> str:
    """What the model writes after a text, or its answer in a dialogue.

    Args:
        model: of `load_model`.
        prompt: a text that is continued; or messages, dictionaries with `role` (system, user or
            assistant) and `content`, oldest first.
        max_new_tokens: most tokens of the answer; it also ends where the window is full.
        temperature: 0 always takes the likeliest token; 1 draws as the model says.
        seed: of the draws; the same seed results in the same answer.
        stop: the answer ends before the first of these texts.

    Raises:
        InputError: the prompt leaves no place in the window, a message is not usable, or the
            tokenizer has no dialogue markers.

    Example:
        >>> tongwen.generate(model, [{"role": "user", "content": "你好"}])  # doctest: +SKIP
        '你好！'
    """
    if isinstance(prompt, str):
        tokenizer = model.tokenizer
        ids = [*tokenizer.beginning_ids, *tokenizer.encode(prompt)] or [tokenizer.start_id]
    else:
        ids, _ = model.tokenizer.encode_dialogue(prompt, add_generation_prompt=True)
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}", hint="use 1 or more")
    (answer,) = generation.generate(
        model.model,
        [ids],
        max_new_tokens=max_new_tokens,
        stop_ids=model.stop_ids,
        temperature=temperature,
        seed=seed,
    )
    return cut_at(model.tokenizer.decode(answer), stop)


@dataclass(frozen=True, kw_only=True)
class Score:
    """The score of one task in one language.

    Attributes:
        task: its name.
        language: of the items.
        metric: acc, acc_norm, contains, exact_match, f1, ... or your own function.
        value: the mean over the items, 0 to 1.
        standard_error: of the mean, items that depend on one another taken together; None for
            fewer than two.
        interval: 95 %, low and high; None likewise.
        items: how many were asked.
        chance: score of a guess.
        scores: every other metric that was measured, by name.
    """

    task: str
    language: str
    metric: str
    value: float
    standard_error: float | None
    interval: tuple[float, float] | None
    items: int
    chance: float
    scores: Mapping[str, float]


def evaluate_model(
    model: ServedModel,
    tasks: Mapping[str, str | Path],
    *,
    limit: int | None = None,
    shots: int = 0,
    chat: bool = False,
    task_folders: Sequence[str | Path] = (),
) -> list[Score]:
    """Scores of a model on tasks: a row for each task and language.

    Args:
        model: of `load_model`.
        tasks: name of a built-in task (`tongwen evaluate --list-tasks`) or path of a task file
            (`.toml`) -> file or folder of its data.
        limit: ask only so many items of each, drawn by their ids; always the same ones.
        shots: solved examples before every question.
        chat: ask in the ChatML format, as a tuned model expects.
        task_folders: folders of task files of your own, which `tasks` then names.

    Raises:
        RecipeError: no such task, or its description is not usable.
        InputError: data is missing, damaged or of another layout.
        SandboxError: a task runs generated programs, which this machine cannot isolate.
    """
    folders = tuple(str(folder) for folder in task_folders)
    evaluator = Evaluator.of(model.model, model.tokenizer, EvaluateSettings())
    prepared = []
    for name, path in tasks.items():
        is_file = name.endswith(".toml")
        settings = TaskSettings(
            name=Path(name).stem if is_file else name,
            spec=name if is_file else None,
            path=str(path),
            limit=limit,
            shots=shots,
        )
        spec = task_spec(settings, folders)
        check_metric(spec, settings)
        items = make_items(spec, settings, read_rows(spec, Path(path)), chat=chat)
        prepared.append((settings.name, spec, items))
    if any(spec.kind == "program" for _, spec, _ in prepared):
        check_sandbox("isolated")
    scores = []
    for name, spec, items in prepared:
        records = list(
            evaluator.records(
                spec, items, chat=chat, max_new_tokens=spec.max_new_tokens, report=lambda *_: None
            )
        )
        for row in summaries(name, spec, records):
            interval = row["interval"]
            scores.append(
                Score(
                    task=row["task"],
                    language=row["language"],
                    metric=row["metric"],
                    value=row["value"],
                    standard_error=row["standard_error"],
                    interval=None if interval is None else (interval[0], interval[1]),
                    items=row["n"],
                    chance=row["chance"],
                    scores={key: item["value"] for key, item in row["scores"].items()},
                )
            )
    return scores
