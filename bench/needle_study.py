"""A small model that copies from far away: what it takes for needles to be found.

    tongwen run recipes/long-200k.toml --until encode
    python bench/needle_study.py runs/long-200k/stages/tokenizer --out study
    tongwen evaluate long study --kind code,single --length 512,4K,32K,200000 --out needles

Another loop around the same model and optimizer as `tongwen extend`, to see what makes copying form
and what carries it to far places. Three things are other than in the recipe: the loss is only on
pieces that can be known, those of a stretch that was said before; positions jump at the ends of
stretches from the first step on, so that a near place never helps; and documents say things twice
in four ways (`KINDS`). One thread; each phase is `TOKENS:KINDS:TOKENS OF THE PHASE:RATE`, and a
phase that was finished is not trained again. Prints the loss and the share of pieces known by
length and kind, where chance is one in the vocabulary's size.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from tongwen.model.config import ModelConfig
from tongwen.model.folder import load_model_folder, save_model_folder
from tongwen.model.llama import Llama
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.optim.build import build_optimizer
from tongwen.train.settings import TrainSettings

Ids = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

WINDOW = 200_000
BATCH_TOKENS = 2_048
WARM_STEPS = 20
DECAY_SHARE = 0.2
MOST_JUMPS = 12
PHASES = (
    "64:twice:1_500_000:1e-2",
    "128:twice+few+facts:1_000_000:6e-3",
    "512:twice+few+facts+hay:1_500_000:4e-3",
    "4096:facts+hay:800_000:2e-3",
)


@dataclass(frozen=True)
class Said:
    """A document, and which of its pieces follow from earlier ones.

    Attributes:
        ids: its pieces.
        is_known: pieces that a reader who looks back knows.
        starts: where its stretches start, in order.
    """

    ids: Ids
    is_known: Bools
    starts: Sequence[int]


@dataclass(frozen=True)
class Source:
    """What documents are made of: pieces drawn at random, and running text."""

    pieces: Ids
    text: Ids

    def stretch(self, count: int, pool: Ids, generator: np.random.Generator) -> Ids:
        drawn: Ids = generator.choice(pool, count)
        return drawn

    def running(self, count: int, generator: np.random.Generator) -> Ids:
        place = int(generator.integers(0, max(1, len(self.text) - count)))
        return self.text[place : place + count]


def twice(tokens: int, source: Source, generator: np.random.Generator) -> Said:
    """Stretches of pieces from the whole vocabulary."""
    return _shuffled(tokens, lambda: source.stretch(_long(generator), source.pieces, generator),
                     generator)  # fmt: skip


def few(tokens: int, source: Source, generator: np.random.Generator) -> Said:
    """Stretches of 12 pieces to all: several pieces before one tell what it is, one does not."""
    pool = _some(source.pieces, generator)
    return _shuffled(tokens, lambda: source.stretch(_long(generator), pool, generator), generator)


def facts(tokens: int, source: Source, generator: np.random.Generator) -> Said:
    """Stretches with a name and a value in a frame that all of a document share."""
    pool = _some(source.pieces, generator)
    fact = _framed(source, pool, generator)
    return _shuffled(tokens, fact, generator)


def hay(tokens: int, source: Source, generator: np.random.Generator) -> Said:
    """Running text with facts at random places, which come again at its end in another order."""
    pool = _some(source.pieces, generator)
    fact = _framed(source, pool, generator)
    made: list[Ids] = []
    while sum(map(len, made)) < min(tokens // 5, 400):
        made.append(fact())
    asked = sum(map(len, made))
    straw = source.running(max(0, tokens - 2 * asked), generator)
    cuts = np.sort(generator.integers(0, len(straw) + 1, len(made)))
    parts: list[Ids] = []
    for piece, stretch in zip(np.split(straw, cuts), [*made, made[0][:0]], strict=True):
        parts += [piece, stretch]
    is_known = [np.zeros(len(part), np.bool_) for part in parts]
    again = [made[number] for number in generator.permutation(len(made))]
    return _joined(tokens, [*parts, *again], [*is_known, *map(_known, again)])


KINDS: Mapping[str, Callable[[int, Source, np.random.Generator], Said]] = {
    "twice": twice, "few": few, "facts": facts, "hay": hay,
}  # fmt: skip


def _long(generator: np.random.Generator) -> int:
    return int(generator.integers(6, 33))


def _some(pieces: Ids, generator: np.random.Generator) -> Ids:
    count = int(12 * (len(pieces) / 12) ** generator.random())
    chosen: Ids = generator.choice(pieces, count, replace=False)
    return chosen


def _framed(source: Source, pool: Ids, generator: np.random.Generator) -> Callable[[], Ids]:
    """Makes facts of one frame: in a third of all documents the value follows its name at once."""
    before, between, after = (
        source.stretch(int(generator.integers(low, high)), pool, generator)
        for low, high in ((0, 5), (0, 3), (0, 3))
    )

    def fact() -> Ids:
        name = source.stretch(int(generator.integers(2, 6)), pool, generator)
        value = source.stretch(int(generator.integers(1, 6)), pool, generator)
        return np.concatenate([before, name, between, value, after])

    return fact


def _known(stretch: Ids) -> Bools:
    """Of a stretch that was said before, all but its first piece."""
    known = np.ones(len(stretch), np.bool_)
    known[:1] = False
    return known


def _shuffled(tokens: int, draw: Callable[[], Ids], generator: np.random.Generator) -> Said:
    """Stretches that fill half of the document, each twice, in random order."""
    stretches: list[Ids] = []
    left = (tokens + 1) // 2
    while left > 0:
        stretches.append(draw()[:left])
        left -= len(stretches[-1])
    order = generator.permutation([*range(len(stretches))] * 2)
    seen: set[int] = set()
    is_known = []
    for number in order.tolist():
        known = _known(stretches[number])
        is_known.append(known if number in seen else np.zeros_like(known))
        seen.add(number)
    return _joined(tokens, [stretches[number] for number in order.tolist()], is_known)


def _joined(tokens: int, parts: Sequence[Ids], is_known: Sequence[Bools]) -> Said:
    starts = np.cumsum([0, *map(len, parts)])[:-1]
    return Said(
        np.concatenate(parts)[:tokens],
        np.concatenate(is_known)[:tokens],
        [start for start in starts.tolist() if 0 < start < tokens],
    )


@dataclass(frozen=True)
class Batch:
    """Rows of pieces, which of them are known, and their positions."""

    ids_BT: Tensor
    is_known_BT: Tensor
    positions_BT: Tensor


def batch_of(
    tokens: int,
    rows: int,
    kinds: Sequence[str],
    source: Source,
    generator: np.random.Generator,
    *,
    jump_share: float,
) -> Batch:
    """Documents of equal length; in `jump_share` of them positions jump at ends of stretches."""
    ids, known, positions = [], [], []
    for _ in range(rows):
        said = KINDS[kinds[int(generator.integers(len(kinds)))]](tokens, source, generator)
        ids.append(said.ids)
        known.append(said.is_known)
        far = generator.random() < jump_share
        positions.append(_jumping(said, generator) if far else np.arange(tokens))
    made = (torch.from_numpy(np.stack(values)) for values in (ids, known, positions))
    return Batch(*made)


def _jumping(said: Said, generator: np.random.Generator) -> Ids:
    """Positions that jump ahead a few times and end within `WINDOW`."""
    tokens = len(said.ids)
    starts = np.array(said.starts, np.int64)
    if len(starts) > MOST_JUMPS:
        starts = np.sort(generator.choice(starts, MOST_JUMPS, replace=False))
    reach = int((WINDOW - tokens) * generator.random() ** 2)
    ends = np.sort(generator.integers(0, reach + 1, len(starts) + 1))
    steps = np.zeros(tokens, np.int64)
    steps[0] = ends[0]
    steps[starts] += np.diff(ends)
    return np.arange(tokens) + np.cumsum(steps)


def losses(model: Llama, batch: Batch) -> tuple[Tensor, Tensor]:
    """Loss of each known piece, and whether it is the likeliest."""
    hidden_BTM = model(batch.ids_BT, positions_BT=batch.positions_BT)
    is_asked = batch.is_known_BT[:, 1:]
    logits = model.logits(hidden_BTM[:, :-1][is_asked])
    wanted = batch.ids_BT[:, 1:][is_asked]
    return F.cross_entropy(logits, wanted, reduction="none"), logits.argmax(-1) == wanted


MEASURED = (
    ("near 64", 64, 16, "twice", 0.0), ("far 64", 64, 16, "twice", 1.0),
    ("far 512", 512, 2, "twice", 1.0), ("few 512", 512, 2, "few", 1.0),
    ("facts 512", 512, 2, "facts", 1.0), ("near 4096", 4_096, 1, "twice", 0.0),
    ("hay 4096", 4_096, 1, "hay", 0.0),
)  # fmt: skip


@torch.no_grad()
def measured(model: Llama, source: Source) -> dict[str, list[float]]:
    """Loss and share known of documents that training never draws, by name in `MEASURED`."""
    generator = np.random.default_rng(99)
    found = {}
    for name, tokens, rows, kind, jump_share in MEASURED:
        batch = batch_of(tokens, rows, [kind], source, generator, jump_share=jump_share)
        loss, is_right = losses(model, batch)
        found[name] = [round(float(loss.mean()), 3), round(float(is_right.float().mean()), 3)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tokenizer", type=Path, help="folder of a tokenizer")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--text", type=Path, nargs="+", default=[Path("docs/en"), Path("docs/zh")])
    parser.add_argument("--phase", action="append", help="in place of those of the study")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--rope-theta", type=float, default=1e16)
    parser.add_argument("--jump-share", type=float, default=0.8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = Tokenizer.load(arguments.tokenizer)
    source = _source(tokenizer, arguments.text)
    model = _model(tokenizer, arguments)
    for number, phase in enumerate(arguments.phase or PHASES):
        folder = arguments.out / "phases" / str(number)
        if (folder / "model").is_dir():
            model, _ = load_model_folder(folder / "model", torch.float32)
            continue
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "curve.jsonl").open("w", encoding="utf-8") as log:
            _train(model, source, phase, arguments, number, log)
        for target in (folder / "model", arguments.out / "model"):
            save_model_folder(target, model, arguments.tokenizer, torch.float32)


def _source(tokenizer: Tokenizer, texts: Sequence[Path]) -> Source:
    special = {*tokenizer.special_ids.values()}
    pieces = [number for number in range(tokenizer.vocabulary_size) if number not in special]
    files = sorted(file for folder in texts for file in folder.rglob("*.md"))
    ids = [tokenizer.encode(file.read_text(encoding="utf-8")) for file in files]
    return Source(np.array(pieces), np.concatenate([np.array(item, np.int64) for item in ids]))


def _model(tokenizer: Tokenizer, arguments: argparse.Namespace) -> Llama:
    config = ModelConfig(
        vocabulary_size=tokenizer.vocabulary_size, hidden_size=128, intermediate_size=128,
        num_hidden_layers=arguments.layers, num_attention_heads=2, num_key_value_heads=2,
        head_dim=64, max_position_embeddings=WINDOW, rope_theta=arguments.rope_theta,
        tie_word_embeddings=True,
    )  # fmt: skip
    model = Llama(config)
    model.initialize(arguments.seed)
    return model


def _train(
    model: Llama, source: Source, phase: str, arguments: argparse.Namespace, number: int, log: Any
) -> None:
    tokens, kinds, most, rate = phase.split(":")
    rows = max(1, BATCH_TOKENS // int(tokens))
    steps = max(1, int(most) // (rows * int(tokens)))
    settings = TrainSettings(
        max_tokens=int(most), sequence_tokens=int(tokens), batch_tokens=rows * int(tokens),
        micro_batch_tokens=rows * int(tokens), optimizer="muon", peak_learning_rate=float(rate),
    )  # fmt: skip
    optimizer = build_optimizer(model, model.config, settings)
    generator = np.random.default_rng([arguments.seed, number])
    started, recent = time.process_time(), list[float]()
    for step in range(steps):
        batch = batch_of(int(tokens), rows, kinds.split("+"), source, generator,
                         jump_share=arguments.jump_share)  # fmt: skip
        loss, _ = losses(model, batch)
        optimizer.zero_grad()
        loss.mean().backward()
        left = (steps - step) / (DECAY_SHARE * steps)
        optimizer.step(float(rate) * min(1.0, (step + 1) / WARM_STEPS, max(left, 0.05)))
        recent.append(float(loss.detach().mean()))
        if (step + 1) % 50 == 0 or step + 1 == steps:
            row: dict[str, Any] = {
                "phase": phase, "step": step + 1, "tokens": (step + 1) * rows * int(tokens),
                "cpu_seconds": round(time.process_time() - started, 1),
                "loss": round(float(np.mean(recent[-50:])), 3),
            }  # fmt: skip
            if (step + 1) % 100 == 0 or step + 1 == steps:
                row["measured"] = measured(model, source)
            print(json.dumps(row), flush=True)
            log.write(json.dumps(row) + "\n")
            log.flush()


if __name__ == "__main__":
    main()
