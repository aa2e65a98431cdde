"""Preference pairs as training data: both answers of a pair in one sequence.

Shape suffixes in this file: B sequences, A answers of a sequence.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xxhash

from tongwen.errors import InputError
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.packing import Int64s
from tongwen.train.data.sequences import Batch, Documents, PackedSequences
from tongwen.train.data.validation import ValidationSet
from tongwen.train.parallel.mesh import Processes
from tongwen.train.passes import Passes
from tongwen.tune.dialogues import FileCounts, held_out, refuse_half_characters, rows_as
from tongwen.tune.layouts import Dialogue
from tongwen.tune.preferences.layouts import PreferencePair, preference_pair_of

Float32s = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EncodedPairs:
    """Preference pairs as ids.

    Attributes:
        documents: one document a pair: the dialogue with the chosen answer, then that with the
            rejected one. Targets are the answers and the pieces that end their turns.
        chosen_tokens: length of the first of the two.
        references: log-probability of both answers under the reference, nats, (pairs, 2); NaN
            until it is known.
    """

    documents: Documents
    chosen_tokens: Int64s
    references: Float32s

    @property
    def pairs(self) -> int:
        return len(self.chosen_tokens)


@dataclass(frozen=True)
class PreferenceData:
    """Encoded pairs, and what was left out.

    Attributes:
        training: to learn from.
        held_out: to measure with; None without any.
        files: what each file held.
    """

    training: EncodedPairs
    held_out: EncodedPairs | None
    files: tuple[FileCounts, ...]

    def left_out(self) -> dict[str, float]:
        """Counts for the manifest of what is not learnt."""
        unused = {name for file in self.files for name in file.unused}
        return {
            "pairs_held_out": self.held_out.pairs if self.held_out else 0,
            "pairs_too_long": sum(file.too_long for file in self.files),
            "pairs_alike": sum(file.without_answer for file in self.files),
            "bad_rows": sum(file.bad_rows for file in self.files),
            "unused_fields": len(unused),
        }


class PreferenceSequences(PackedSequences):
    """Pairs packed into sequences. Documents see only themselves, so the two answers of a pair, and
    pairs of one sequence, do not see each other.
    """

    def __init__(self, pairs: EncodedPairs, sequence_tokens: int, *, seed: int) -> None:
        super().__init__(pairs.documents, sequence_tokens, seed=seed)
        self.pairs = pairs
        self.fingerprint_parts["documents"] = f"pairs {self.fingerprint_parts['documents']}"

    def sequences_at(self, numbers: Int64s) -> Batch:
        """Sequences by their number in the packing; `targets` counts their pairs."""
        batch = super().sequences_at(numbers)
        packing, pairs = self._packing, self.pairs
        counts = np.diff(packing.sequence_starts)[numbers]
        width = 2 * int(counts.max(initial=1))
        references_BA = np.full((len(numbers), width), np.nan, dtype=np.float32)
        documents_BT, positions_BT = batch.documents_BT, batch.positions_BT
        assert documents_BT is not None
        for row, number in enumerate(numbers):
            place = 0
            for local in range(int(counts[row])):
                piece = int(packing.sequence_starts[number]) + local
                pair = self._pair_of(int(packing.piece_starts[piece]))
                tokens, chosen = int(packing.piece_tokens[piece]), int(pairs.chosen_tokens[pair])
                documents_BT[row, place : place + chosen] = 2 * local
                documents_BT[row, place + chosen : place + tokens] = 2 * local + 1
                positions_BT[row, place + chosen : place + tokens] -= chosen
                references_BA[row, 2 * local : 2 * local + 2] = pairs.references[pair]
                place += tokens
        return replace(
            batch, references_BA=torch.from_numpy(references_BA), targets=int(counts.sum())
        )

    def pairs_at(self, number: int) -> list[int]:
        """Which pairs a sequence has, in their order."""
        first, last = self._packing.sequence_starts[number : number + 2]
        return [self._pair_of(int(start)) for start in self._packing.piece_starts[first:last]]

    def _pair_of(self, start: int) -> int:
        return int(np.searchsorted(self.pairs.documents.starts, start))


@dataclass(frozen=True)
class PreferenceValidation(ValidationSet):
    """Held-out pairs."""

    @classmethod
    def of_pairs(
        cls, pairs: EncodedPairs, sequence_tokens: int, max_tokens: int
    ) -> "PreferenceValidation":
        """At most `max_tokens` of them, rounded up to whole sequences."""
        data = PreferenceSequences(pairs, sequence_tokens, seed=0)
        sequences = min(data.sequences, -(-max_tokens // sequence_tokens))
        return cls(data=data, sequences=sequences, bits_per_byte_of_a_nat=0.0)

    def measure(
        self, sequences_at_once: int, passes: Passes, processes: Processes
    ) -> dict[str, float]:
        """Means over the pairs: loss, share of pairs that are told apart rightly, and margin."""
        del processes  # there is one
        sums, pairs = np.zeros(3), 0
        for start in range(0, self.sequences, sequences_at_once):
            numbers = np.arange(start, min(start + sequences_at_once, self.sequences))
            batch = self.data.sequences_at(numbers)
            sums += passes.measured(batch).double().cpu().numpy()
            pairs += batch.targets
        loss, accuracy, margin = (sums / max(1, pairs)).tolist()
        return {"loss": loss, "preference_accuracy": accuracy, "preference_margin": margin}


def read_pairs(
    paths: Sequence[Path],
    tokenizer: Tokenizer,
    sequence_tokens: int,
    *,
    maximum_bad_rows: float = 0.01,
    held_out_share: float = 0.0,
) -> PreferenceData:
    """All preference pairs of some files, whatever layout each row has.

    Args:
        paths: of the files.
        tokenizer: to encode with.
        sequence_tokens: pairs that are longer, both dialogues together, are left out.
        maximum_bad_rows: share of a file's rows that may be malformed.
        held_out_share: see `TuneSettings`.

    Raises:
        InputError: a file cannot be read, holds no pairs, or has too many malformed rows; or no
            pair is left to learn.
    """
    read, files = _Read(tokenizer, sequence_tokens), []
    for path in paths:
        file = FileCounts(path, noun="pair")
        files.append(file)
        for pair in rows_as(file, _checked_pair, maximum_bad_rows):
            read.add(pair, file)
    if not read.starts:
        too_long = sum(file.too_long for file in files)
        if too_long:
            raise InputError(
                f"none of the {too_long:,} pairs fits into {sequence_tokens:,} tokens, both "
                "dialogues together",
                hint="raise tune.sequence_tokens",
            )
        lines = "; ".join(file.line() for file in files)
        raise InputError(f"no pair has two different answers: {lines}")
    return read.split(held_out_share, tuple(files))


def _checked_pair(row: Any) -> PreferencePair:
    pair = preference_pair_of(row)
    for side in (pair.chosen, pair.rejected):
        refuse_half_characters(side)
    return pair


class _Read:
    """Pairs as they are read, laid end to end."""

    def __init__(self, tokenizer: Tokenizer, sequence_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._sequence_tokens = sequence_tokens
        self._ids = array("I")
        self._wanted = bytearray()
        self.starts: list[int] = []
        self._chosen_tokens: list[int] = []
        self._contents: list[Any] = []

    def add(self, pair: PreferencePair, file: FileCounts) -> None:
        file.unused.update(pair.unused)
        sides = [self._encoded(side) for side in (pair.chosen, pair.rejected)]
        if pair.chosen.messages == pair.rejected.messages or not all(
            any(wanted) for _, wanted in sides
        ):
            file.without_answer += 1
            return
        if sum(len(ids) for ids, _ in sides) > self._sequence_tokens:
            file.too_long += 1
            return
        file.layouts[pair.layout] += 1
        self.starts.append(len(self._ids))
        self._chosen_tokens.append(len(sides[0][0]))
        for ids, wanted in sides:
            self._ids.extend(ids)
            self._wanted.extend([False, *wanted[1:]])  # no token comes before the first
        # By what both answers answer, so that all pairs of a prompt are on one side.
        begin = pair.chosen.is_learnt.index(True)
        prompt = [(turn["role"], turn["content"]) for turn in pair.chosen.messages[:begin]]
        self._contents.append(prompt)

    def _encoded(self, side: Dialogue) -> tuple[list[int], list[bool]]:
        return self._tokenizer.encode_dialogue(side.messages, is_learnt=side.is_learnt)

    def split(self, share: float, files: tuple[FileCounts, ...]) -> PreferenceData:
        is_held = held_out(self._contents, share)
        kept = self._chosen(is_held) if is_held.any() else None
        return PreferenceData(self._chosen(~is_held), kept, files)

    def _chosen(self, chosen: npt.NDArray[np.bool_]) -> EncodedPairs:
        ids = np.array(self._ids, dtype=np.uint32)
        wanted = np.frombuffer(bytes(self._wanted), dtype=np.bool_)
        ends = np.array([*self.starts[1:], len(ids)], dtype=np.int64)
        tokens: Int64s = ends - np.array(self.starts, dtype=np.int64)
        is_kept = np.repeat(chosen, tokens)
        ids, wanted, tokens = ids[is_kept], wanted[is_kept], tokens[chosen]
        first: Int64s = np.cumsum(tokens) - tokens
        chosen_tokens = np.array(self._chosen_tokens, dtype=np.int64)[chosen]
        content = xxhash.xxh3_128(ids.tobytes())
        for part in (wanted, first, chosen_tokens):
            content.update(part.tobytes())
        documents = Documents(
            parts=(ids,),
            starts=first,
            tokens=tokens,
            is_target=wanted,
            digest=content.hexdigest(),
        )
        references = np.full((len(tokens), 2), np.nan, dtype=np.float32)
        return EncodedPairs(documents, chosen_tokens, references)
