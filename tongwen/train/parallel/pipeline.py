"""Pipeline parallelism: each process has some consecutive layers (torch.distributed.pipelining).

Micro-batches follow one another through the stages, one forward and one backward in turn once the
pipe is full (1F1B: Narayanan et al. 2021, arXiv:2104.04473, section 2.2).
"""

from torch import Tensor, nn

from tongwen.errors import RecipeError
from tongwen.model.config import ModelConfig
from tongwen.model.llama import Llama


class PassThrough(nn.Module):
    """Stands where another process has the module."""

    def forward(self, x: Tensor, *_: object) -> Tensor:
        return x


def check_pipeline_degree(config: ModelConfig, degree: int) -> None:
    """Refuse more stages than there are layers, and a head that two stages would share.

    Raises:
        RecipeError: with what is asked for and what there is.
    """
    if degree > config.num_hidden_layers:
        raise RecipeError(
            f"parallel.pipeline is {degree}, the model has {config.num_hidden_layers} layers",
            hint="a stage needs at least one layer",
        )
    if degree > 1 and config.tie_word_embeddings:
        raise RecipeError(
            f"parallel.pipeline is {degree}, but the model ties its embedding to its output head, "
            "which are then in different stages",
            hint="set model.tie_word_embeddings = false, or use the other kinds of parallelism",
        )


def layers_of_stage(layers: int, stages: int, stage: int) -> range:
    """Layers of one stage; the later ones get one more when they do not divide: the first stage
    has the embedding besides, and holds the most micro-batches.
    """
    return range(layers * stage // stages, layers * (stage + 1) // stages)


def keep_stage(model: Llama, stages: int, stage: int) -> None:
    """Take out of `model` what other stages have; the names of what stays do not change."""
    here = layers_of_stage(len(model.model.layers), stages, stage)
    for number in range(len(model.model.layers)):
        if number not in here:
            model.model.layers[number] = PassThrough()
    if stage > 0:
        model.model.embed_tokens = PassThrough()  # type: ignore[assignment]
    if stage < stages - 1:
        model.model.norm = PassThrough()  # type: ignore[assignment]
        model.lm_head = PassThrough()  # type: ignore[assignment]
