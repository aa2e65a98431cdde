"""One task on one model: from questions to judged items. The part of the stage that needs torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from tongwen.errors import InputError
from tongwen.evaluate.choices import Fit, choice_requests, score
from tongwen.evaluate.free import Prompt, answer_prompts, free_prompt
from tongwen.evaluate.items import Item, without_question
from tongwen.evaluate.journal import Journal
from tongwen.evaluate.programs import (
    ProgramSettings,
    Report,
    judged_samples,
    sample_answers,
)
from tongwen.evaluate.records import (
    ChoiceScores,
    Questions,
    Record,
    Shown,
    choice_record,
    free_record,
    program_record,
)
from tongwen.evaluate.settings import EvaluateSettings
from tongwen.evaluate.spec import TaskSpec
from tongwen.evaluate.trie import UNLIMITED, Request, Requests
from tongwen.model.device import Arithmetic
from tongwen.model.llama import Llama
from tongwen.model.quantized.folder import load_any_model
from tongwen.tokenizer.text import Tokenizer

_CPU_BATCH_TOKENS = 256
_GPU_BATCH_TOKENS = 2_048
"""What is read together is attended to together, branches and all, so more is slower."""

_CACHE_SHARE = 4
"""Keys and values may take one part in so many of the device's memory."""

_NEAR_TIE_MARGINS = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""What another batch changed at most in the difference of two choices, 56 questions of seven public
tasks on a random model: 3e-5 in float32, 0.25 in bfloat16 (median 1e-4, 95 % under 0.07)."""


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
                choice_record(
                    task,
                    item,
                    Shown.fitting(question.prompt, question.fit),
                    ChoiceScores(
                        question.choice_tokens,
                        [next(scores) for _ in question.choice_tokens]
                        if question.fit is not Fit.TOO_LONG
                        else [],
                        [next(scores) for _ in range(question.alone)],
                    ),
                    near_tie,
                )
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
        return [
            free_record(
                Questions(spec, items, chat),
                item,
                Shown.fitting(self._shown(prompt.token_ids), prompt.fit),
                next(answers) if prompt.fit is not Fit.TOO_LONG else None,
            )
            for item, prompt in zip(items, prompts, strict=True)
        ]

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
        return [
            program_record(
                Questions(spec, items, chat),
                item,
                Shown.fitting(self._shown(prompt.token_ids), prompt.fit),
                next(judged) if prompt.fit is not Fit.TOO_LONG else [],
            )
            for item, prompt in zip(items, prompts, strict=True)
        ]

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
