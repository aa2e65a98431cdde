"""Closed forms: memory of training a Llama model on one process."""

from dataclasses import dataclass

from tongwen.model.attention import MATRIX_ATTENTION_TOKENS
from tongwen.model.config import ModelConfig
from tongwen.train.loss.cross_entropy import most_chunk_tokens
from tongwen.train.optim.schedule import last_constant_step
from tongwen.train.settings import TrainSettings


@dataclass(frozen=True)
class Memory:
    """Bytes that one training process holds at its peak."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    process: int

    @property
    def total(self) -> int:
        return (
            self.weights
            + self.gradients
            + self.optimizer
            + self.activations
            + self.logits
            + self.process
        )


def training_memory(
    config: ModelConfig,
    settings: TrainSettings,
    *,
    bf16: bool,
    on_cpu: bool,
    process_bytes: int,
    lanes: int = 1,
) -> Memory:
    """What `tongwen.train.loop` needs, term by term.

    Weights, gradients and both Adam moments are float32, 16 bytes a parameter (12 where Muon
    keeps one momentum in their place), cut over all processes but the replicas; with bf16 each step
    also holds a rounded copy of the matrices, of FSDP's two layers at a time. Activations are what
    the backward pass of a micro-batch reads again: per layer and token four of hidden size (two
    residuals, two normed), queries and attention outputs, keys and values, and four of
    intermediate size; fewer when they are computed again. The first stage of a pipeline holds as
    many micro-batches as there are stages, of its own layers. Each lane has its own rounded
    matrices, logits and gradient of the head.
    `process_bytes` is what the process holds before training: interpreter and libraries.
    """
    size = 2 if bf16 else 4
    tokens = settings.sequences_per_micro_batch * settings.sequence_tokens
    query = config.num_attention_heads * config.head_dim
    key_value = config.num_key_value_heads * config.head_dim
    kept = {
        "none": 4 * config.hidden_size + 2 * query + 2 * key_value + 4 * config.intermediate_size,
        "cheap": 2 * config.hidden_size + 2 * query + 2 * key_value + 2 * config.intermediate_size,
        "layer": config.hidden_size,
    }[settings.recompute]
    if bf16 and on_cpu and settings.sequence_tokens <= MATRIX_ATTENTION_TOKENS:
        kept += config.num_attention_heads * settings.sequence_tokens  # attention weights
    # The layer in hand: its gradients, and the float32 copies norms and rotations work on.
    in_hand = 12 * config.hidden_size + 3 * config.intermediate_size
    degrees = settings.parallel
    sharing = degrees.context * (degrees.shard or 1)
    parts = degrees.pipeline * degrees.tensor
    tokens //= degrees.context * degrees.tensor
    gathered = config.parameters // parts
    if sharing > 1:
        outer = config.parameters - config.num_hidden_layers * config.parameters_per_layer
        gathered = (2 * config.parameters_per_layer + outer) // degrees.tensor
    copies = size * gathered if bf16 or sharing > 1 else 0
    most = most_chunk_tokens(config.vocabulary_size, size, on_gpu=not on_cpu)
    # A GPU has the whole chunk's probabilities beside its logits.
    chunk = (size if on_cpu else size + 4) * min(tokens // lanes, most) * config.vocabulary_size
    head = 4 * config.vocabulary_size * config.hidden_size
    # Of each sample drawn for the head's gradient: piece, its place before and after sorting.
    drawn = 36 * tokens * (settings.head_gradient_samples or 0)
    return Memory(
        weights=config.parameters * 4 // (parts * sharing) + lanes * copies,
        gradients=config.parameters * 4 // (parts * sharing) + (lanes - 1) * head,
        optimizer=_optimizer_bytes(config, settings) // (parts * sharing),
        activations=tokens * size * (config.num_hidden_layers * kept + in_hand),
        logits=lanes * chunk + size * tokens * config.hidden_size + drawn,
        process=process_bytes,
    )


def _optimizer_bytes(config: ModelConfig, settings: TrainSettings) -> int:
    vocabularies = 1 if config.tie_word_embeddings else 2
    outer = vocabularies * config.vocabulary_size * config.hidden_size
    if settings.optimizer == "muon":
        return 4 * (config.parameters - outer) + 8 * outer
    return 8 * config.parameters


def checkpoint_bytes(config: ModelConfig, settings: TrainSettings) -> int:
    """Disk for the checkpoints kept, the one being written, and the float32 model folder."""
    milestones = settings.steps // settings.keep_every_steps if settings.keep_every_steps else 0
    newest = max(settings.keep_checkpoints, settings.average_last or 0)
    kept = newest + 1 + milestones + (last_constant_step(settings) is not None)
    return state_bytes(config, settings) * kept + 4 * config.parameters


def state_bytes(config: ModelConfig, settings: TrainSettings) -> int:
    """One checkpoint, over all processes: float32 weights and the optimizer's state."""
    return 4 * config.parameters + _optimizer_bytes(config, settings)
