"""What the log-probabilities of an item's choices come to, in every normalisation."""

import math
from collections.abc import Sequence

from tongwen.evaluate.items import Item


def choice_scores(
    item: Item, sums: Sequence[float], unconditional: Sequence[float], *, is_greedy: bool
) -> dict[str, float]:
    """Scores of a multiple-choice item.

    acc takes the likeliest choice; acc_norm the likeliest per UTF-8 byte, which is fair to long
    choices in either script; acc_char per character, as lm-evaluation-harness's acc_norm does;
    acc_pmi the one whose probability the question raises most (Brown et al. 2020, arXiv:2005.14165,
    section 2.4; Holtzman et al. 2021, arXiv:2104.08315). greedy asks whether the right choice is
    what greedy decoding writes. gold_bits_per_byte and gold_probability (the right choice's share
    among the choices) move long before accuracy leaves chance. mc2 is the share of all right
    choices (Lin et al. 2021, arXiv:2109.07958).

    Args:
        item: with its right choice.
        sums: natural logarithm of each choice's probability, finite.
        unconditional: likewise after the task's unconditional prompt; empty when it has none.
        is_greedy: whether greedy decoding writes the right choice.
    """
    assert item.gold is not None
    texts = [choice.strip() for choice in item.choices]
    byte_counts = [len(text.encode("utf-8")) for text in texts]
    per_byte = [total / count for total, count in zip(sums, byte_counts, strict=True)]
    per_character = [total / len(text) for total, text in zip(sums, texts, strict=True)]
    top = max(sums)
    weights = [math.exp(total - top) for total in sums]
    whole = math.fsum(weights)
    scores = {
        "acc": _is_right(item, sums),
        "acc_norm": _is_right(item, per_byte),
        "acc_char": _is_right(item, per_character),
        "greedy": float(is_greedy),
        "gold_bits_per_byte": -per_byte[item.gold] / math.log(2),
        "gold_probability": weights[item.gold] / whole,
    }
    if unconditional:
        raised = [total - alone for total, alone in zip(sums, unconditional, strict=True)]
        scores["acc_pmi"] = _is_right(item, raised)
    if item.golds:
        scores["mc2"] = min(1.0, math.fsum(weights[index] for index in item.golds) / whole)
    return scores


def _is_right(item: Item, values: Sequence[float]) -> float:
    """Whether the right choice has the highest value; of equal ones the first counts."""
    return float(values.index(max(values)) == item.gold)
