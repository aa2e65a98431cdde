"""How to cut a run over cards: every layout is tried that the trainer accepts and memory holds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tongwen.errors import DoesNotFitError, RecipeError
from tongwen.model.config import ModelConfig
from tongwen.model.flops import flops_per_token
from tongwen.plan.devices import Device
from tongwen.plan.formulas import Memory, training_memory
from tongwen.train.parallel.check import check_layout
from tongwen.train.parallel.settings import ParallelSettings
from tongwen.train.settings import TrainSettings

PROCESS_BYTES = 3 << 29
"""CUDA's context, NCCL's buffers and loaded kernels: 1.5 GiB (1.5 to 3 are reported)."""

MEMORY_SLACK = 0.08
"""Share of the memory that the allocator cannot use."""

TENSOR_SLACK = 0.15
"""More of it where matrices are cut: the gathered activations of tensor parallelism are not in the
closed form, which then says 21 to 32 % too little (70B on 256 cards, torchtitan's measurements)."""

_CHEAP_RECOMPUTE = 1.03
"""Time of a step that computes norms and activations again; assumed."""

_MOST_CARDS = 4_096
"""Up to so many a refusal looks for a number that would do."""

_LONG_SEQUENCE = 32_768
"""From here on the tokens of one sequence may be cut over cards."""


@dataclass(frozen=True)
class Layout:
    """One way to run, and what it costs.

    Attributes:
        settings: batch, micro-batch, recompute and degrees.
        memory: of one card.
        step_seconds: of one optimizer step.
        slowdown: the step's time beside that of its needed FLOPs at the undisturbed share of peak.
        bubble: share of a step that a pipeline stage waits.
    """

    settings: TrainSettings
    memory: Memory
    step_seconds: float
    slowdown: float
    bubble: float

    @property
    def tokens_per_second(self) -> float:
        """Of all cards together."""
        return self.settings.batch_tokens / self.step_seconds


def best_layout(
    config: ModelConfig,
    wanted: TrainSettings,
    device: Device,
    cards: int,
    mfu: float,
    *,
    may_move_batch: bool = True,
) -> Layout:
    """The layout that trains the most tokens a second.

    Args:
        config: the model.
        wanted: the run; its batch is a wish, which a layout may move by a quarter to a whole number
            of micro-batches where `may_move_batch`.
        device: of which there are `cards`.
        cards: processes of the run.
        mfu: share of peak speed before the layout costs any.
        may_move_batch: whether the batch is a wish.

    Raises:
        DoesNotFitError: no layout that the trainer accepts fits into memory, with the least that
            one needs; or the trainer accepts none.
    """
    found = _search(config, wanted, device, cards, mfu, may_move_batch)
    if found.best is not None:
        return found.best
    least = found.least
    if least is None:
        fewer = (cards >> n for n in range(1, cards.bit_length()))
        raise DoesNotFitError(
            f"no layout of {cards:,} cards can run this model: {found.refusal}",
            hint=_other_cards(fewer, config, wanted, device, mfu, may_move_batch)
            or "another batch, or a smaller model",
        )
    more = (cards << n for n in range(1, (_MOST_CARDS // cards).bit_length()))
    raise DoesNotFitError(
        f"no layout fits: the smallest needs {_needed(least) / 2**30:,.1f} GiB on each of "
        f"{cards:,} {device.name}, which have {device.memory_gib:,.1f} "
        f"({degrees_text(least.settings)}, recompute {least.settings.recompute})",
        hint=_other_cards(more, config, wanted, device, mfu, may_move_batch)
        or "a smaller model or shorter sequences",
    )


def _other_cards(
    counts: Iterable[int],
    config: ModelConfig,
    wanted: TrainSettings,
    device: Device,
    mfu: float,
    may_move_batch: bool,
) -> str | None:
    """The first number of cards that a layout exists for, as a hint."""
    for count in counts:
        if _search(config, wanted, device, count, mfu, may_move_batch).best is not None:
            return f"--gpus {count}, or a smaller model"
    return None


@dataclass
class _Found:
    """What a search came to.

    Attributes:
        best: that fits, by tokens a second.
        least: that needs the least memory, whether it fits or not.
        refusal: what the trainer said of a layout that it refused.
    """

    best: Layout | None = None
    least: Layout | None = None
    refusal: str = "no batch near the one that is asked for can be cut into whole sequences"


def _search(
    config: ModelConfig,
    wanted: TrainSettings,
    device: Device,
    cards: int,
    mfu: float,
    may_move_batch: bool,
) -> _Found:
    found = _Found()
    for settings in _candidates(config, wanted, device, cards, may_move_batch):
        try:
            check_layout(config, settings, cards)
        except RecipeError as error:
            found.refusal = error.message
            continue
        layout = _costed(config, settings, device, cards, mfu)
        if found.least is None or _needed(layout) < _needed(found.least):
            found.least = layout
        if _needed(layout) > device.memory_bytes:
            continue
        # Of equals the first is the simplest: a hair's breadth is no reason for more degrees.
        if found.best is None or layout.tokens_per_second > found.best.tokens_per_second * 1.0001:
            found.best = layout
    return found


def _needed(layout: Layout) -> float:
    """Bytes of a card that must be there for it."""
    slack = MEMORY_SLACK + (TENSOR_SLACK if layout.settings.parallel.tensor > 1 else 0.0)
    return layout.memory.total * (1 + slack)


def degrees_text(settings: TrainSettings) -> str:
    """The degrees that are not 1: `shard 16 x tensor 4`."""
    degrees = settings.parallel
    named = {
        "pipeline": degrees.pipeline,
        "replicate": degrees.replicate,
        "shard": degrees.shard or 1,
        "context": degrees.context,
        "tensor": degrees.tensor,
    }
    return " x ".join(f"{name} {n}" for name, n in named.items() if n > 1) or "one process"


def _candidates(
    config: ModelConfig,
    wanted: TrainSettings,
    device: Device,
    cards: int,
    may_move_batch: bool,
) -> Iterator[TrainSettings]:
    sequence = wanted.sequence_tokens
    for degrees in _degrees(config, device, cards, sequence):
        parts = degrees.replicate * (degrees.shard or 1)
        for rows in (1, 2, 4, 8, 16, 32):
            unit = parts * rows * sequence
            batch = wanted.batch_tokens
            if may_move_batch:
                batch = max(1, round(batch / unit)) * unit
            if not 0.75 <= batch / wanted.batch_tokens <= 1.25 or rows * sequence > batch:
                continue
            for recompute in ("none", "cheap", "layer"):
                yield replace(
                    wanted,
                    batch_tokens=batch,
                    initial_batch_tokens=None,
                    micro_batch_tokens=rows * sequence,
                    recompute=recompute,
                    parallel=degrees,
                )


def _degrees(
    config: ModelConfig, device: Device, cards: int, sequence_tokens: int
) -> Iterator[ParallelSettings]:
    """Degrees that multiply to `cards`; matrices and sequences are cut within a node first."""
    node = min(device.cards_per_node, cards)
    contexts = [1]
    if sequence_tokens >= _LONG_SEQUENCE:
        contexts = [n for n in _divisors(cards) if n <= 64]
    for tensor in _divisors(node):
        for context in contexts:
            for pipeline in _divisors(cards):
                if pipeline > min(16, config.num_hidden_layers):
                    continue
                rest, left = divmod(cards, tensor * context * pipeline)
                if left:
                    continue
                for shard in _divisors(rest):
                    if shard * context < min(rest * context, 8):
                        continue  # copies of whole weights waste what sharing saves
                    yield ParallelSettings(
                        pipeline=pipeline,
                        replicate=rest // shard,
                        shard=shard,
                        context=context,
                        tensor=tensor,
                    )


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _costed(
    config: ModelConfig, settings: TrainSettings, device: Device, cards: int, mfu: float
) -> Layout:
    memory = training_memory(
        config,
        settings,
        bf16=device.uses_bf16,
        on_cpu=device.is_cpu,
        process_bytes=0 if device.is_cpu else PROCESS_BYTES,
    )
    degrees = settings.parallel
    parts = degrees.replicate * (degrees.shard or 1)
    micro = settings.sequences_per_micro_batch * settings.sequence_tokens
    micro_batches = settings.batch_tokens // (parts * micro)
    flops = flops_per_token(config, settings.sequence_tokens).full
    share = degrees.pipeline * degrees.tensor * degrees.context
    needed = micro * flops / share / (device.peak_flops * mfu)
    compute = needed * _recompute_factor(config, settings)
    exposed = _exposed_seconds(config, settings, device, micro)
    one = max(compute, _shard_seconds(config, settings, device)) + exposed
    step = one * (micro_batches + degrees.pipeline - 1)
    bubble = (degrees.pipeline - 1) / (micro_batches + degrees.pipeline - 1)
    return Layout(settings, memory, step, step / (needed * micro_batches), bubble)


def _recompute_factor(config: ModelConfig, settings: TrainSettings) -> float:
    """Work of a step beside what it needs: `layer` runs each layer's forward pass, a third of its
    work, twice.
    """
    if settings.recompute == "none":
        return 1.0
    if settings.recompute == "cheap":
        return _CHEAP_RECOMPUTE
    whole = flops_per_token(config, settings.sequence_tokens).full
    head = 6 * config.vocabulary_size * config.hidden_size
    return 1 + (whole - head) / whole / 3


def _shard_seconds(config: ModelConfig, settings: TrainSettings, device: Device) -> float:
    """FSDP's traffic for one micro-batch, which overlaps with work: weights are gathered twice in
    bfloat16 and gradients scattered in float32, 8 bytes a parameter; copies of the weights add
    their own float32 gradients.
    """
    degrees = settings.parallel
    sharing = (degrees.shard or 1) * degrees.context
    here = config.parameters / (degrees.pipeline * degrees.tensor)
    seconds = 0.0
    if sharing > 1:
        speed = _group_speed(device, degrees.tensor, sharing)
        seconds += 8 * here * (sharing - 1) / sharing / speed
    if degrees.replicate > 1:
        speed = _group_speed(device, degrees.tensor * sharing, degrees.replicate)
        seconds += 2 * 4 * here / sharing * (degrees.replicate - 1) / degrees.replicate / speed
    return seconds


def _exposed_seconds(
    config: ModelConfig, settings: TrainSettings, device: Device, micro_tokens: int
) -> float:
    """Traffic of one micro-batch that work waits for.

    Tensor: four gathers or scatters of the tokens a layer forward, as many backward (Korthikanti
    et al. 2022, arXiv:2205.05198). Context: keys and values of the whole sequence, gathered forward
    and backward, and their gradients scattered. Pipeline: the residual stream to the next stage and
    its gradient back.
    """
    degrees = settings.parallel
    tokens = micro_tokens / degrees.context
    layers = config.num_hidden_layers / degrees.pipeline
    seconds = 0.0
    if degrees.tensor > 1:
        moved = 8 * layers * 2 * tokens * config.hidden_size
        speed = _group_speed(device, 1, degrees.tensor)
        seconds += moved * (degrees.tensor - 1) / degrees.tensor / speed
    if degrees.context > 1:
        key_value = 2 * config.num_key_value_heads * config.head_dim / degrees.tensor
        moved = 3 * layers * 2 * micro_tokens * key_value
        speed = _group_speed(device, degrees.tensor, degrees.context)
        seconds += moved * (degrees.context - 1) / degrees.context / speed
    if degrees.pipeline > 1:
        seconds += 2 * 2 * tokens / degrees.tensor * config.hidden_size / (device.network_gbs * 1e9)
    return seconds


def _group_speed(device: Device, inner: int, size: int) -> float:
    """Bytes a second that each member of a group passes on, when `inner` neighbouring cards belong
    to one member's place.

    Within a node the links decide; across nodes what enters a node, over the network of those of
    its cards that are in the group.
    """
    link = device.link_gbs * 1e9
    if inner * size <= device.cards_per_node:
        return link
    in_node = max(1, min(size, device.cards_per_node // inner))
    return min(link, in_node * device.network_gbs * 1e9)
