"""Context parallelism: processes share the tokens of one sequence.

Each process gathers all keys and values and attends to them with its own queries (Llama 3,
Dubey et al. 2024, arXiv:2407.21783, section 3.3.2): exact for any mask, also of packed documents,
and with few key-value heads little to send. A sequence is cut into twice as many chunks as
processes; each takes one from the head and one from the tail, so that all have the same number
of pairs to score.

Shape suffixes in this file: B batch, T tokens here, S tokens of the whole sequence, K key-value
heads, D head_dim.
"""

from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from tongwen.errors import RecipeError
from tongwen.model.attention import Visibility
from tongwen.model.llama import KeyStore
from tongwen.train.data import Batch
from tongwen.train.parallel.collectives import gather
from tongwen.train.settings import TrainSettings

_TOKENS = 1


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
        order_S = torch.cat(shares).to(positions_BT.device)
        mine_T = shares[place].to(positions_BT.device)
        mask = (mine_T[:, None] >= order_S)[None, None]
        if self._documents_BS is not None:
            documents_BT, keys_BS = self._documents_BS[:, mine_T], self._documents_BS[:, order_S]
            mask = mask & (documents_BT[:, None, :, None] == keys_BS[:, None, None, :])
        return Visibility(mask=mask)

    def store(self, layer: int, key_BTKD: Tensor, value_BTKD: Tensor) -> tuple[Tensor, Tensor]:
        both = gather(torch.cat([key_BTKD, value_BTKD], dim=-1), self._group, _TOKENS)
        key_BSKD, value_BSKD = both.chunk(2, dim=-1)
        return key_BSKD, value_BSKD


def share_of(batch: Batch, group: dist.ProcessGroup) -> Batch:
    """The batch with this process's tokens only; document numbers stay those of all tokens."""
    here_T = tokens_here(batch.token_ids_BT.shape[1], group.size(), group.rank())
    return replace(
        batch,
        token_ids_BT=batch.token_ids_BT[:, here_T],
        targets_BT=batch.targets_BT[:, here_T],
        positions_BT=batch.positions_BT[:, here_T],
    )
