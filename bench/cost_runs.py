"""The runs of the efficiency ledger: sizes, the baseline, levers, and how one run is trained.

The baseline is AdamW with a cosine to a tenth, its rate and batch swept at every size, on
deduplicated but unfiltered text, documents laid end to end without masks. A lever is a file of
`bench/levers/`, see its README.md; it changes the baseline. The recipe is the baseline with all
levers that say `in_recipe`.
"""

import importlib.util
import json
import math
import shutil
import time
import tomllib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from record import machine

from tongwen.errors import InputError
from tongwen.files import file_digest, value_digest
from tongwen.model.config import ModelConfig
from tongwen.model.flops import flops_per_token
from tongwen.model.settings import ModelSettings
from tongwen.plan.laws import recommended_rate
from tongwen.progress import Progress
from tongwen.prove.proxies import proxy_shape
from tongwen.train.data.sequences import Batch, Samples
from tongwen.train.data.sources import ShardData
from tongwen.train.job import Job
from tongwen.train.loop import train
from tongwen.train.metrics import METRICS, read_metrics
from tongwen.train.settings import PretrainSettings
from tongwen.train.weights import InitialWeights

LEVERS = Path(__file__).parent / "levers"
LANGUAGES = ("en", "zh")
SEQUENCE_TOKENS = 256
WARMUP_SHARE = 0.03
BASELINE, RECIPE = "baseline", "recipe"
_NEVER = 10**9
_ORTHOGONAL_STEPS = 5


@dataclass(frozen=True)
class Size:
    """A model and how long it is trained.

    Attributes:
        name: as in the tables.
        hidden_size, layers: the rest of the shape follows.
        tokens: of the baseline.
        seeds: how often everything is run.
        rate, batch_tokens: where the baseline's sweep begins.
        sweep_share: of the tokens that each run of the sweep is trained on.
    """

    name: str
    hidden_size: int
    layers: int
    tokens: int
    seeds: int
    rate: float
    batch_tokens: int
    sweep_share: float = 1.0

    @property
    def model(self) -> ModelSettings:
        return proxy_shape(self.hidden_size, self.layers)


@dataclass(frozen=True, kw_only=True)
class Lever:
    """What is changed, as its file says.

    Attributes:
        name: of the file.
        en, zh: what it is, for the page.
        survives_export: whether the model is saved as a plain Llama.
        in_recipe: whether the recipe has it.
        on: what it is measured on, the `baseline` or the `recipe`.
        code: Python file of the folder whose `applied()` is entered while the run trains.
        data: `raw`, `curated`, `whole` or `best`, where it says.
        pretrain, model: settings by name.
        batch_shares: settings by name, in units of the batch.
        rate_factor, batch_factor: of the baseline's rate and batch.
        law: take rate and batch from the planner's law in place of the sweep.
        checkpoints: that the run writes, evenly; for averages of them.
    """

    name: str
    en: str
    zh: str
    survives_export: bool = True
    in_recipe: bool = False
    on: str = BASELINE
    code: str | None = None
    data: str | None = None
    pretrain: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    batch_shares: Mapping[str, float] = field(default_factory=dict)
    rate_factor: float = 1.0
    batch_factor: int = 1
    law: bool = False
    checkpoints: int | None = None


