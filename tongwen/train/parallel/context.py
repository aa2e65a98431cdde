"""Context parallelism: processes share the tokens of one sequence.

Each process gathers all keys and values and attends to them with its own queries (Llama 3,
Dubey et al. 2024, arXiv:2407.21783, section 3.3.2): exact, also for packed documents, and with
few key-value heads little to send. A sequence is cut into twice as many chunks as processes; each
takes one from the head and one from the tail, so that all have the same number of pairs to score.

Shape suffixes in this file: B batch, T tokens here, S tokens of the whole sequence, K key-value
heads, D head_dim, R stretches, N keys of all stretches.
"""

from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from tongwen.errors import RecipeError
from tongwen.model.attention import KeyStretches, Segments, Visibility, after_zero
from tongwen.model.llama import KeyStore
from tongwen.train.data.sequences import Batch
from tongwen.train.parallel.collectives import gather
from tongwen.train.settings import TrainSettings

_TOKENS = 1  # the dimension that is divided


def check_context_degree(settings: TrainSettings, context: int, tensor: int) -> None:
    """Refuse a sequence that cannot be cut into equal chunks.

    Raises:
        RecipeError: with the length and what must divide it.
    """
    chunks = (2 * context if context > 1 else 1) * tensor
    if settings.sequence_tokens % chunks:
        raise RecipeError(
            f"sequence_tokens is {settings.sequence_tokens:,}, which parallel.context {context} "
            f"and parallel.tensor {tensor} cut into {chunks} chunks",
            hint=f"use a multiple of {chunks}",
        )


def tokens_here(sequence_tokens: int, processes: int, place: int) -> Tensor:
    """Which tokens of a sequence the process at `place` takes, (T,), ascending."""
    chunks = torch.arange(sequence_tokens).chunk(2 * processes)
    return torch.cat([chunks[place], chunks[2 * processes - 1 - place]])


class GatheredKeys(KeyStore):
    """Keys and values of the whole sequence, gathered from the group layer by layer.

    Args:
        documents_BS: document numbers of all tokens, in their own order; None when documents of
            one sequence see each other.
        sequence_tokens: S.
        group: the processes that share the sequence.
    """

    def __init__(
        self, documents_BS: Tensor | None, sequence_tokens: int, group: dist.ProcessGroup
    ) -> None:
        self._documents_BS = documents_BS
        self._sequence_tokens = sequence_tokens
        self._group = group

    def begin(self, positions_BT: Tensor) -> Visibility:
        processes, place = self._group.size(), self._group.rank()
        shares = [tokens_here(self._sequence_tokens, processes, n) for n in range(processes)]
        documents_BS = self._documents_BS
        if documents_BS is None:
            documents_BS = positions_BT.new_zeros(len(positions_BT), self._sequence_tokens)
        return Visibility(segments=_segments(documents_BS, shares, place))

    def store(self, layer: int, key_BTKD: Tensor, value_BTKD: Tensor) -> tuple[Tensor, Tensor]:
        both = gather(torch.cat([key_BTKD, value_BTKD], dim=-1), self._group, _TOKENS)
        key_BSKD, value_BSKD = both.chunk(2, dim=-1)
        return key_BSKD, value_BSKD


def _segments(documents_BS: Tensor, shares: list[Tensor], place: int) -> Segments:
    """The stretches of the tokens in `shares[place]` that follow each other in one document, each
    with the keys from the document's start to its own end.

    Args:
        documents_BS: document numbers of all tokens.
        shares: which tokens each process takes; keys are gathered in this order.
        place: of this process.
    """
    device, sequence_tokens = documents_BS.device, documents_BS.shape[1]
    tokens_S = torch.arange(sequence_tokens, device=device)
    is_first_BS = torch.ones_like(documents_BS, dtype=torch.bool)
    is_first_BS[:, 1:] = documents_BS[:, 1:] != documents_BS[:, :-1]
    start_BS = torch.where(is_first_BS, tokens_S, 0).cummax(dim=1).values

    mine_T = shares[place].to(device)
    start_BT = start_BS[:, mine_T]
    is_last_BT = torch.ones_like(start_BT, dtype=torch.bool)
    follows_T = mine_T[1:] == mine_T[:-1] + 1
    is_last_BT[:, :-1] = (start_BT[:, 1:] != start_BT[:, :-1]) | ~follows_T
    row_R, last_R = is_last_BT.nonzero().unbind(1)
    start_R = start_BT[row_R, last_R]
    keys_R = mine_T[last_R] + 1 - start_R
    key_ends_R = keys_R.cumsum(0)

    # Of each key of each stretch: its stretch, its place in the sequence, and where it is gathered.
    stretch_N = torch.repeat_interleave(keys_R)
    nth_N = torch.arange(len(stretch_N), device=device) - (key_ends_R - keys_R)[stretch_N]
    place_S = torch.cat(shares).to(device).argsort()
    places_N = row_R[stretch_N] * sequence_tokens + place_S[start_R[stretch_N] + nth_N]
    return Segments(
        ends=after_zero(row_R * len(mine_T) + last_R + 1),
        longest_tokens=len(mine_T),
        keys=KeyStretches(places_N, after_zero(key_ends_R), sequence_tokens),
    )


def share_of(batch: Batch, group: dist.ProcessGroup) -> Batch:
    """The batch with this process's tokens only; document numbers stay those of all tokens."""
    here_T = tokens_here(batch.token_ids_BT.shape[1], group.size(), group.rank())
    return replace(
        batch,
        token_ids_BT=batch.token_ids_BT[:, here_T],
        targets_BT=batch.targets_BT[:, here_T],
        positions_BT=batch.positions_BT[:, here_T],
    )
