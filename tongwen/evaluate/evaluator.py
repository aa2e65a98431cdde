"""One task on one model: from questions to judged items. The part of the stage that needs torch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from tongwen.errors import InputError
from tongwen.evaluate.choice_scores import choice_scores
from tongwen.evaluate.choices import Fit, Score, choice_requests, score
from tongwen.evaluate.free import Answer, Prompt, answer_prompts, free_prompt, judge
from tongwen.evaluate.items import Item, without_question
from tongwen.evaluate.journal import Journal
from tongwen.evaluate.programs import (
    ProgramSettings,
    judged_samples,
    program_scores,
    sample_answers,
)
from tongwen.evaluate.settings import EvaluateSettings
from tongwen.evaluate.spec import TaskSpec
from tongwen.evaluate.trie import UNLIMITED, Request, Requests
from tongwen.model.device import Arithmetic
from tongwen.model.llama import Llama
from tongwen.model.quantized.folder import load_any_model
from tongwen.tokenizer.text import Tokenizer

Report = Callable[[int, int], None]
Record = dict[str, Any]

NOT_FINITE = "not_finite"
"""Why an item was not scored: a logit that decides it is NaN or infinite."""
TOO_LONG = "too_long"
"""Likewise: it does not fit the model's window."""


_CPU_BATCH_TOKENS = 256
_GPU_BATCH_TOKENS = 2_048
"""What is read together is attended to together, branches and all, so more is slower."""

_CACHE_SHARE = 4
"""Keys and values may take one part in so many of the device's memory."""

