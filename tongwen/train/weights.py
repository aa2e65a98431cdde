"""Where the first weights of a run come from, tensor by tensor: no process holds a second model."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import torch
import xxhash
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from tongwen.errors import InputError
from tongwen.model.config import ModelConfig
from tongwen.model.folder import read_config, stream_weights
from tongwen.model.llama import initial_weights
from tongwen.model.settings import ModelSettings
from tongwen.stages import find_model_folder
from tongwen.tokenizer.folder import has_tokenizer
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.optim.parametrization import scale_of
from tongwen.train.settings import PretrainSettings, TrainSettings


class WeightSource(ABC):
    """All weights of a model, one after the other, float32 on the CPU."""

    config: ModelConfig

    @abstractmethod
    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Name and whole tensor of every parameter, each once; the same at every call."""

    @abstractmethod
    def digest(self) -> str:
        """Names the values."""


class InitialWeights(WeightSource):
    """Weights drawn from a seed, scaled as the settings' parametrization says."""

    def __init__(self, config: ModelConfig, settings: TrainSettings) -> None:
        self.config = config
        self._settings = settings

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in initial_weights(self.config, self._settings.seed):
            yield name, tensor.mul_(scale_of(name, self.config, self._settings).initial)

    def digest(self) -> str:
        return f"drawn from seed {self._settings.seed}"


class FolderWeights(WeightSource):
    """Weights of a model folder, for a model that may differ in what is no weight.

    Args:
        folder: a Hugging Face folder.
        config: of the model to train; its tensors are the folder's.
    """

    def __init__(self, folder: Path, config: ModelConfig) -> None:
        self.config = config
        self._folder = folder

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        return stream_weights(self._folder, self.config, torch.float32)

    def digest(self) -> str:
        state = xxhash.xxh3_128()
        for name, tensor in self.tensors():
            state.update(name.encode())
            state.update(tensor.contiguous().view(torch.uint8).numpy().data)
        return state.hexdigest()


def config_to_start_from(
    shape: ModelSettings, settings: PretrainSettings | None, vocabulary_size: int
) -> ModelConfig:
    """The shape that pretraining has: of its base model if there is one, else the recipe's.

    Raises:
        InputError: the base model's folder cannot be read.
    """
    if settings is None or settings.base is None:
        return ModelConfig.from_settings(shape, vocabulary_size)
    return read_config(find_model_folder(Path(settings.base)))


def check_tokenizer(
    folder: Path, config: ModelConfig, *, pieces: int, digest: str, data: str = "shards"
) -> None:
    """Ids to train on must mean to the model in `folder` what they meant to their tokenizer.

    Args:
        folder: of the model to start from.
        config: of that model.
        pieces: of the tokenizer that made the ids.
        digest: of that tokenizer.
        data: what holds the ids, for messages.

    Raises:
        InputError: the model knows fewer pieces, or has another tokenizer.
    """
    if pieces > config.vocabulary_size:
        raise InputError(
            f"the tokenizer of the {data} has {pieces:,} pieces, the model in {folder} "
            f"knows {config.vocabulary_size:,}",
            hint="encode them with the model's own tokenizer",
        )
    if has_tokenizer(folder):
        own = Tokenizer.load(folder).digest
        if own != digest:
            raise InputError(
                f"the {data} were made with the tokenizer {digest}, the model in {folder} "
                f"has {own}",
                hint="encode them with the model's own tokenizer",
            )


def fill(model: nn.Module, source: WeightSource) -> None:
    """Copy each weight, or this process's part of it, into `model`.

    `model` may lack parameters that other processes have; it has none that the source lacks.
    """
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in source.tensors():
            parameter = parameters.pop(name, None)
            if parameter is None:
                continue
            if isinstance(parameter, DTensor):
                tensor = distribute_tensor(
                    tensor.to(parameter.device),
                    parameter.device_mesh,
                    parameter.placements,
                    src_data_rank=None,
                )
            parameter.copy_(tensor)
    assert not parameters, f"no weights for {sorted(parameters)}"
