"""Log-probabilities of tokens, as the model gives them, and the text that stands for a token.

Shape suffixes in this file: M hidden_size, T tokens, V vocabulary_size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tongwen.model.llama import Llama
from tongwen.tokenizer.text import Tokenizer

_POSITIONS_AT_ONCE = 128
"""Bounds the logits in memory: 33 MB with 64,000 pieces."""


@dataclass(frozen=True)
class TokenScore:
    """How likely the model found a token, before penalties, biases, temperature and grammar.

    Attributes:
        token_id: the token.
        logprob: natural logarithm of its probability; None for the first token of a text, which
            follows nothing.
        top: the likeliest tokens at its place with theirs, likeliest first.
    """

    token_id: int
    logprob: float | None
    top: tuple[tuple[int, float], ...] = ()


def token_scores(logits_TV: Tensor, ids: Sequence[int], top: int) -> list[TokenScore]:
    """The score of each id at its place, and of the `top` likeliest ones there."""
    logprobs_TV = logits_TV.float().log_softmax(-1)
    chosen_T = logprobs_TV[torch.arange(len(ids)), torch.tensor(ids, device=logits_TV.device)]
    likeliest = logprobs_TV.topk(min(top, logits_TV.shape[-1]), dim=-1)
    return [
        TokenScore(token_id, logprob, tuple(zip(top_ids, top_logprobs, strict=True)))
        for token_id, logprob, top_ids, top_logprobs in zip(
            ids,
            chosen_T.tolist(),
            likeliest.indices.tolist(),
            likeliest.values.tolist(),
            strict=True,
        )
    ]


class PromptScores:
    """Scores every token of a prompt while it is read.

    Args:
        model: gives the logits of hidden states.
        prompt_ids: the prompt.
        top: likeliest tokens to name at each place.
    """

    def __init__(self, model: Llama, prompt_ids: Sequence[int], top: int) -> None:
        self._model = model
        self._prompt_ids = prompt_ids
        self._top = top
        self.scores = [TokenScore(prompt_ids[0], None)]
        """One for each token that has been read, and for the one after it."""

    def observe(self, start: int, hidden_TM: Tensor) -> None:
        """Take the hidden states of a piece, as `Prefill` hands them over."""
        ids = self._prompt_ids[start + 1 : start + 1 + len(hidden_TM)]
        for first in range(0, len(ids), _POSITIONS_AT_ONCE):
            wanted = ids[first : first + _POSITIONS_AT_ONCE]
            logits_TV = self._model.logits(hidden_TM[first : first + len(wanted)])
            self.scores += token_scores(logits_TV, wanted, self._top)


def token_text(tokenizer: Tokenizer, token_id: int) -> str:
    """The text of a token; of one that is part of a character, its bytes as OpenAI spells them."""
    data = token_bytes(tokenizer, token_id)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def token_bytes(tokenizer: Tokenizer, token_id: int) -> bytes:
    """The bytes of a token; of a special one its name. None of ids without a piece."""
    if token_id >= tokenizer.vocabulary_size:
        return b""
    return tokenizer.token_bytes[token_id] or tokenizer.piece(token_id).encode()
