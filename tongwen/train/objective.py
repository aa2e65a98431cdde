"""What a run makes small, where that is another thing than the loss of the next token."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from tongwen.model.llama import Llama
from tongwen.train.data.sequences import Batch


class Objective(ABC):
    """A loss of whole batches. Runs with one are computed by one process."""

    @abstractmethod
    def prepare(
        self, folder: Path, key: str, first_model: Callable[[], Llama], dtype: torch.dtype
    ) -> None:
        """Called before the first step, also when a run goes on.

        Args:
            folder: of the run, to keep what must be the same when it goes on.
            key: names the weights that the run starts from.
            first_model: the model with these weights.
            dtype: of the activations.
        """

    @abstractmethod
    def loss_sum(self, model: Llama, batch: Batch, dtype: torch.dtype) -> Tensor:
        """Sum of the losses, float32; divided by `batch.targets` it is the mean."""

    @abstractmethod
    def measured(self, model: Llama, batch: Batch, dtype: torch.dtype) -> Tensor:
        """Sums over a batch of what its validation sets report, float32."""
