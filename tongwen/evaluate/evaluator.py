"""One task on one model: from questions to judged items. The part of the stage that needs torch."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tongwen.errors import InputError
from tongwen.evaluate.choices import Fit, Request, Score, choice_requests, score
from tongwen.evaluate.free import Answer, answer_prompts, free_prompt, judge
from tongwen.evaluate.items import Item
from tongwen.evaluate.settings import EvaluateSettings
from tongwen.evaluate.spec import TaskSpec
from tongwen.model.device import Arithmetic
from tongwen.model.llama import Llama
from tongwen.model.quantized.folder import load_any_model
from tongwen.tokenizer.special import EOS_ID
from tongwen.tokenizer.text import Tokenizer

Report = Callable[[int, int], None]
Record = dict[str, Any]

NOT_FINITE = "not_finite"
"""Why an item was not scored: a logit that decides it is NaN or infinite."""
TOO_LONG = "too_long"
"""Likewise: it does not fit the model's window."""


@dataclass(frozen=True)
class Evaluator:
    """A model ready to be asked."""

    model: Llama
    tokenizer: Tokenizer
    batch_tokens: int

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
        return cls(model, tokenizer, settings.batch_tokens)

    def records(
        self,
        spec: TaskSpec,
        items: Sequence[Item],
        *,
        chat: bool,
        max_new_tokens: int,
        report: Report,
    ) -> Iterator[Record]:
        """A JSON record for every item, in order: prompt, answer and scores."""
        if spec.kind == "choice":
            return self._choice_records(spec, items, chat=chat, report=report)
        return self._free_records(
            spec, items, chat=chat, max_new_tokens=max_new_tokens, report=report
        )

    def _choice_records(
        self, spec: TaskSpec, items: Sequence[Item], *, chat: bool, report: Report
    ) -> Iterator[Record]:
        window = self.model.config.max_position_embeddings
        asked = [
            choice_requests(spec, item, self.tokenizer, chat=chat, window_tokens=window)
            for item in items
        ]
        scores = iter(
            score(
                self.model,
                [
                    request
                    for requests, fit in asked
                    if fit is not Fit.TOO_LONG
                    for request in requests
                ],
                batch_tokens=self.batch_tokens,
                report=report,
            )
        )
        for item, (requests, fit) in zip(items, asked, strict=True):
            is_asked = fit is not Fit.TOO_LONG
            item_scores = [next(scores) for _ in requests] if is_asked else []
            yield {
                **_common(item),
                "prompt": self._shown(requests[0].token_ids[: requests[0].context_tokens]),
                "truncated": fit is Fit.CUT,
                **_choice_record(item, requests, item_scores),
            }

    def _free_records(
        self,
        spec: TaskSpec,
        items: Sequence[Item],
        *,
        chat: bool,
        max_new_tokens: int,
        report: Report,
    ) -> Iterator[Record]:
        prompts = [
            free_prompt(
                spec,
                item,
                self.tokenizer,
                chat=chat,
                window_tokens=self.model.config.max_position_embeddings,
                max_new_tokens=max_new_tokens,
            )
            for item in items
        ]
        answers = iter(
            answer_prompts(
                self.model,
                self.tokenizer,
                [prompt.token_ids for prompt in prompts if prompt.fit is not Fit.TOO_LONG],
                stops=() if chat else spec.stop,
                max_new_tokens=max_new_tokens,
                batch_tokens=self.batch_tokens,
                report=report,
            )
        )
        for item, prompt in zip(items, prompts, strict=True):
            is_asked = prompt.fit is not Fit.TOO_LONG
            answer = next(answers) if is_asked else Answer("", hit_limit=False)
            is_scored = is_asked and answer.is_finite
            scores, judged, is_found = judge(spec, item, answer.text)
            yield {
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

    def _shown(self, token_ids: Sequence[int]) -> str:
        """Exactly what the model read, markers included."""
        return self.tokenizer.decode(token_ids, show_special=True)


@torch.inference_mode()
def _refuse_broken(model: Llama, tokenizer: Tokenizer, folder: Path) -> None:
    """Find damaged weights before the first task is asked, at the cost of one short text."""
    window = model.config.max_position_embeddings
    ids = [EOS_ID, *tokenizer.encode("Question: 1 + 1? Answer: 2. 问题：一加一？答案：二。")][
        :window
    ]
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
        "language": item.language,
        "cluster": item.cluster,
        "group": item.group,
        "gold": item.gold,
    }


def _choice_record(item: Item, requests: Sequence[Request], scores: Sequence[Score]) -> Record:
    """Scores of a multiple-choice item; none where it was not asked or a logit is not finite.

    acc takes the likeliest choice, acc_norm the likeliest per UTF-8 byte (fair to long choices
    in either script), greedy asks whether the right choice is what greedy decoding writes;
    gold_bits_per_byte and gold_probability (the right choice's share among the choices) move
    long before accuracy leaves chance.
    """
    assert item.gold is not None
    lengths = [len(choice.strip().encode("utf-8")) for choice in item.choices]
    sums = [result.log_probability for result in scores]
    is_finite = all(map(math.isfinite, sums))
    choices = [
        {
            "text": text,
            "log_probability": round(sums[index], 5) if scores and is_finite else None,
            "tokens": len(request.token_ids) - request.context_tokens,
            "bytes": length,
        }
        for index, (text, request, length) in enumerate(
            zip(item.choices, requests, lengths, strict=True)
        )
    ]
    if not scores or not is_finite:
        reason = NOT_FINITE if scores else TOO_LONG
        return {
            "choices": choices,
            "predicted": None,
            "margin": None,
            "not_scored": reason,
            "scores": {},
        }
    per_byte = [total / length for total, length in zip(sums, lengths, strict=True)]
    top = max(sums)
    whole = math.fsum(math.exp(total - top) for total in sums)
    ordered = sorted(sums, reverse=True)
    return {
        "choices": choices,
        "predicted": sums.index(top),
        "margin": round(ordered[0] - ordered[1], 5) if len(ordered) > 1 else None,
        "not_scored": None,
        "scores": {
            "acc": float(sums.index(top) == item.gold),
            "acc_norm": float(per_byte.index(max(per_byte)) == item.gold),
            "greedy": float(scores[item.gold].is_greedy),
            "gold_bits_per_byte": -per_byte[item.gold] / math.log(2),
            "gold_probability": math.exp(sums[item.gold] - top) / whole,
        },
    }
