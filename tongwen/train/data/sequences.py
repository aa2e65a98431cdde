"""Training samples: a pure function of how many have been consumed.

Shape suffixes in this file: B sequences, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tongwen.errors import InputError, RecipeError
from tongwen.files import value_digest
from tongwen.formats.languages import LANGUAGES
from tongwen.formats.shards import Shard
from tongwen.tokenizer.special import PAD_ID
from tongwen.train.data.mixture import Mixture
from tongwen.train.data.packing import Int64s, Packing, in_epochs, joined, pack
from tongwen.train.loss.softmax import IGNORED

_PADDING_DOCUMENT = -1
_TOKENS_A_JUMP = 32
"""The most jumps of `position_reach`: one every so many tokens."""


@dataclass(frozen=True)
class Batch:
    """Sequences of packed documents.

    Attributes:
        token_ids_BT: int64; padded at the end with `PAD_ID`.
        targets_BT: int64, the next token of the same document, or `IGNORED`.
        positions_BT: int64, counted from each document's start.
        documents_BT: int64, a number for each document of a sequence; None when documents of
            one sequence see each other.
        targets: how many targets are in the loss, or with `references_BA` pairs of answers.
        references_BA: of preference pairs the log-probability of each answer under the reference,
            by the answer's number in `documents_BT`, an even one for a chosen answer and the next
            for the rejected one; NaN beyond a sequence's last. None otherwise.
    """

    token_ids_BT: Tensor
    targets_BT: Tensor
    positions_BT: Tensor
    documents_BT: Tensor | None
    targets: int
    references_BA: Tensor | None = None

    def split(self, sequences: int) -> list["Batch"]:
        """Micro-batches of so many sequences; `targets` stays that of the whole batch."""
        return [
            Batch(
                self.token_ids_BT[start : start + sequences],
                self.targets_BT[start : start + sequences],
                self.positions_BT[start : start + sequences],
                None if self.documents_BT is None else self.documents_BT[start : start + sequences],
                self.targets,
                None
                if self.references_BA is None
                else self.references_BA[start : start + sequences],
            )
            for start in range(0, len(self.token_ids_BT), sequences)
        ]

    def to(self, device: torch.device) -> "Batch":
        documents_BT, references_BA = self.documents_BT, self.references_BA
        return Batch(
            self.token_ids_BT.to(device, non_blocking=True),
            self.targets_BT.to(device, non_blocking=True),
            self.positions_BT.to(device, non_blocking=True),
            None if documents_BT is None else documents_BT.to(device, non_blocking=True),
            self.targets,
            None if references_BA is None else references_BA.to(device, non_blocking=True),
        )


class Samples(Protocol):
    """Training samples by number.

    Attributes:
        sequences: in one epoch.
        fingerprint_parts: by name, all that decides which sample has which number.
    """

    sequences: int
    fingerprint_parts: dict[str, str | int | float | bool]

    def batch(self, first_sample: int, samples: int) -> Batch:
        """Samples number `first_sample` and the following ones."""

    def describe(self, samples: int) -> dict[str, float]:
        """Counts for a manifest after so many samples."""


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
        languages: of each document, as position in `LANGUAGES`; None when unknown.
    """

    parts: tuple[npt.NDArray[Any], ...]
    starts: Int64s
    tokens: Int64s
    is_target: npt.NDArray[np.bool_] | None
    digest: str
    utf8_bytes: int = 0
    languages: npt.NDArray[np.uint8] | None = None

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
            languages=np.concatenate([shard.languages for shard in shards]),
        )

    def of_language(self, name: str) -> npt.NDArray[np.bool_]:
        """Which documents have the language `name` and a token.

        Raises:
            RecipeError: none has.
        """
        assert self.languages is not None
        chosen: npt.NDArray[np.bool_] = self.languages == LANGUAGES.index(name)
        chosen &= self.tokens > 0
        if not chosen.any():
            known = [LANGUAGES[code] for code in np.unique(self.languages[self.tokens > 0])]
            raise RecipeError(
                f"the mixture has a weight for {name}, but no training document is {name}",
                hint=f"leave it out; there are documents in {', '.join(known)}",
            )
        return chosen

    @property
    def total_tokens(self) -> int:
        return int(self.tokens.sum())