_NEAR_TIE_MARGINS = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""What another batch changed at most in the difference of two choices, 56 questions of seven public
tasks on a random model: 3e-5 in float32, 0.25 in bfloat16 (median 1e-4, 95 % under 0.07)."""


@dataclass(frozen=True)
class Questions:
    """The items of a task, and whether they are put in the ChatML format."""

    spec: TaskSpec
    items: Sequence[Item]
    chat: bool


@dataclass(frozen=True)
class _AskedChoices:
    """A question with choices as the model saw it: the prompt of its first choice, how it fits the
    window, how many tokens of each choice are scored, and how many choices are scored without the
    question too.
    """

    prompt: str
    fit: Fit
    choice_tokens: list[int]
    alone: int


@dataclass(frozen=True)
class Evaluator:
    """A model ready to be asked.

    Attributes:
        batch_tokens: read at once.
        cache_tokens: whose keys and values are held at once.
    """

    model: Llama
    tokenizer: Tokenizer
    batch_tokens: int
    cache_tokens: int = UNLIMITED

    @classmethod
    def load(cls, folder: Path, settings: EvaluateSettings) -> "Evaluator":
        """The model of a Hugging Face folder, in the precision and on the device of the settings.

        Raises:
            InputError: the folder is no model folder or lacks its tokenizer, there is no GPU where
                one is asked for, or the model computes NaN or infinity at every place of a text.
        """
        arithmetic = Arithmetic.for_answers(settings.device, settings.precision)
        tokenizer = Tokenizer.load(folder)
        model, _ = load_any_model(folder, arithmetic.dtype, arithmetic.device)
        _refuse_broken(model, tokenizer, folder)
        return cls.of(model, tokenizer, settings)

    @classmethod
    def of(cls, model: Llama, tokenizer: Tokenizer, settings: EvaluateSettings) -> "Evaluator":
        """A loaded model; what is read and held at once is what the settings say, else what suits
        its device.
        """
        config, on_gpu = model.config, model.device.type == "cuda"
        if settings.cache_gib is not None:
            cache_bytes = int(settings.cache_gib * (1 << 30))
        elif on_gpu:
            device = torch.cuda.get_device_properties(model.device)
            cache_bytes = device.total_memory // _CACHE_SHARE
        else:
            cache_bytes = psutil.virtual_memory().total // _CACHE_SHARE
        channels = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
        return cls(
            model,
            tokenizer,
            settings.batch_tokens or (_GPU_BATCH_TOKENS if on_gpu else _CPU_BATCH_TOKENS),
            cache_bytes // (channels * model.dtype.itemsize),
        )

    def records(
        self,
        spec: TaskSpec,
        items: Sequence[Item],
        *,
        chat: bool,
        max_new_tokens: int,
        report: Report,
        journal: Journal | None = None,
        programs: ProgramSettings | None = None,
    ) -> Sequence[Record]:
        """A JSON record for every item, in order: prompt, answer and scores.

        For the other arguments see `choice_records` and `answer_prompts`.
        """
        if spec.kind == "program":
            return self._program_records(
                spec, items, chat=chat, max_new_tokens=max_new_tokens,
                programs=programs or ProgramSettings(),
                report=report, journal=journal,
            )  # fmt: skip
        if spec.kind == "choice":
            tasks = [Questions(spec, items, chat)]
            return self.choice_records(tasks, report=report, journal=journal)[0]
        return self._free_records(
            spec, items, chat=chat, max_new_tokens=max_new_tokens, report=report, journal=journal
        )

    def choice_records(
        self, tasks: Sequence[Questions], *, report: Report, journal: Journal | None = None
    ) -> list[list[Record]]:
        """The records of several tasks of the kind `choice`; their tokens are read as one tree.

        Args:
            tasks: whose records are wanted.
            report: called with the tokens that are read and all tokens.
            journal: keeps what was read, see `read_trie`.

        Raises:
            RecipeError: the keys and values of the longest prompt do not fit the memory for them.
        """
        requests = Requests()
        asked = [[self._ask(task, item, requests) for item in task.items] for task in tasks]
        scores = iter(
            score(
                self.model,
                requests,
                batch_tokens=self.batch_tokens,
                cache_tokens=self.cache_tokens,
                report=report,
                journal=journal,
            )
        )
        near_tie = _NEAR_TIE_MARGINS[self.model.dtype]
        return [
            [
                {
                    **_common(item),
                    "prompt": question.prompt,
                    "truncated": question.fit is Fit.CUT,
                    **_choice_record(
                        item,
                        question.choice_tokens,
                        [next(scores) for _ in question.choice_tokens]
                        if question.fit is not Fit.TOO_LONG
                        else [],
                        [next(scores) for _ in range(question.alone)],
                        near_tie,
                    ),
                }
                for item, question in zip(task.items, questions, strict=True)
            ]
            for task, questions in zip(tasks, asked, strict=True)
        ]

    def _ask(self, task: Questions, item: Item, requests: Requests) -> _AskedChoices:
        """Add an item's requests, if it can be asked."""
        found, fit = choice_requests(
            task.spec,
            item,
            self.tokenizer,
            chat=task.chat,
            window_tokens=self.model.config.max_position_embeddings,
        )
        alone = self._unconditional(task, item) if fit is not Fit.TOO_LONG else []
        if fit is not Fit.TOO_LONG:
            for request in (*found, *alone):
                requests.add(request)
        return _AskedChoices(
            self._shown(found[0].token_ids[: found[0].context_tokens]),
            fit,
            [len(request.token_ids) - request.context_tokens for request in found],
            len(alone),
        )

    def _unconditional(self, task: Questions, item: Item) -> list[Request]:
        """The item's choices without its question, where the task compares with them."""
        if not task.spec.unconditional:
            return []
        requests, _ = choice_requests(
            task.spec,
            without_question(task.spec, item),
            self.tokenizer,
            chat=task.chat,
            window_tokens=self.model.config.max_position_embeddings,
        )
        return requests

    def _prompts(
        self, spec: TaskSpec, items: Sequence[Item], *, chat: bool, max_new_tokens: int
    ) -> list[Prompt]:
        """The prompts of items that the model answers in its own words."""
        window = self.model.config.max_position_embeddings
        return [
            free_prompt(
                spec, item, self.tokenizer, chat=chat, window_tokens=window,
                max_new_tokens=max_new_tokens,
            )
            for item in items
        ]  # fmt: skip

    def _free_records(
        self,
        spec: TaskSpec,
        items: Sequence[Item],
        *,
        chat: bool,
        max_new_tokens: int,
        report: Report,
        journal: Journal | None,
    ) -> list[Record]:
        prompts = self._prompts(spec, items, chat=chat, max_new_tokens=max_new_tokens)
        answers = iter(
            answer_prompts(
                self.model,
                self.tokenizer,
                [prompt.token_ids for prompt in prompts if prompt.fit is not Fit.TOO_LONG],
                stops=() if chat else spec.stop,
                max_new_tokens=max_new_tokens,
                batch_tokens=self.batch_tokens,
                cache_tokens=self.cache_tokens,
                report=report,
                journal=journal,
            )
        )
        records = []
        for item, prompt in zip(items, prompts, strict=True):
            is_asked = prompt.fit is not Fit.TOO_LONG
            answer = next(answers) if is_asked else Answer("", hit_limit=False)
            is_scored = is_asked and answer.is_finite
            scores, judged, is_found = judge(spec, item, answer.text)
            records.append(
                {
                    **_common(item),
                    "prompt": self._shown(prompt.token_ids),
                    "truncated": prompt.fit is Fit.CUT,
                    "answer": answer.text,
                    "judged": judged,
                    "accepted": list(item.accepted),
                    "choices": list(item.choices),
                    "extracted": is_found,
                    "hit_limit": answer.hit_limit,
                    "not_scored": None if is_scored else NOT_FINITE if is_asked else TOO_LONG,
                    "scores": scores if is_scored else {},
                }
            )
        return records

    def _program_records(
        self,
        spec: TaskSpec,
        items: Sequence[Item],
        *,
        chat: bool,
        max_new_tokens: int,
        programs: ProgramSettings,
        report: Report,
        journal: Journal | None,
    ) -> list[Record]:
        prompts = self._prompts(spec, items, chat=chat, max_new_tokens=max_new_tokens)
        answers = sample_answers(
            self.model,
            self.tokenizer,
            [prompt.token_ids for prompt in prompts if prompt.fit is not Fit.TOO_LONG],
            stops=() if chat else spec.stop,
            max_new_tokens=max_new_tokens,
            batch_tokens=self.batch_tokens,
            cache_tokens=self.cache_tokens,
            programs=programs,
            report=report,
            journal=journal,
        )
        asked = [
            item
            for item, prompt in zip(items, prompts, strict=True)
            if prompt.fit is not Fit.TOO_LONG
        ]
        judged = iter(judged_samples(asked, answers, programs.isolation, chat=chat))
        records = []
        for item, prompt in zip(items, prompts, strict=True):
            samples = next(judged) if prompt.fit is not Fit.TOO_LONG else []
            is_scored = bool(samples) and all(sample["is_finite"] for sample in samples)
            records.append(
                {
                    **_common(item),
                    "prompt": self._shown(prompt.token_ids),
                    "truncated": prompt.fit is Fit.CUT,
                    "answer": samples[0]["answer"] if samples else "",
                    "accepted": [],
                    "choices": [],
                    "samples": samples,
                    "hit_limit": bool(samples) and all(sample["hit_limit"] for sample in samples),
                    "not_scored": None if is_scored else NOT_FINITE if samples else TOO_LONG,
                    "scores": program_scores(samples) if is_scored else {},
                }
            )
        return records

    def _shown(self, token_ids: Sequence[int]) -> str:
        """Exactly what the model read, markers included."""
        return self.tokenizer.decode(token_ids, show_special=True)


