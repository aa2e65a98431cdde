"""Low-rank adapters of projections.

Hu et al. 2021, arXiv:2106.09685. On int8 and int4 weights it is QLoRA, Dettmers et al. 2023,
arXiv:2305.14314.

Shape suffixes in this file: N inputs, O outputs, R rank.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from tongwen.model.llama import Llama
from tongwen.train.adapters.settings import LoraSettings


class DropoutSeed:
    """The seed of the dropout in the pass that this thread computes; None leaves nothing out.

    Masks are a function of the seed and the adapter's number. So a resumed run draws the same, and
    activations that are computed again are the same too.
    """

    def __init__(self) -> None:
        self._here = threading.local()
        self._shared: int | None = None

    def set(self, seed: int | None) -> None:
        """Called before a pass, by the thread that computes it."""
        self._here.seed = self._shared = seed

    def get(self) -> int | None:
        # On a GPU the backward pass has a thread of its own, and there is one pass at a time.
        seed: int | None = getattr(self._here, "seed", self._shared)
        return seed


class LoraLinear(nn.Module):
    """A projection that does not change, plus its adapter.

    Args:
        base: `nn.Linear`, or another module with `in_features`, `out_features` and a gradient for
            its input.
        settings: of the adapters.
        number: of this adapter in the model.
        dropout_seed: shared by all adapters of a model.
        device: where A and B are; both are float32.
    """

    def __init__(
        self,
        base: nn.Module,
        settings: LoraSettings,
        number: int,
        dropout_seed: DropoutSeed,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        inputs, outputs = int(base.in_features), int(base.out_features)  # type: ignore[arg-type]
        self.base = base.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.zeros(settings.rank, inputs, device=device))
        self.lora_B = nn.Parameter(torch.zeros(outputs, settings.rank, device=device))
        self.scale = settings.alpha / settings.rank
        self.is_on = True
        self._dropout = settings.dropout
        self._number = number
        self._dropout_seed = dropout_seed

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x)
        if not self.is_on:
            return out
        low = F.linear(self._dropped(x), self.lora_A.to(x.dtype))
        return out + F.linear(low, self.lora_B.to(x.dtype)) * self.scale

    def change(self) -> Tensor:
        """What the adapter adds to the weight, float32 (O, N)."""
        return self.lora_B.detach().float() @ self.lora_A.detach().float() * self.scale

    def _dropped(self, x: Tensor) -> Tensor:
        seed = self._dropout_seed.get() if self._dropout else None
        if seed is None:
            return x
        generator = torch.Generator(x.device).manual_seed((seed + self._number) % 2**63)
        kept = torch.rand(x.shape, generator=generator, device=x.device) >= self._dropout
        return x * kept.to(x.dtype) / (1 - self._dropout)


def add_adapters(
    model: Llama, settings: LoraSettings, seed: int, device: torch.device | str = "cpu"
) -> DropoutSeed:
    """Freeze `model` and put an adapter on its projections; the model computes what it did before.

    A is uniform within 1 / sqrt(inputs), as in PEFT, B zero.

    Args:
        model: changed in place.
        settings: of the adapters.
        seed: of A.
        device: where A and B go.

    Returns:
        What the adapters' dropout draws from.
    """
    model.requires_grad_(False)
    dropout_seed = DropoutSeed()
    generator = torch.Generator().manual_seed(seed)
    names = [
        name
        for name, _ in model.named_modules()
        if name.startswith("model.layers.") and name.rpartition(".")[2] in settings.targets
    ]
    for number, name in enumerate(names):
        parent, _, child = name.rpartition(".")
        adapted = LoraLinear(model.get_submodule(name), settings, number, dropout_seed, device)
        bound = adapted.lora_A.shape[1] ** -0.5
        drawn = torch.empty(adapted.lora_A.shape).uniform_(-bound, bound, generator=generator)
        with torch.no_grad():
            adapted.lora_A.copy_(drawn)
        setattr(model.get_submodule(parent), child, adapted)
    return dropout_seed


def adapters_of(model: nn.Module) -> dict[str, LoraLinear]:
    """The adapted projections by name, in the order of the layers."""
    return {name: item for name, item in model.named_modules() if isinstance(item, LoraLinear)}


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Within it the model computes as if it had no adapters."""
    adapters = adapters_of(model).values()
    for adapter in adapters:
        adapter.is_on = False
    try:
        yield
    finally:
        for adapter in adapters:
            adapter.is_on = True
