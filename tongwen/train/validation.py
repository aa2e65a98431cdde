"""Loss on held-out documents."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from tongwen.model.llama import Llama
from tongwen.train.data import Documents, PackedSequences
from tongwen.train.hardware import Arithmetic
from tongwen.train.loss import cross_entropy_sum


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


def validation_loss(
    model: Llama,
    validation: ValidationSet,
    sequences_at_once: int,
    arithmetic: Arithmetic,
) -> float:
    """Mean loss of a target in nats. Changes nothing in the model and draws no random number."""
    loss, targets = 0.0, 0
    model.eval()
    with torch.no_grad():
        for start in range(0, validation.sequences, sequences_at_once):
            end = min(start + sequences_at_once, validation.sequences)
            batch = validation.data.sequences_at(np.arange(start, end)).to(arithmetic.device)
            hidden_BTM = model(
                batch.token_ids_BT,
                positions_BT=batch.positions_BT,
                documents_BT=batch.documents_BT,
                dtype=arithmetic.dtype,
            )
            loss += cross_entropy_sum(hidden_BTM, model.lm_head.weight, batch.targets_BT).item()
            targets += batch.targets
    model.train()
    return loss / max(1, targets)