@torch.inference_mode()
def _refuse_broken(model: Llama, tokenizer: Tokenizer, folder: Path) -> None:
    """Find damaged weights before the first task is asked, at the cost of one short text."""
    window = model.config.max_position_embeddings
    ids = [
        tokenizer.start_id,
        *tokenizer.encode("Question: 1 + 1? Answer: 2. 问题：一加一？答案：二。"),
    ][:window]
    ids_BT = torch.tensor([ids], device=model.device)
    logits_BTV = model.logits(model(ids_BT))
    if not logits_BTV.isfinite().all(-1).any():
        raise InputError(
            f"the model {folder} computes NaN or infinity at each of {len(ids)} places of a text",
            hint="its weights are damaged, or overflow in this precision: try "
            "--set evaluate.precision=fp32, or an earlier checkpoint",
        )


def _common(item: Item) -> Record:
    return {
        "id": item.id,
        "place": item.place,
        "language": item.language,
        "cluster": item.cluster,
        "group": item.group,
        "gold": item.gold,
    }


def _choice_record(
    item: Item,
    choice_tokens: Sequence[int],
    scores: Sequence[Score],
    alone: Sequence[Score],
    near_tie: float,
) -> Record:
    """Scores of a multiple-choice item; none where it was not asked or a logit is not finite."""
    assert item.gold is not None
    lengths = [len(choice.strip().encode("utf-8")) for choice in item.choices]
    sums = [result.log_probability for result in scores]
    unconditional = [result.log_probability for result in alone]
    is_finite = all(map(math.isfinite, (*sums, *unconditional)))
    choices = [
        {
            "text": text,
            "log_probability": round(sums[index], 5) if scores and is_finite else None,
            "tokens": tokens,
            "bytes": length,
        }
        for index, (text, tokens, length) in enumerate(
            zip(item.choices, choice_tokens, lengths, strict=True)
        )
    ]
    if not scores or not is_finite:
        reason = NOT_FINITE if scores else TOO_LONG
        return {
            "choices": choices,
            "predicted": None,
            "margin": None,
            "near_tie": False,
            "not_scored": reason,
            "scores": {},
        }
    ordered = sorted(sums, reverse=True)
    per_byte = [total / count for total, count in zip(sums, lengths, strict=True)]
    return {
        "choices": choices,
        "predicted": sums.index(max(sums)),
        "margin": round(ordered[0] - ordered[1], 5) if len(ordered) > 1 else None,
        "near_tie": _is_near_tie(sums, near_tie) or _is_near_tie(per_byte, near_tie / min(lengths)),
        "not_scored": None,
        "scores": choice_scores(item, sums, unconditional, is_greedy=scores[item.gold].is_greedy),
    }


def _is_near_tie(values: Sequence[float], margin: float) -> bool:
    """Whether the two highest values are less than `margin` apart."""
    best, *others = sorted(values, reverse=True)
    return bool(others) and best - others[0] < margin
