"""Training samples: a pure function of how many have been consumed.

Shape suffixes in this file: B sequences, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tongwen.errors import InputError
from tongwen.files import value_digest
from tongwen.formats.shards import Shard
from tongwen.tokenizer.special import PAD_ID
from tongwen.train.loss import IGNORED
from tongwen.train.packing import Int64s, pack, permuted

_PADDING_DOCUMENT = -1


@dataclass(frozen=True)
class Batch:
    """Sequences of packed documents.

    Attributes:
        token_ids_BT: int64; padded at the end with `PAD_ID`.
        targets_BT: int64, the next token of the same document, or `IGNORED`.
        positions_BT: int64, counted from each document's start.
        documents_BT: int64, a number for each document of a sequence; None when documents of
            one sequence see each other.
        targets: how many targets are in the loss.
    """

    token_ids_BT: Tensor
    targets_BT: Tensor
    positions_BT: Tensor
    documents_BT: Tensor | None
    targets: int

    def split(self, sequences: int) -> list["Batch"]:
        """Micro-batches of so many sequences; `targets` stays that of the whole batch."""
        return [
            Batch(
                self.token_ids_BT[start : start + sequences],
                self.targets_BT[start : start + sequences],
                self.positions_BT[start : start + sequences],
                None if self.documents_BT is None else self.documents_BT[start : start + sequences],
                self.targets,
            )
            for start in range(0, len(self.token_ids_BT), sequences)
        ]

    def to(self, device: torch.device) -> "Batch":
        documents_BT = self.documents_BT
        return Batch(
            self.token_ids_BT.to(device, non_blocking=True),
            self.targets_BT.to(device, non_blocking=True),
            self.positions_BT.to(device, non_blocking=True),
            None if documents_BT is None else documents_BT.to(device, non_blocking=True),
            self.targets,
        )


@dataclass(frozen=True)
class Documents:
    """Token ids of documents, laid end to end.

    Attributes:
        parts: flat arrays of ids, in memory or mapped from shards.
        starts: position of each document's first token in the parts laid end to end.
        tokens: length of each document.
        is_target: which tokens are to be learnt; None for all.
        digest: names the content.
        utf8_bytes: length of all texts before encoding; 0 when unknown.
    """

    parts: tuple[npt.NDArray[Any], ...]
    starts: Int64s
    tokens: Int64s
    is_target: npt.NDArray[np.bool_] | None
    digest: str
    utf8_bytes: int = 0

    @classmethod
    def from_shards(cls, shards: Sequence[Shard]) -> Self:
        """All documents of some shards, in order; nothing is read yet but the index."""
        starts, tokens = [], []
        offset = 0
        for shard in shards:
            first = np.asarray(shard.document_starts, dtype=np.int64)
            tokens.append(np.diff(first, append=len(shard.tokens)))
            starts.append(first + offset)
            offset += len(shard.tokens)
        return cls(
            parts=tuple(shard.tokens for shard in shards),
            starts=np.concatenate(starts),
            tokens=np.concatenate(tokens),
            is_target=None,
            digest=value_digest([shard.content_digest for shard in shards]),
            utf8_bytes=sum(int(shard.utf8_bytes.sum()) for shard in shards),
        )

    @property
    def total_tokens(self) -> int:
        return int(self.tokens.sum())


class PackedSequences:
    """Documents packed into sequences, in an order that the seed decides.

    Epoch e of the data is a permutation of all sequences keyed by (seed, e); sample number n is
    sequence n mod `sequences` of epoch n div `sequences`. The state of a run is that one number.
    """

    def __init__(
        self,
        documents: Documents,
        sequence_tokens: int,
        *,
        seed: int,
        separate_documents: bool = True,
    ) -> None:
        if documents.total_tokens == 0:
            raise InputError("there is no token to train on", hint="is the input empty?")
        self._documents = documents
        self._packing = pack(documents.starts, documents.tokens, sequence_tokens)
        self._part_ends = np.cumsum([len(part) for part in documents.parts])
        self._seed = seed
        self._separate = separate_documents
        self.sequence_tokens = sequence_tokens
        self.sequences = self._packing.sequences
        self.fingerprint = value_digest(
            [documents.digest, sequence_tokens, seed, separate_documents, "best-fit 1"]
        )

    @property
    def padding_share(self) -> float:
        """Share of all positions that hold no token."""
        positions = self.sequences * self.sequence_tokens
        return 1 - self._documents.total_tokens / positions

    def batch(self, first_sample: int, samples: int) -> Batch:
        """Samples number `first_sample` and the following ones, over epoch borders."""
        numbers = np.arange(first_sample, first_sample + samples, dtype=np.int64)
        epochs, places = np.divmod(numbers, self.sequences)
        chosen = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            key = self._seed * 1_000_003 + int(epoch)
            chosen[here] = permuted(places[here], self.sequences, key)
        return self.sequences_at(chosen)

    def sequences_at(self, numbers: Int64s) -> Batch:
        """Sequences by their number in the packing."""
        shape = (len(numbers), self.sequence_tokens)
        token_ids = np.full(shape, PAD_ID, dtype=np.int64)
        targets = np.full(shape, IGNORED, dtype=np.int64)
        positions = np.tile(np.arange(self.sequence_tokens, dtype=np.int64), (len(numbers), 1))
        document_numbers = np.full(shape, _PADDING_DOCUMENT, dtype=np.int64)
        packing = self._packing
        for row, number in enumerate(numbers):
            place = 0
            first, last = packing.sequence_starts[number : number + 2]
            for piece in range(first, last):
                start, tokens = int(packing.piece_starts[piece]), int(packing.piece_tokens[piece])
                is_cut = bool(packing.piece_is_cut[piece])
                ids, wanted = self._read(start, tokens + is_cut)
                here = slice(place, place + tokens)
                known = len(ids) - 1
                token_ids[row, here] = ids[:tokens]
                targets[row, place : place + known] = np.where(wanted[1:], ids[1:], IGNORED)
                document_numbers[row, here] = piece - first
                if self._separate:
                    positions[row, here] = np.arange(tokens)
                place += tokens
        return Batch(
            torch.from_numpy(token_ids),
            torch.from_numpy(targets),
            torch.from_numpy(positions),
            torch.from_numpy(document_numbers) if self._separate else None,
            int((targets != IGNORED).sum()),
        )

    def _read(self, start: int, tokens: int) -> tuple[npt.NDArray[np.int64], Any]:
        """Ids and `is_target` of a stretch within one document."""
        part = int(np.searchsorted(self._part_ends, start, side="right"))
        before = 0 if part == 0 else int(self._part_ends[part - 1])
        ids = self._documents.parts[part][start - before : start - before + tokens]
        wanted = self._documents.is_target
        if wanted is None:
            return ids.astype(np.int64), np.ones(len(ids), dtype=np.bool_)
        return ids.astype(np.int64), wanted[start : start + tokens]