def read_levers(folder: Path = LEVERS) -> dict[str, Lever]:
    """Every lever of the folder by name, in the order of their names.

    Raises:
        InputError: a file has a key that no lever has, or lacks one.
    """
    levers = {}
    for path in sorted(folder.glob("*.toml")):
        values = tomllib.loads(path.read_text("utf-8"))
        try:
            levers[path.stem] = Lever(name=path.stem, **values)
        except TypeError as error:
            raise InputError(f"{path}: {error}", hint=f"see {folder / 'README.md'}") from error
    return levers


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        size: of the model.
        part: `sweep`, `probe`, `budget`, `lever`, `added` or `left out`.
        variant: name of the baseline, the recipe, a lever or the lever that is left out.
        levers: that change the baseline.
        share: of the size's tokens that it is trained on.
        seed: of weights and order of the data.
        rate, batch_tokens: of the baseline.
    """

    size: Size
    part: str
    variant: str
    levers: tuple[Lever, ...]
    share: float
    seed: int
    rate: float
    batch_tokens: int

    @property
    def data(self) -> str:
        return next((lever.data for lever in reversed(self.levers) if lever.data), "raw")

    @property
    def model(self) -> ModelSettings:
        changes: dict[str, Any] = {}
        for lever in self.levers:
            changes |= lever.model
        return replace(self.size.model, **changes)

    @property
    def tokens(self) -> int:
        """Asked for; the run trains whole batches."""
        return round(self.share * self.size.tokens)

    def settings(self, config: ModelConfig) -> PretrainSettings:
        """Of the run, with all its levers."""
        rate, batch = self.rate, self.batch_tokens
        if any(lever.law for lever in self.levers):
            flops = self.tokens * flops_per_token(config, SEQUENCE_TOKENS).full
            found = recommended_rate(config.non_embedding_parameters, self.tokens, flops)
            unit = 4 * SEQUENCE_TOKENS
            rate, batch = found.rate, max(1, round(found.batch_tokens / unit)) * unit
        rate *= math.prod(lever.rate_factor for lever in self.levers)
        batch *= math.prod(lever.batch_factor for lever in self.levers)
        values: dict[str, Any] = {
            "max_tokens": self.tokens,
            "sequence_tokens": SEQUENCE_TOKENS,
            "separate_documents": False,
            "batch_tokens": batch,
            "peak_learning_rate": rate,
            "warmup_tokens": WARMUP_SHARE * self.size.tokens,  # so that all ends share a trunk
            "mixture": {"en": 0.5, "zh-Hans": 0.5},
            "checkpoint_every_steps": _NEVER,
            "evaluate_every_steps": _NEVER,
            "validation_tokens": 40_000,
            "seed": self.seed,
        }
        for lever in self.levers:
            values |= lever.pretrain
            values |= {name: int(share * batch) for name, share in lever.batch_shares.items()}
            if lever.checkpoints is not None:
                steps = math.ceil(self.tokens / batch)
                values["checkpoint_every_steps"] = math.ceil(steps / lever.checkpoints)
        smallest = values.get("initial_batch_tokens", batch)
        values["micro_batch_tokens"] = min(smallest, _micro_batch(config))
        return PretrainSettings(**values)

    @property
    def trunk(self) -> str:
        """Folder in which runs may go on from one another."""
        names = [self.size.name, self.part, self.variant, str(self.seed)]
        return value_digest(names)[:12]


def _micro_batch(config: ModelConfig) -> int:
    return 2_048


def training_flops(config: ModelConfig, settings: PretrainSettings) -> float:
    """Of the whole run: the model's products, and those that make Muon's updates orthogonal."""
    tokens = settings.batches.tokens_before(settings.steps)
    samples = settings.head_gradient_samples
    per_token = flops_per_token(config, SEQUENCE_TOKENS, has_head_gradient=samples is None).full
    if samples is not None:
        per_token += 4 * samples * config.hidden_size
    per_step = 0 if settings.optimizer == "adamw" else orthogonalizing_flops(config)
    return float(per_token * tokens + per_step * settings.steps)


def orthogonalizing_flops(config: ModelConfig) -> int:
    """Of one step of Muon: five times x xT, its square, and the product with x, for each matrix."""
    width = config.hidden_size
    heads, shared = config.num_attention_heads, config.num_key_value_heads
    shapes = [
        (width, heads * config.head_dim),
        (width, shared * config.head_dim),
        (width, shared * config.head_dim),
        (heads * config.head_dim, width),
        *[(width, config.intermediate_size)] * 3,
    ]
    total = 0
    for shape in shapes:
        short, long = sorted(shape)
        total += _ORTHOGONAL_STEPS * (4 * short * short * long + 2 * short**3)
    return total * config.num_hidden_layers


class TimedSamples:
    """Samples that note how much CPU time has passed whenever a step asks for its batch."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self.sequences = samples.sequences
        self.fingerprint_parts = samples.fingerprint_parts
        self._asked: list[tuple[int, float]] = []

    def batch(self, first_sample: int, samples: int) -> Batch:
        self._asked.append((samples, time.process_time()))
        return self._samples.batch(first_sample, samples)

    def describe(self, samples: int) -> dict[str, float]:
        return self._samples.describe(samples)

    def seconds_per_sequence(self) -> float:
        """CPU time of the median step over its sequences, weighted over the sizes of batches."""
        by_size: dict[int, list[float]] = {}
        for (samples, begun), (_, ended) in zip(self._asked, self._asked[1:], strict=False):
            by_size.setdefault(samples, []).append(ended - begun)
        seconds = sum(len(times) * median(times) for times in by_size.values())
        return seconds / max(1, sum(samples * len(times) for samples, times in by_size.items()))


