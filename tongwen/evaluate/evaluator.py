"""One task on one model: from questions to judged items. The part of the stage that needs torch."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongwen.evaluate.choices import Request, Score, choice_requests, score
from tongwen.evaluate.free import answer_prompts, free_prompt, judge
from tongwen.evaluate.items import Item
from tongwen.evaluate.settings import EvaluateSettings
from tongwen.evaluate.spec import TaskSpec
from tongwen.model.device import Arithmetic
from tongwen.model.int8_folder import is_int8_folder, load_any_model
from tongwen.model.llama import Llama
from tongwen.tokenizer.text import Tokenizer

Report = Callable[[int, int], None]
Record = dict[str, Any]


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
            InputError: the folder is no model folder or lacks its tokenizer, or there is no GPU
                where one is asked for.
        """
        arithmetic = Arithmetic.for_answers(
            settings.device, settings.precision, has_int8_weights=is_int8_folder(folder)
        )
        tokenizer = Tokenizer.load(folder)
        model, _ = load_any_model(folder, arithmetic.dtype, arithmetic.device)
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
                [request for requests, _ in asked for request in requests],
                batch_tokens=self.batch_tokens,
                report=report,
            )
        )
        for item, (requests, is_cut) in zip(items, asked, strict=True):
            item_scores = [next(scores) for _ in requests]
            yield {
                **_common(item),
                "prompt": self._shown(requests[0].token_ids[: requests[0].context_tokens]),
                "truncated": is_cut,
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
        answers = answer_prompts(
            self.model,
            self.tokenizer,
            [prompt.token_ids for prompt in prompts],
            stops=() if chat else spec.stop,
            max_new_tokens=max_new_tokens,
            batch_tokens=self.batch_tokens,
            report=report,
        )
        for item, prompt, answer in zip(items, prompts, answers, strict=True):
            scores, judged, is_found = judge(spec, item, answer.text)
            yield {
                **_common(item),
                "prompt": self._shown(prompt.token_ids),
                "truncated": prompt.is_cut,
                "answer": answer.text,
                "judged": judged,
                "accepted": list(item.accepted),
                "choices": list(item.choices),
                "extracted": is_found,
                "hit_limit": answer.hit_limit,
                "scores": scores,
            }

    def _shown(self, token_ids: Sequence[int]) -> str:
        """Exactly what the model read, markers included."""
        return self.tokenizer.decode(token_ids, show_special=True)


def _common(item: Item) -> Record:
    return {
        "id": item.id,
        "language": item.language,
        "cluster": item.cluster,
        "group": item.group,
        "gold": item.gold,
    }


def _choice_record(item: Item, requests: Sequence[Request], scores: Sequence[Score]) -> Record:
    """Scores of a multiple-choice item.

    acc takes the likeliest choice, acc_norm the likeliest per UTF-8 byte (fair to long choices
    in either script), greedy asks whether the right choice is what greedy decoding writes;
    gold_bits_per_byte and gold_probability (the right choice's share among the choices) move
    long before accuracy leaves chance.
    """
    assert item.gold is not None
    sums = [result.log_probability for result in scores]
    lengths = [len(choice.strip().encode("utf-8")) for choice in item.choices]
    per_byte = [total / length for total, length in zip(sums, lengths, strict=True)]
    top = max(sums)
    whole = math.fsum(math.exp(total - top) for total in sums)
    ordered = sorted(sums, reverse=True)
    return {
        "choices": [
            {
                "text": text,
                "log_probability": round(result.log_probability, 5),
                "tokens": len(request.token_ids) - request.context_tokens,
                "bytes": length,
            }
            for text, result, request, length in zip(
                item.choices, scores, requests, lengths, strict=True
            )
        ],
        "predicted": sums.index(top),
        "margin": round(ordered[0] - ordered[1], 5) if len(ordered) > 1 else None,
        "scores": {
            "acc": float(sums.index(top) == item.gold),
            "acc_norm": float(per_byte.index(max(per_byte)) == item.gold),
            "greedy": float(scores[item.gold].is_greedy),
            "gold_bits_per_byte": -per_byte[item.gold] / math.log(2),
            "gold_probability": math.exp(sums[item.gold] - top) / whole,
        },
    }
