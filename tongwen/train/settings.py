"""Settings shared by pretrain, extend and tune: what a recipe's [train] may hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tongwen.errors import RecipeError
from tongwen.model.settings import ModelSettings
from tongwen.settings import PathText
from tongwen.train.data.batches import BatchPlan
from tongwen.train.data.mixture_settings import MixtureStage, check_mixture
from tongwen.train.parallel.settings import ParallelSettings


@dataclass(frozen=True, kw_only=True)
class CompletePSettings:
    """The small model that initial deviation and learning rates were found on; see
    `parametrization`. Rates of this run are given as for that model.
    """

    base_hidden_size: int
    """Its `model.hidden_size`."""
    base_layers: int
    """Its `model.num_hidden_layers`."""

    def __post_init__(self) -> None:
        for name in ("base_hidden_size", "base_layers"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}", hint="use 1 or more")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One optimisation run. Units are in the names; tokens are tokenizer tokens."""

    max_tokens: int
    """Stop after this many training tokens, rounded up to whole batches."""
    sequence_tokens: int = 4_096
    """Tokens of a training sequence; at most the model's positions."""
    separate_documents: bool = True
    """Documents packed into one sequence do not see each other, and positions restart."""
    batch_tokens: int = 4_194_304
    """Tokens per optimizer step, over all micro-batches and processes."""
    micro_batch_tokens: int | None = None
    """Tokens that one process works on at once (on a CPU in two passes side by side); the
    (initial) batch when absent."""
    initial_batch_tokens: int | None = None
    """Batch at the beginning; it doubles up to `batch_tokens` over `batch_ramp_share`."""
    batch_ramp_share: float = 0.05
    """Share of the tokens over which the batch grows."""
    peak_learning_rate: float = 3e-4
    """Learning rate after warm-up."""
    final_learning_rate_share: float = 0.1
    """Learning rate at the end, as a share of the peak."""
    warmup_share: float = 0.02
    """Share of the tokens over which the learning rate rises from zero."""
    warmup_tokens: float | None = None
    """Tokens of warm-up, in place of `warmup_share`: the same for runs of every length."""
    decay: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """`wsd` holds the peak and decays over the last `decay_share`. A run with a larger
    `max_tokens` or another decay continues from the last checkpoint before the decay, which is
    always kept. `linear` with a final share of 0 is linear-to-zero."""
    decay_share: float = 0.2
    """Share of the tokens over which `wsd` decays, as 1 - sqrt (Hägele et al. 2024,
    arXiv:2405.18392)."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """`muon` updates the layers' matrices with Muon and the rest with AdamW, at the same
    rate."""
    weight_decay: float = 0.1
    """Weight decay of matrices; norms do not decay."""
    adam_betas: tuple[float, float] = (0.9, 0.95)
    """Decay of AdamW's running means of the gradient and of its square."""
    muon_momentum: float = 0.95
    """Nesterov momentum of Muon."""
    complete_p: CompletePSettings | None = None
    """Scale initial weights and rates so that those found on a small model hold for this one."""
    gradient_clip: float = 1.0
    """Largest norm of the whole gradient; a larger one is scaled down."""
    z_loss: float = 0.0
    """Weight of the squared log of the softmax's normaliser (PaLM, Chowdhery et al. 2022,
    arXiv:2204.02311, section 5, uses 1e-4): keeps the logits from drifting."""
    head_gradient_samples: int | None = None
    """Estimate the output head's gradient from this many samples of each token's predicted
    distribution (256 are enough, see docs/decisions/0005), at a third of the head's products:
    worth it where the head is a large part of the model and products are slow, as in float32 on a
    CPU. `false` computes it in full."""
    spike_sigmas: float | None = 6.0
    """A step whose loss or gradient norm is this many standard deviations above the last 128 is
    skipped; `false` skips only what is not finite."""
    rollbacks: int = 3
    """After ten skipped steps in a row the run returns to its last checkpoint and skips their
    data, at most this often; then it fails."""
    hang_minutes: float | None = 60.0
    """Minutes after which a step counts as hung: the process ends with a traceback of every
    thread, so that a supervisor can restart it."""
    parallel: ParallelSettings = field(default_factory=ParallelSettings)
    """How the run is split over processes; torchrun starts them."""
    recompute: Literal["none", "cheap", "layer"] = "none"
    """What the backward pass computes again instead of keeping it: nothing, all but matrix products
    and attention, or whole layers."""
    compile: Literal["auto", "yes", "no"] = "auto"
    """Compile each layer with torch.compile; `auto` does on a GPU."""
    changed_run: Literal["refuse", "restart"] = "refuse"
    """What to do when the output folder holds an unfinished run with other settings or data
    from which this one cannot branch: `refuse` stops and names what changed, `restart` starts a
    new run next to it."""
    checkpoint_every_steps: int = 1_000
    """Steps between two checkpoints."""
    checkpoint_in_background: Literal["auto", "yes", "no"] = "auto"
    """Continue training while a checkpoint is written from a copy in the CPU's memory; `auto`
    does on a GPU."""
    hours_between_failures: float | None = None
    """Mean time between failures of the machine, in hours. With it, checkpoints are written at
    the interval that loses the least time (Young 1974); `checkpoint_every_steps` holds only
    until a save has been timed."""
    keep_checkpoints: int = 2
    """Newest checkpoints that are kept until the run is finished."""
    keep_every_steps: int | None = None
    """Write a checkpoint every this many steps and keep it permanently."""
    average_last: int | None = None
    """Number of checkpoints, the last step among them, whose mean is the model; the regular
    ones are kept until then. The mean's loss is measured too (Kaddour 2022,
    arXiv:2209.14981)."""
    evaluate_every_steps: int = 500
    """Steps between two measurements of the validation loss."""
    validation_tokens: int = 1_000_000
    """Tokens of each validation language that are scored, at most."""
    sample_prompts: tuple[str, ...] = ()
    """Texts that the model continues, and tuning answers, whenever the validation loss is measured;
    the report shows what it wrote. One process only."""
    sample_tokens: int = 48
    """Longest text after each of `sample_prompts`."""
    trackers: tuple[Literal["wandb", "mlflow", "trackio"], ...] = ()
    """Experiment trackers to report the run to; their Python packages must be installed.
    TensorBoard's files are written in any case."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Data type of training; `auto` is bf16 where the CPU or GPU multiplies it in hardware,
    else fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device; `auto` is the GPU if there is one."""
    seed: int = 1862
    """Seed of the initial weights and of the order of the data."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.batches.steps

    @property
    def batches(self) -> BatchPlan:
        """Tokens of each step."""
        return BatchPlan.of(
            self.max_tokens,
            self.batch_tokens,
            self.initial_batch_tokens,
            self.batch_ramp_share * self.max_tokens,
        )

    @property
    def sequences_per_micro_batch(self) -> int:
        return self._micro_batch_tokens // self.sequence_tokens

    @property
    def _micro_batch_tokens(self) -> int:
        return self.micro_batch_tokens or self.initial_batch_tokens or self.batch_tokens

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise RecipeError(f"{name} is {value}", hint="use a number greater than 0")
        for name in _SHARES:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise RecipeError(f"{name} is {value}", hint="use a number from 0 to 1")
        for beta in self.adam_betas:
            if not 0 <= beta < 1:
                raise RecipeError(
                    f"adam_betas are {self.adam_betas}", hint="each is at least 0 and below 1"
                )
        if self.head_gradient_samples is not None and self.parallel.tensor > 1:
            raise RecipeError(
                f"head_gradient_samples is {self.head_gradient_samples}, but parallel.tensor, "
                f"{self.parallel.tensor}, cuts the head over processes",
                hint="leave out one of the two; a model that needs tensor parallelism gains little "
                "from sampling",
            )
        micro_batch_tokens = self._micro_batch_tokens
        if micro_batch_tokens % self.sequence_tokens:
            named = ("micro_batch_tokens", "initial_batch_tokens", "batch_tokens")
            name = next(name for name in named if getattr(self, name))
            raise RecipeError(
                f"{name} is {micro_batch_tokens}, not a multiple of sequence_tokens, "
                f"{self.sequence_tokens}",
                hint=f"{name} = {_next_multiple(micro_batch_tokens, self.sequence_tokens)}",
            )
        initial_batch_tokens = self.initial_batch_tokens or self.batch_tokens
        if initial_batch_tokens % micro_batch_tokens or initial_batch_tokens > self.batch_tokens:
            raise RecipeError(
                f"initial_batch_tokens is {initial_batch_tokens}, not a multiple of "
                f"micro_batch_tokens, {micro_batch_tokens}, up to {self.batch_tokens}",
                hint=f"initial_batch_tokens = {micro_batch_tokens}",
            )
        if self.batch_tokens % micro_batch_tokens:
            raise RecipeError(
                f"batch_tokens is {self.batch_tokens}, not a multiple of micro_batch_tokens, "
                f"{micro_batch_tokens}",
                hint=f"batch_tokens = {_next_multiple(self.batch_tokens, micro_batch_tokens)}",
            )


@dataclass(frozen=True, kw_only=True)
class TextSettings(TrainSettings):
    """Training on the documents of the encode stage, whose languages are known."""

    mixture: Mapping[str, float] | None = None
    """Share of the sequences of each language (`en`, `zh-Hans`, `zh-Hant`, `code`, `other`). They
    need not add up to 1; what is not named is left out. `false` takes every sequence once an
    epoch."""
    mixture_stages: tuple[MixtureStage, ...] = ()
    """Mixtures that follow the first, to end on the best documents (Hu et al. 2024,
    arXiv:2404.06395, section 5)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mixture(self.mixture, self.mixture_stages)


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(TextSettings):
    """Training on plain text."""

    base: PathText | None = None
    """Model folder whose weights to start from, of any Llama in Hugging Face's layout; its shape
    takes the place of the recipe's [model]. Absent, weights are drawn from the seed."""


_SHARES = (
    "warmup_share",
    "batch_ramp_share",
    "decay_share",
    "final_learning_rate_share",
    "weight_decay",
)
_POSITIVE = (
    "initial_batch_tokens",
    "head_gradient_samples",
    "spike_sigmas",
    "hang_minutes",
    "hours_between_failures",
    "max_tokens",
    "sequence_tokens",
    "batch_tokens",
    "micro_batch_tokens",
    "peak_learning_rate",
    "gradient_clip",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "keep_every_steps",
    "average_last",
    "warmup_tokens",
    "evaluate_every_steps",
    "validation_tokens",
    "sample_tokens",
)


def _next_multiple(value: int, unit: int) -> int:
    return -(-value // unit) * unit


@dataclass(frozen=True)
class PretrainJob:
    """What the pretrain stage is handed: the sections `model` and `pretrain`."""

    model: ModelSettings
    pretrain: PretrainSettings
