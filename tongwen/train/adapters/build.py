"""A frozen model with adapters, from a model folder and back to one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch
from torch import Tensor, nn

from tongwen.errors import DoesNotFitError
from tongwen.model.config import ModelConfig
from tongwen.model.device import Arithmetic
from tongwen.model.folder import read_weights, stream_weights, write_model_folder
from tongwen.model.llama import DecoderLayer, Llama
from tongwen.train.adapters.lora import DropoutSeed, LoraLinear, adapters_of, add_adapters
from tongwen.train.adapters.peft import write_adapter_folder
from tongwen.train.adapters.settings import LoraSettings
from tongwen.train.parallel.recompute import recompute_activations
from tongwen.train.settings import TrainSettings

BaseWeights = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Adapters:
    """Which adapters a run trains, and on which frozen base.

    Attributes:
        folder: model folder of the base.
        settings: of the adapters.
        base_weights: how the base is held.
        base_name: what the exported adapters call their base.
    """

    folder: Path
    settings: LoraSettings
    base_weights: BaseWeights
    base_name: str

    def build(
        self, config: ModelConfig, settings: TrainSettings, arithmetic: Arithmetic
    ) -> tuple[Llama, DropoutSeed]:
        """The base with fresh adapters, and what their dropout draws from.

        Raises:
            InputError: a weight is missing or damaged.
            DoesNotFitError: the base and the adapters' optimizer do not fit into memory.
        """
        dtype = self._dtype(arithmetic)
        _check_memory(config, self.settings, dtype, arithmetic)
        with torch.device("meta"):
            model = Llama(config)
        for name, tensor in stream_weights(self.folder, config, dtype, arithmetic.device):
            _set_weight(model, name, tensor)
        if config.tie_word_embeddings:
            model.lm_head.weight = model.model.embed_tokens.weight
        dropout_seed = add_adapters(model, self.settings, settings.seed, arithmetic.device)
        recompute_activations(model, settings.recompute)
        if settings.compile == "yes":
            for layer in model.model.layers:
                if isinstance(layer, DecoderLayer):
                    layer.compile()
        return model.train(), dropout_seed

    def write(self, out: Path, model: Llama, tokenizer_folder: Path) -> None:
        """Write `model/`, a plain folder with the adapters in its weights, and `adapter/`, the
        adapters alone as PEFT reads them.

        Raises:
            DiskFullError: no space is left.
        """
        config = model.config
        write_model_folder(
            out / "model", config, self._merged(model), tokenizer_folder, torch.float32
        )
        write_adapter_folder(out / "adapter", model, self.settings, self.base_name)

    def _dtype(self, arithmetic: Arithmetic) -> torch.dtype:
        if self.base_weights == "auto":
            return arithmetic.dtype
        return torch.float32 if self.base_weights == "fp32" else torch.bfloat16

    def _merged(self, model: Llama) -> Callable[[Sequence[str]], dict[str, Tensor]]:
        """Reads weights by name, float32: those of the base with what the adapters add."""
        adapters = adapters_of(model)

        def read(names: Sequence[str]) -> dict[str, Tensor]:
            tensors = read_weights(self.folder, names, torch.float32)
            for name in names:
                adapter = adapters.get(name.removesuffix(".weight"))
                if adapter is not None:
                    tensors[name] = merged_weight(tensors[name], adapter)
            return tensors

        return read


def merged_weight(weight_ON: Tensor, adapter: LoraLinear) -> Tensor:
    """A weight of the base with its adapter's product added, float32 on the CPU."""
    return weight_ON.float().cpu() + adapter.change().cpu()


def _set_weight(model: Llama, name: str, tensor: Tensor) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Parameter(tensor, requires_grad=False))


def _check_memory(
    config: ModelConfig, settings: LoraSettings, dtype: torch.dtype, arithmetic: Arithmetic
) -> None:
    """The base, and weights, gradients and moments of the adapters; activations come on top."""
    needed = config.parameters * dtype.itemsize + adapter_parameters(config, settings) * 16
    if arithmetic.device.type == "cuda":
        free = torch.cuda.mem_get_info(arithmetic.device)[0]
    else:
        free = psutil.virtual_memory().available
    if needed > free:
        raise DoesNotFitError(
            f"the frozen model and its adapters need {needed / 2**30:,.1f} GiB, "
            f"{free / 2**30:,.1f} GiB are free",
            hint='hold the base in fewer bits: --set tune.base_weights="int4"',
        )


def adapter_parameters(config: ModelConfig, settings: LoraSettings) -> int:
    """Numbers in all adapters of a model."""
    with torch.device("meta"):
        layer = DecoderLayer(config, 0)
    sizes = [
        item.in_features + item.out_features
        for name, item in layer.named_modules()
        if isinstance(item, nn.Linear) and name.rpartition(".")[2] in settings.targets
    ]
    return settings.rank * sum(sizes) * config.num_hidden_layers
