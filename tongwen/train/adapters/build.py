"""A frozen model with adapters, from a model folder and back to one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from tongwen.errors import DoesNotFitError
from tongwen.files import file_digest
from tongwen.model.adapter_folder import write_adapter_folder
from tongwen.model.config import ModelConfig
from tongwen.model.device import Arithmetic, free_memory_bytes
from tongwen.model.folder import (
    WEIGHTS,
    read_config,
    read_weights,
    stream_weights,
    write_model_folder,
)
from tongwen.model.llama import DecoderLayer, Llama
from tongwen.model.quantized.folder import (
    base_config_values,
    is_quantized_folder,
    load_any_model,
)
from tongwen.model.quantized.grid import Bits
from tongwen.model.quantized.linear import QuantizedEmbedding, QuantizedLinear
from tongwen.train.adapters.lora import DropoutSeed, LoraLinear, adapters_of, add_adapters
from tongwen.train.adapters.settings import LoraSettings
from tongwen.train.parallel.recompute import recompute_activations
from tongwen.train.settings import TrainSettings
from tongwen.train.weights import FolderWeights, WeightSource

BaseWeights = Literal["auto", "fp32", "bf16", "int8", "int4"]

_BITS: dict[str, Bits] = {"int8": 8, "int4": 4}
_GROUP_SCALE_BYTES = 2 / 32
_FILE_BYTES = 500_000_000
"""Of the merged weights: a file's are in memory while it is written, and no more than training
needed shall be."""


@dataclass(frozen=True)
class Adapters:
    """Which adapters a run trains, and on which frozen base.

    Attributes:
        folder: model folder of the base.
        settings: of the adapters.
        base_weights: how the base is held; a quantized folder's layers are as they are there.
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
        dtype, bits = self._dtype(arithmetic), _BITS.get(self.base_weights)
        _check_memory(config, self.settings, dtype, bits, arithmetic)
        if is_quantized_folder(self.folder):
            model = _from_quantized_folder(self.folder, dtype, arithmetic.device)
        else:
            with torch.device("meta"):
                model = Llama(config)
            # Rounded from the numbers of the folder: bfloat16 in between would move every scale.
            read = dtype if bits is None else torch.float32
            for name, tensor in stream_weights(self.folder, config, read, arithmetic.device):
                _set_weight(model, name, tensor, dtype, bits)
            if config.tie_word_embeddings:
                model.lm_head.weight = model.model.embed_tokens.weight
        for module in model.modules():
            if isinstance(module, QuantizedLinear):
                module.rounds_activations = False
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
            out / "model",
            config,
            self._merged(model),
            tokenizer_folder,
            torch.float32,
            file_bytes=_FILE_BYTES,
        )
        adapters = adapters_of(model)
        write_adapter_folder(
            out / "adapter",
            {name: (item.lora_A, item.lora_B) for name, item in adapters.items()},
            alpha=self.settings.alpha,
            dropout=self.settings.dropout,
            targets=self.settings.targets,
            base_name=self.base_name,
        )

    def _dtype(self, arithmetic: Arithmetic) -> torch.dtype:
        named = {"fp32": torch.float32, "bf16": torch.bfloat16}
        return named.get(self.base_weights, arithmetic.dtype)

    def _merged(self, model: Llama) -> Callable[[Sequence[str]], dict[str, Tensor]]:
        """Reads weights by name, float32: those of the base with what the adapters add.

        Where the base is held in 8 or 4 bits, the adapters have learnt with its rounded weights and
        are added to those.
        """
        adapters = adapters_of(model)
        held = {name.replace(".base", ""): item for name, item in model.named_parameters()}
        is_stored_plain = not is_quantized_folder(self.folder)

        def base_weight(name: str) -> Tensor:
            module = model.get_submodule(name.rpartition(".")[0])
            base = module.base if isinstance(module, LoraLinear) else module
            if isinstance(base, QuantizedLinear):
                if name.endswith(".weight"):
                    return base.dequantize().cpu()
                assert base.bias is not None
                return base.bias.float().cpu()
            if is_stored_plain:  # wider than it may be held
                return read_weights(self.folder, [name], torch.float32)[name]
            return held[name].detach().float().cpu()

        def read(names: Sequence[str]) -> dict[str, Tensor]:
            tensors = {}
            for name in names:
                tensors[name] = base_weight(name)
                adapter = adapters.get(name.removesuffix(".weight"))
                if adapter is not None:
                    tensors[name] = merged_weight(tensors[name], adapter)
            return tensors

        return read


