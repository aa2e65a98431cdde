"""Loss on held-out documents."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from tongwen.train.data.packing import Int64s
from tongwen.train.data.sequences import Batch, Documents, PackedSequences
from tongwen.train.loss.softmax import IGNORED
from tongwen.train.parallel.mesh import Processes
from tongwen.train.passes import Passes


@dataclass(frozen=True)
class ValidationSet:
    """Held-out documents of one language, packed.

    Attributes:
        data: the sequences.
        sequences: how many of them are scored.
        bits_per_byte_of_a_nat: what a mean loss of one nat per token is in bits per UTF-8 byte.
    """

    data: PackedSequences
    sequences: int
    bits_per_byte_of_a_nat: float

    @classmethod
    def of(cls, documents: Documents, sequence_tokens: int, *, max_tokens: int) -> "ValidationSet":
        """At most `max_tokens` of the documents, rounded up to whole sequences."""
        data = PackedSequences(documents, sequence_tokens, seed=0)
        tokens_per_byte = documents.total_tokens / max(1, documents.utf8_bytes)
        return cls(
            data=data,
            sequences=min(data.sequences, -(-max_tokens // sequence_tokens)),
            bits_per_byte_of_a_nat=tokens_per_byte / math.log(2),
        )

    def rows(self, numbers: Int64s) -> Batch:
        """Sequences by number; a number beyond the last gives a sequence without targets, so that
        all processes have as many.
        """
        batch = self.data.sequences_at(np.minimum(numbers, self.sequences - 1))
        is_beyond = torch.from_numpy(numbers >= self.sequences)
        batch.targets_BT[is_beyond] = IGNORED
        return replace(batch, targets=int((batch.targets_BT != IGNORED).sum()))

    def measure(
        self, sequences_at_once: int, passes: Passes, processes: Processes
    ) -> dict[str, float]:
        """Mean loss of a target in nats, and the same in bits per byte of text."""
        loss = validation_loss(self, sequences_at_once, passes, processes)
        return {"loss": loss, "bits_per_byte": loss * self.bits_per_byte_of_a_nat}


def validation_loss(
    validation: ValidationSet, sequences_at_once: int, passes: Passes, processes: Processes
) -> float:
    """Mean loss of a target in nats. Changes nothing in the model and draws no random number.

    Each process takes `sequences_at_once` at a time of those its place in the batch gives it.
    """
    loss = torch.zeros((), dtype=torch.float64, device=processes.device)
    targets = torch.zeros((), dtype=torch.float64, device=processes.device)
    rows = min(sequences_at_once, -(-validation.sequences // processes.data_size))
    for start in range(0, validation.sequences, rows * processes.data_size):
        first = start + processes.data_place * rows
        last = first + rows
        if processes.count == 1:
            last = min(last, validation.sequences)
        batch = validation.rows(np.arange(first, last))
        loss += passes.loss_sum(batch)
        if processes.place("context") == 0:
            targets += batch.targets
    total = processes.sum_of_parts(torch.stack([loss, targets]))
    return float(total[0]) / max(1.0, float(total[1]))