class PackedSequences:
    """Documents packed into sequences, in an order that the seed decides.

    Epoch e of the data is a permutation of all sequences keyed by (seed, e); sample number n is
    sequence n mod `sequences` of epoch n div `sequences`. With a mixture each language is packed
    and permuted on its own, and the mixture says which language sample n has and which of that
    language's samples it is. Either way the state of a run is that one number.

    Attributes:
        sequence_tokens: length of each.
        sequences: how many there are, of all languages.
        fingerprint_parts: by name, all that decides which sample has which number.
        fingerprint: digest of these parts.
    """

    def __init__(
        self,
        documents: Documents,
        sequence_tokens: int,
        *,
        seed: int,
        separate_documents: bool = True,
        mixture: Mixture | None = None,
        position_reach: int | None = None,
    ) -> None:
        """Pack the documents; see `packing.pack` for what it costs.

        With `position_reach` the positions of a sequence jump ahead at random places and reach over
        up to so many tokens (Zhu et al. 2023, arXiv:2309.10400).

        Raises:
            InputError: the documents have no token.
            RecipeError: the mixture has a language that no document has.
        """
        if documents.total_tokens == 0:
            raise InputError("there is no token to train on", hint="is the input empty?")
        self._documents = documents
        self._mixture = mixture
        self._packing, self._language_starts = _pack(documents, sequence_tokens, mixture)
        self._part_ends = np.cumsum([len(part) for part in documents.parts])
        self._seed = seed
        self._separate = separate_documents
        self._reach = position_reach
        self.sequence_tokens = sequence_tokens
        self.sequences = self._packing.sequences
        self.fingerprint_parts: dict[str, str | int | float | bool] = {
            "documents": documents.digest,
            "sequence_tokens": sequence_tokens,
            "seed": seed,
            "separate_documents": separate_documents,
            "packing": "best-fit 1",
        }
        if position_reach is not None:
            self.fingerprint_parts["position_reach"] = position_reach
        if mixture is not None:
            first, *later = map(str, mixture.stages)
            self.fingerprint_parts |= {"mixture": first, "mixture_stages": "; ".join(later)}
        self.fingerprint = value_digest(list(self.fingerprint_parts.values()))

    @property
    def padding_share(self) -> float:
        """Share of all positions that hold no token."""
        positions = self.sequences * self.sequence_tokens
        return 1 - int(self._packing.piece_tokens.sum()) / positions

    def describe(self, samples: int) -> dict[str, float]:
        """Counts for a manifest: how often the first `samples` samples went through the data.

        With a mixture also through the sequences of each language: `en_epochs`, ...
        """
        counts = {"epochs": samples / self.sequences, "padding_share": self.padding_share}
        if self._mixture is not None:
            epochs = self._mixture.taken(samples) / np.diff(self._language_starts)
            names = [f"{language}_epochs" for language in self._mixture.languages]
            counts |= zip(names, epochs.tolist(), strict=True)
        return {name: round(count, 4) for name, count in counts.items()}

    def batch(self, first_sample: int, samples: int) -> Batch:
        """Samples number `first_sample` and the following ones, over epoch borders."""
        numbers = np.arange(first_sample, first_sample + samples, dtype=np.int64)
        batch = self.sequences_at(self._places(numbers))
        if self._reach is None:
            return batch
        jumps = [
            jumps_ahead(self.sequence_tokens, self._reach, np.random.default_rng([self._seed, n]))
            for n in numbers.tolist()
        ]
        return replace(batch, positions_BT=batch.positions_BT + torch.from_numpy(np.stack(jumps)))

    def _places(self, numbers: Int64s) -> Int64s:
        """The sequence in the packing that each sample is."""
        if self._mixture is None:
            return in_epochs(numbers, self.sequences, self._seed)
        languages, numbers = self._mixture.places(numbers)
        chosen = np.empty_like(numbers)
        for language in np.unique(languages).tolist():
            here = languages == language
            first, last = self._language_starts[language : language + 2].tolist()
            chosen[here] = first + in_epochs(numbers[here], last - first, self._seed)
        return chosen

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


def jumps_ahead(tokens: int, reach: int, generator: np.random.Generator) -> Int64s:
    """What is added to the positions 0 to `tokens` - 1 of a sequence, never less than before.

    The window reached over is drawn between `tokens` and `reach`, and so is the number of jumps
    between 1 and one every 32 tokens, both evenly in their logarithms: near distances and long
    unbroken stretches stay as frequent as far ones.
    """
    window = int(np.exp(generator.uniform(np.log(tokens), np.log(max(tokens, reach)))))
    count = int(np.exp(generator.uniform(0, np.log(max(1, tokens // _TOKENS_A_JUMP) + 1))))
    places = generator.integers(1, tokens, count) if tokens > 1 else np.array([], np.int64)
    reached = np.sort(generator.integers(0, window - tokens + 1, len(places)))
    steps = np.zeros(tokens, np.int64)
    np.add.at(steps, np.sort(places), np.diff(reached, prepend=0))
    return np.cumsum(steps)


def _pack(
    documents: Documents, sequence_tokens: int, mixture: Mixture | None
) -> tuple[Packing, Int64s]:
    """All documents packed together, or those of each language of the mixture by themselves.

    Also the number of each language's first sequence; one more entry closes the last.
    """
    if mixture is None:
        packing = pack(documents.starts, documents.tokens, sequence_tokens)
        return packing, np.array([0, packing.sequences])
    packings = []
    for name in mixture.languages:
        chosen = documents.of_language(name)
        packings.append(pack(documents.starts[chosen], documents.tokens[chosen], sequence_tokens))
    return joined(packings), np.cumsum([0, *(packing.sequences for packing in packings)])