class Ground:
    """Tokenizer and shards of `cost_data.py`.

    Args:
        folder: what it wrote.
        out: where runs keep their checkpoints while they last.
    """

    def __init__(self, folder: Path, out: Path) -> None:
        self._tokenizer = folder / "tokenizer"
        self._out = out
        self._shards = {
            path.name: ShardData.open(path, self._tokenizer)
            for path in sorted((folder / "shards").iterdir())
        }

    def config(self, run: Run) -> ModelConfig:
        return ModelConfig.from_settings(run.model, self._shards[run.data].vocabulary_size)

    def key(self, run: Run) -> str:
        """Names the run by all that decides it."""
        config = self.config(run)
        shards = self._shards[run.data]
        held_out = sorted((name, part.digest) for name, part in shards.validation.items())
        values = {**asdict(config), **asdict(run.settings(config))}
        values |= {"data": shards.training.digest, "held_out": str(held_out)}
        files = [LEVERS / lever.code for lever in run.levers if lever.code]
        values |= {path.name: file_digest(path) for path in files}
        return value_digest({name: str(value) for name, value in values.items()})[:16]

    def train(self, run: Run, *, is_trunk: bool) -> dict[str, Any]:
        """Train it; gives its row of the ledger.

        Args:
            run: what to train.
            is_trunk: whether it leaves its checkpoints for longer runs to go on from.
        """
        config, shards = self.config(run), self._shards[run.data]
        settings = run.settings(config)
        out = self._out / run.trunk
        samples = TimedSamples(shards.training_sequences(settings))
        started = time.monotonic()
        job = Job(
            name="pretrain",
            settings=settings,
            weights=InitialWeights(config, settings),
            data=samples,
            validation=shards.validation_sets(settings),
            tokenizer_folder=self._tokenizer,
            out=out,
            progress=Progress(every_seconds=600),
            is_kept=is_trunk or settings.average_last is not None,
        )
        with ExitStack() as stack:
            for lever in run.levers:
                if lever.code:
                    stack.enter_context(_module(LEVERS / lever.code).applied())
            counts = train(job)
        rows = [row for row in read_metrics(out / METRICS) if row["kind"] == "validation"]
        bits = {row["language"]: row["bits_per_byte"] for row in rows[-len(LANGUAGES) :]}
        if not is_trunk:
            shutil.rmtree(out)
        tokens = settings.batches.tokens_before(settings.steps)
        return {
            "size": run.size.name,
            "part": run.part,
            "variant": run.variant,
            "levers": [lever.name for lever in run.levers],
            "share": run.share,
            "seed": run.seed,
            "rate": settings.peak_learning_rate,
            "batch_tokens": settings.batch_tokens,
            "swept": [run.rate, run.batch_tokens],
            "parameters": config.parameters,
            "tokens": tokens,
            "flops": training_flops(config, settings),
            "cpu_seconds": round(samples.seconds_per_sequence() * tokens / SEQUENCE_TOKENS, 2),
            "wall_seconds": round(time.monotonic() - started, 1),
            "bits_per_byte": {name: round(bits[name], 5) for name in LANGUAGES},
            "epochs": {name: counts[f"{code}_epochs"] for name, code in _CODES.items()},
            "skipped_steps": counts["skipped_steps"],
            "machine": machine(),
        }


_CODES = {"en": "en", "zh": "zh-Hans"}


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row_text(row: Mapping[str, Any]) -> str:
    """A finished run in one line."""
    bits = " ".join(f"{name} {value:.4f}" for name, value in row["bits_per_byte"].items())
    return (
        f"{row['size']} {row['part']} {row['variant']} x{row['share']:g} seed {row['seed']} rate "
        f"{row['rate']:g} batch {row['batch_tokens']}: {bits}, {row['cpu_seconds']:.1f} s, "
        f"epochs {json.dumps(row['epochs'])}"
    )