def merged_weight(weight_ON: Tensor, adapter: LoraLinear) -> Tensor:
    """A weight of the base with its adapter's product added, float32 on the CPU."""
    return weight_ON.float().cpu() + adapter.change().cpu()


class FrozenFolderWeights(WeightSource):
    """Names the weights of a quantized folder, which only adapters can be trained on."""

    def __init__(self, folder: Path, config: ModelConfig) -> None:
        self.config = config
        self._folder = folder

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        raise NotImplementedError("quantized weights stay where they are")

    def digest(self) -> str:
        return file_digest(self._folder / WEIGHTS)


def base_of(folder: Path) -> WeightSource:
    """The weights and the shape of a model folder, plain or quantized.

    Raises:
        InputError: the folder or its `config.json` is missing or cannot be read.
    """
    if (folder / "config.json").is_file() and is_quantized_folder(folder):
        values = base_config_values(folder)
        config = ModelConfig.from_huggingface(values, str(folder / "config.json"))
        return FrozenFolderWeights(folder, config)
    return FolderWeights(folder, read_config(folder))


def _from_quantized_folder(folder: Path, dtype: torch.dtype, device: torch.device) -> Llama:
    """Its layers as they are; embedding and head as numbers, which the loss multiplies with."""
    model, config = load_any_model(folder, dtype, device)
    for name in ("model.embed_tokens", "lm_head"):
        module = model.get_submodule(name)
        matrix = module.matrix if isinstance(module, QuantizedEmbedding) else module
        if isinstance(matrix, QuantizedLinear):
            plain: nn.Module
            with torch.device("meta"):
                plain = Llama(config).get_submodule(name)
            plain.weight = nn.Parameter(matrix.dequantize(dtype), requires_grad=False)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, plain)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    return model


def _set_weight(
    model: Llama, name: str, tensor: Tensor, dtype: torch.dtype, bits: Bits | None
) -> None:
    """Put a weight into a model without memory: a projection of a layer rounded to `bits`, if that
    is wanted, all else as `dtype`.
    """
    parent, _, child = name.rpartition(".")
    module = model.get_submodule(parent)
    is_projection = name.startswith("model.layers.") and isinstance(module, nn.Linear)
    if bits is not None and is_projection and child == "weight":
        assert isinstance(module, nn.Linear)
        plain = nn.Linear(module.in_features, module.out_features, bias=False, device="meta")
        plain.weight = nn.Parameter(tensor, requires_grad=False)
        rounded = QuantizedLinear.of(plain, bits)
        if module.bias is not None:
            rounded.bias = module.bias.detach()  # without memory until its turn comes
        outer, _, inner = parent.rpartition(".")
        setattr(model.get_submodule(outer), inner, rounded)
    elif isinstance(module, QuantizedLinear):
        module.bias = tensor.to(dtype)
    else:
        setattr(module, child, nn.Parameter(tensor.to(dtype), requires_grad=False))


def _check_memory(
    config: ModelConfig,
    settings: LoraSettings,
    dtype: torch.dtype,
    bits: Bits | None,
    arithmetic: Arithmetic,
) -> None:
    """The base, and weights, gradients and moments of the adapters; activations come on top."""
    size = dtype.itemsize if bits is None else bits / 8 + _GROUP_SCALE_BYTES
    heads = 1 if config.tie_word_embeddings else 2
    outside = heads * config.vocabulary_size * config.hidden_size
    needed = (config.parameters - outside) * size + outside * dtype.itemsize
    needed += adapter_parameters(config, settings) * 16
    free = free_memory_bytes(arithmetic.device)
    if needed > free:
        raise DoesNotFitError(
            f"the frozen model and its adapters need {needed / 2**30:,.1f} GiB, "
            f"{free / 2**30:,.1f} GiB are free",
            hint="hold the base in fewer bits: --set tune.base_weights=int4"
            if bits != 4
            else "choose a smaller model",
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
