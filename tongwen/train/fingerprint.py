"""What a checkpoint belongs to."""

from dataclasses import asdict

import torch
import xxhash

from tongwen.files import value_digest
from tongwen.model.llama import Llama
from tongwen.train.hardware import Arithmetic
from tongwen.train.settings import TrainSettings

_WITHOUT_EFFECT = (
    "checkpoint_every_steps",
    "keep_checkpoints",
    "evaluate_every_steps",
    "validation_tokens",
    "hang_minutes",
    "hours_between_failures",
    "device",
    "precision",
)


def run_fingerprint(
    model: Llama,
    settings: TrainSettings,
    data_fingerprint: str,
    arithmetic: Arithmetic,
) -> str:
    """Digest of all that decides the course of a run: first weights, settings, data, arithmetic."""
    weights = xxhash.xxh3_128()
    for name, tensor in model.state_dict().items():
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    values = {key: value for key, value in asdict(settings).items() if key not in _WITHOUT_EFFECT}
    return value_digest(
        [
            asdict(model.config),
            weights.hexdigest(),
            values,
            data_fingerprint,
            str(arithmetic.dtype),
            arithmetic.device.type,
        ]
    )
