"""What quantization costs: loss and greedy choices on validation text, before and after.

Shape suffixes in this file: T tokens, M hidden_size, V vocabulary_size.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from tongwen.formats.shards import Shard
from tongwen.model.llama import Llama
from tongwen.tokenizer.special import EOS_ID

_WINDOW_TOKENS = 2_048  # as GPTQ measures; logits of 64,000 pieces in float32 then take 500 MiB


@dataclass(frozen=True)
class Score:
    """A model's loss on some documents.

    Attributes:
        tokens: scored tokens.
        utf8_bytes: length of the documents' text.
        nats: summed negative log-likelihood.
        choices: the likeliest next token at every scored place.
    """

    tokens: int
    utf8_bytes: int
    nats: float
    choices: torch.Tensor

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.utf8_bytes

    @property
    def perplexity(self) -> float:
        """Per token; comparable only between models with the same tokenizer."""
        return math.exp(self.nats / self.tokens)


def documents_of(shards: Sequence[Shard], max_tokens: int) -> Iterator[tuple[list[int], int]]:
    """Whole documents and their UTF-8 bytes, in order, until `max_tokens` are reached.

    The last one may pass the limit, so that even one long document is scored.
    """
    tokens = 0
    for shard in shards:
        for number in range(shard.documents):
            if tokens >= max_tokens:
                return
            ids = shard.document(number).tolist()
            tokens += len(ids)
            yield ids, int(shard.utf8_bytes[number])


@torch.inference_mode()
def score(
    model: Llama, documents: Sequence[tuple[list[int], int]], start_id: int = EOS_ID
) -> Score:
    """The loss of every token of every document, each document after `start_id`.

    A document longer than the window is cut; a piece starts with the last token before it.
    """
    window = min(_WINDOW_TOKENS, model.config.max_position_embeddings)
    device = model.device
    nats = 0.0
    choices = []
    for ids, _ in documents:
        row = [start_id, *ids]
        for start in range(0, len(row) - 1, window):
            piece_T = torch.tensor(row[start : start + window + 1], device=device)
            logits_TV = model.logits(model(piece_T[None, :-1])[0])
            nats += float(F.cross_entropy(logits_TV, piece_T[1:], reduction="sum"))
            choices.append(logits_TV.argmax(-1).cpu())
    utf8_bytes = sum(size for _, size in documents)
    tokens = sum(len(ids) for ids, _ in documents)
    return Score(tokens, utf8_bytes, nats, torch.cat(choices))


def compare(before: Score, after: Score) -> dict[str, float]:
    """The numbers of `quality.json` for one language."""
    same = (before.choices == after.choices).float().mean()
    return {
        "tokens": before.tokens,
        "utf8_bytes": before.utf8_bytes,
        "bits_per_byte_before": round(before.bits_per_byte, 6),
        "bits_per_byte_after": round(after.bits_per_byte, 6),
        "perplexity_before": round(before.perplexity, 4),
        "perplexity_after": round(after.perplexity, 4),
        "same_greedy_choice_share": round(float(same), 6),
    }
