"""The documents of one stage of an extension: long ones, short ones joined, exercises, short ones.

Everything here is a pure function of shards, settings and seed; what it makes is kept in files, so
that a run that continues need not make it again.
"""

import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.errors import RecipeError
from tongwen.extend.copies import said_twice
from tongwen.extend.exercises import exercise, script_of
from tongwen.extend.settings import ExtendSettings, LongMix
from tongwen.files import read_json, value_digest, write_json
from tongwen.formats.languages import LANGUAGES
from tongwen.formats.shards import Shard, shard_writer
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.mixture import Mixture, Stage
from tongwen.train.data.mixture_settings import quotas_of
from tongwen.train.data.packing import Int64s, permuted
from tongwen.train.data.sequences import Documents, PackedSequences

Bools = npt.NDArray[np.bool_]

_GZIP_LEVEL = 6  # gzip's default: what papers call a gzip ratio
_GZIP_BYTES = 1 << 20
"""The beginning of a document that is compressed; a longer text compresses alike."""
_CANDIDATES = 4
"""Short documents are looked at until they have so many times the tokens to be joined: a choice of
neighbours at a bounded cost."""
_EXERCISE_SHARE = 0.1
"""Part of a window left for questions and answers."""
_MADE = ("joined", "task", "copy")
_MOST_EXERCISES = 20_000
"""Of one language in a stage; after them they repeat."""


@dataclass(frozen=True)
class GroupedDocuments(Documents):
    """Documents in named groups, which a mixture weighs as it weighs languages."""

    groups: Mapping[str, Bools] = field(default_factory=dict)

    def of_language(self, name: str) -> Bools:
        return self.groups[name]


@dataclass(frozen=True)
class StageDocuments:
    """What one stage reads.

    Attributes:
        documents: of the shards and those made for the stage.
        quotas: group -> samples of every 1,000.
        counts: what was found, left out and made, for the manifest.
    """

    documents: GroupedDocuments
    quotas: Mapping[str, int]
    counts: dict[str, float]

    def sequences(self, settings: ExtendSettings) -> PackedSequences:
        """Packed, mixed and ordered."""
        return PackedSequences(
            self.documents,
            settings.sequence_tokens,
            seed=settings.seed,
            separate_documents=settings.separate_documents,
            position_reach=settings.position_reach,
            mixture=Mixture([Stage(0, self.quotas)], settings.seed),
        )


def stage_documents(
    documents: Documents,
    tokenizer: Tokenizer,
    settings: ExtendSettings,
    mix: LongMix,
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
) -> StageDocuments:
    """Choose and make what a stage reads.

    Args:
        documents: of the training shards.
        tokenizer: that made their ids.
        settings: of the stage's run.
        mix: of the stage.
        folder: keeps what is made; that of another stage or of other data is made anew.
        say: takes a line for the user.

    Raises:
        RecipeError: a language has no text for its weight, or nothing is left to train on.
    """
    assert documents.languages is not None
    key = value_digest(
        [
            documents.digest,
            tokenizer.digest,
            {name: getattr(settings, name) for name in _DECIDING},
            asdict(mix),
        ]
    )
    if not _is_made(folder, key):
        say(
            f"  reading {len(documents.tokens):,} documents for a window of "
            f"{settings.sequence_tokens:,} tokens"
        )
        _Maker(documents, tokenizer, settings, mix, folder).make(key)
    record = read_json(folder / "documents.json")
    found = record["counts"]["long_share"]
    if found < 0.99 * mix.long_share:
        say(f"  only {found:.0%} of the sequences are long text: there is too little of it")
    return _grouped(documents, folder, record)


_DECIDING = ("sequence_tokens", "max_tokens", "seed", "mixture")
"""Settings of a run that decide its documents."""


def _is_made(folder: Path, key: str) -> bool:
    path = folder / "documents.json"
    return path.is_file() and read_json(path).get("key") == key


def _grouped(documents: Documents, folder: Path, record: Mapping[str, Any]) -> StageDocuments:
    """The shards' documents and the made ones, laid end to end, in groups."""
    count = len(documents.tokens)
    assert documents.languages is not None
    numbers_of = {"long": np.load(folder / "long.npy")}
    parts, starts, tokens = [*documents.parts], [documents.starts], [documents.tokens]
    languages = [documents.languages]
    for kind in _MADE:
        shard = Shard.open(folder / f"{kind}.shard")
        first = sum(map(len, tokens))
        numbers_of[kind] = np.arange(first, first + shard.documents)
        if shard.documents:
            extra = Documents.from_shards([shard])
            assert extra.languages is not None
            starts.append(extra.starts + sum(map(len, parts)))
            parts += extra.parts
            tokens.append(extra.tokens)
            languages.append(extra.languages)
    all_tokens, all_languages = np.concatenate(tokens), np.concatenate(languages)
    is_short = all_tokens < record["long_tokens"]
    is_short[count:] = False
    groups = {}
    for name in record["quotas"]:
        kind, _, language = name.partition("_")
        if kind == "short":
            chosen = is_short.copy()
        else:
            chosen = np.zeros(len(all_tokens), np.bool_)
            chosen[numbers_of[kind]] = True
        groups[name] = chosen & (all_languages == LANGUAGES.index(language)) & (all_tokens > 0)
    return StageDocuments(
        GroupedDocuments(
            parts=tuple(parts),
            starts=np.concatenate(starts),
            tokens=all_tokens,
            is_target=None,
            digest=value_digest([documents.digest, record["key"]]),
            languages=all_languages,
            groups=groups,
        ),
        record["quotas"],
        record["counts"],
    )


class _Maker:
    """Makes the files of `stage_documents`."""

    def __init__(
        self,
        documents: Documents,
        tokenizer: Tokenizer,
        settings: ExtendSettings,
        mix: LongMix,
        folder: Path,
    ) -> None:
        assert documents.languages is not None
        self.documents = documents
        self.languages = documents.languages
        self.tokenizer = tokenizer
        self.settings = settings
        self.mix = mix
        self.folder = folder
        self.window = settings.sequence_tokens
        self.long_tokens = mix.long_tokens or max(1, self.window // 2)
        self.counts: dict[str, float] = {}
        self._part_ends = np.cumsum([len(part) for part in documents.parts])

    def make(self, key: str) -> None:
        """Write the made documents, which long ones are kept, and what goes how often."""
        kept = {name: self._kept(name) for name in self._present()}
        shares = self._shares(kept)
        missing = {name: self._missing_tokens(kept[name], share) for name, share in shares.items()}
        joined = self._write("joined", {name: self._joined(name, n) for name, n in missing.items()})
        sources = {name: _Texts(self, kept[name], joined, name) for name in shares}
        tasks = self._write(
            "task",
            {name: self._tasks(name, share, sources[name]) for name, share in shares.items()},
        )
        copies = self._write(
            "copy",
            {name: self._copies(name, share, sources[name]) for name, share in shares.items()},
        )
        quotas: dict[str, float] = {}
        for name, share in shares.items():
            quotas |= self._long_quotas(
                name,
                share,
                missing[name],
                has_long=len(kept[name]) > 0,
                has_joined=_has(joined, name),
                has_tasks=_has(tasks, name),
                has_copies=_has(copies, name),
            )
        long_share = sum(quotas.values())
        quotas |= self._short_quotas(1 - long_share)
        if not any(quotas.values()):
            raise RecipeError(
                "no document is left to extend on",
                hint="mix.trim_share = 0 leaves out none, mix.long_share = 0 asks for none",
            )
        np.save(self.folder / "long.npy", np.concatenate([np.array([], np.int64), *kept.values()]))
        self.counts |= {
            "joined_documents": joined.documents,
            "task_documents": tasks.documents,
            "copy_documents": copies.documents,
            "long_share": round(long_share, 4),
        }
        write_json(
            self.folder / "documents.json",
            {
                "key": key,
                "long_tokens": self.long_tokens,
                "quotas": {name: n for name, n in quotas_of(quotas).items() if n},
                "counts": self.counts,
            },
        )

    def _write(self, kind: str, documents: Mapping[str, Iterator[Int64s]]) -> Shard:
        path = self.folder / f"{kind}.shard"
        with shard_writer(
            path,
            vocabulary_size=self.tokenizer.vocabulary_size,
            tokenizer_digest=self.tokenizer.digest,
        ) as writer:
            for language, found in documents.items():
                for ids in found:
                    writer.append(ids, language=language, utf8_bytes=0)  # in no figure per byte
        return Shard.open(path)

    def _present(self) -> list[str]:
        codes = np.unique(self.languages[self.documents.tokens > 0]).tolist()
        return [LANGUAGES[code] for code in codes]

    def _of(self, name: str) -> Bools:
        chosen: Bools = (self.languages == LANGUAGES.index(name)) & (self.documents.tokens > 0)
        return chosen

    def ids(self, number: int) -> Int64s:
        start, tokens = int(self.documents.starts[number]), int(self.documents.tokens[number])
        part = int(np.searchsorted(self._part_ends, start, side="right"))
        before = 0 if part == 0 else int(self._part_ends[part - 1])
        return self.documents.parts[part][start - before : start - before + tokens].astype(np.int64)

    def _kept(self, name: str) -> Int64s:
        """Numbers of the long documents without either end of the gzip ratio, in order."""
        found = np.flatnonzero(self._of(name) & (self.documents.tokens >= self.long_tokens))
        ratios = [self._ratio(number) for number in found.tolist()]
        order = np.argsort(ratios, kind="stable") if ratios else np.array([], np.int64)
        trimmed = int(self.mix.trim_share * len(found))
        chosen: Int64s = np.sort(found[order[trimmed : len(order) - trimmed]])
        self.counts[f"long_{name}_documents"] = len(found)
        self.counts[f"long_{name}_left_out"] = len(found) - len(chosen)
        return chosen

    def _ratio(self, number: int) -> float:
        """Bytes after gzip's deflate for each byte before."""
        data = self.tokenizer.decode(self.ids(number).tolist()).encode()[:_GZIP_BYTES]
        return len(zlib.compress(data, _GZIP_LEVEL)) / max(1, len(data))

    def _shares(self, kept: Mapping[str, Int64s]) -> dict[str, float]:
        """Share of each language in long text; they add up to 1."""
        tokens = {name: float(self.documents.tokens[self._of(name)].sum()) for name in kept}
        weights: Mapping[str, float] = self.mix.languages or tokens
        missing = [name for name, weight in weights.items() if weight and name not in kept]
        if missing:
            raise RecipeError(
                f"mix.languages has a weight for {missing[0]}, but no training document is "
                f"{missing[0]}",
                hint=f"leave it out; there are documents in {', '.join(kept)}",
            )
        whole = sum(weights.values())
        return {name: weight / whole for name, weight in weights.items() if weight}

    def _missing_tokens(self, kept: Int64s, share: float) -> float:
        """Of long text in a language of this share: what its long documents do not have."""
        wanted = self.settings.max_tokens * self.mix.long_share * share
        wanted *= 1 - self.mix.task_share - self.mix.copy_share
        return max(0.0, wanted - self.mix.repeat_long * float(self.documents.tokens[kept].sum()))

    def _joined(self, name: str, wanted_tokens: float) -> Iterator[Int64s]:
        """Long documents of short ones about the same thing, each once, at most a window long."""
        if not wanted_tokens:
            return
        chosen = self._by_theme(self._candidates(name, wanted_tokens))
        parts: list[Int64s] = []
        length = done = 0
        for number in chosen.tolist():
            tokens = int(self.documents.tokens[number])
            if parts and length + tokens > self.window:
                yield np.concatenate(parts)
                done += length
                parts, length = [], 0
                if done >= wanted_tokens:
                    return
            parts.append(self.ids(number))
            length += tokens
        if parts:
            yield np.concatenate(parts)

    def _candidates(self, name: str, wanted_tokens: float) -> Int64s:
        """Short documents drawn by the seed until they have enough tokens to choose from."""
        short = np.flatnonzero(self._of(name) & (self.documents.tokens < self.long_tokens))
        if not len(short):
            return short
        order = permuted(np.arange(len(short)), len(short), self.settings.seed)
        drawn = short[order]
        enough = np.searchsorted(
            np.cumsum(self.documents.tokens[drawn]), _CANDIDATES * wanted_tokens
        )
        return np.sort(drawn[: int(enough) + 1])

    def _by_theme(self, numbers: Int64s) -> Int64s:
        """Documents in the order of the token that is the most telling of each: those that share it
        follow one another.

        Shi et al. 2023, arXiv:2310.10638, walk from neighbour to neighbour in an embedding space;
        the weight of a token here is its tf-idf, which needs no model and one pass.
        """
        uses = [np.unique(self.ids(number), return_counts=True) for number in numbers.tolist()]
        documents_of = np.zeros(self.tokenizer.vocabulary_size, np.int64)
        for ids, _ in uses:
            documents_of[ids] += 1
        themes, weights = [], []
        for ids, counts in uses:
            shared = documents_of[ids]
            scores = np.where(shared > 1, counts * np.log(len(uses) / shared), -1.0)
            best = int(scores.argmax()) if len(ids) else 0
            themes.append(int(ids[best]) if len(ids) else -1)
            weights.append(float(scores[best]) if len(ids) else 0.0)
        order = np.lexsort((numbers, -np.array(weights), np.array(themes)))
        ordered: Int64s = numbers[order]
        return ordered

    def _tasks(self, name: str, share: float, texts: "_Texts") -> Iterator[Int64s]:
        """Exercises over long text of a language, each about a window long."""
        script = script_of(name)
        wanted = self.settings.max_tokens * self.mix.long_share * self.mix.task_share * share
        if script is None or not texts.count or not wanted:
            return
        self.counts[f"task_{name}_not_made"] = 0
        for number in range(min(_MOST_EXERCISES, -(-int(wanted) // self.window))):
            ids = self._task(script, texts, f"{self.settings.seed} {name} {number}")
            if ids is None:
                self.counts[f"task_{name}_not_made"] += 1
            else:
                yield ids

    def _task(self, script: str, texts: "_Texts", seed: str) -> Int64s | None:
        """An exercise that fits into the window; None where its text has nothing to ask about."""
        text_tokens = int(self.window * (1 - _EXERCISE_SHARE))
        questions = max(1, min(16, self.window // 512))
        while text_tokens > 0:
            generator = random.Random(seed)
            text = self.tokenizer.decode(texts.stretch(text_tokens, generator).tolist())
            made = exercise(text, script, generator, questions=questions)
            if made is None:
                return None
            ids = np.array([*self.tokenizer.encode(made), self.tokenizer.end_id], np.int64)
            if len(ids) <= self.window:  # a longer one would lose its questions
                return ids
            text_tokens -= len(ids) - self.window + self.window // 64 + 1
        return None

    def _copies(self, name: str, share: float, texts: "_Texts") -> Iterator[Int64s]:
        """Documents a window long in which every stretch occurs twice."""
        wanted = self.settings.max_tokens * self.mix.long_share * self.mix.copy_share * share
        if not texts.count or not wanted:
            return
        special = {*self.tokenizer.special_ids.values()}
        pieces = [id for id in range(self.tokenizer.vocabulary_size) if id not in special]
        for number in range(min(_MOST_EXERCISES, -(-int(wanted) // self.window))):
            generator = random.Random(f"{self.settings.seed} copy {name} {number}")
            said = said_twice(self.window - 1, pieces, texts.stretch, generator)
            yield np.append(said, self.tokenizer.end_id)

    def _long_quotas(
        self,
        name: str,
        share: float,
        missing_tokens: float,
        *,
        has_long: bool,
        has_joined: bool,
        has_tasks: bool,
        has_copies: bool,
    ) -> dict[str, float]:
        """Shares of a language's long, joined, task and copy sequences; what there is none of goes
        to the others.
        """
        if not has_long and not has_joined:
            return {}
        whole = self.mix.long_share * share
        task = whole * self.mix.task_share if has_tasks else 0.0
        copy = whole * self.mix.copy_share if has_copies else 0.0
        wanted = self.settings.max_tokens * whole
        wanted *= 1 - self.mix.task_share - self.mix.copy_share
        joined = min(1.0, missing_tokens / wanted) if has_joined and wanted else 0.0
        if not has_long:
            joined = 1.0
        quotas = {
            f"long_{name}": (whole - task - copy) * (1 - joined),
            f"joined_{name}": (whole - task - copy) * joined,
            f"task_{name}": task,
            f"copy_{name}": copy,
        }
        return {group: quota for group, quota in quotas.items() if quota}

    def _short_quotas(self, share: float) -> dict[str, float]:
        """Shares of the languages of short text, as `mixture` weighs them or as they are."""
        short = self.documents.tokens < self.long_tokens
        tokens = {
            name: float(self.documents.tokens[self._of(name) & short].sum())
            for name in self._present()
        }
        weights = {name: weight for name, weight in tokens.items() if weight}
        if self.settings.mixture is not None:
            weights = {
                name: weight for name, weight in self.settings.mixture.items() if name in weights
            }
        whole = sum(weights.values())
        return {
            f"short_{name}": share * weight / whole for name, weight in weights.items() if whole
        }


def _has(shard: Shard, language: str) -> bool:
    return bool((shard.languages == LANGUAGES.index(language)).any())


class _Texts:
    """Long text of one language: its long documents, then the joined ones."""

    def __init__(self, maker: _Maker, kept: Int64s, joined: Shard, language: str) -> None:
        self._maker = maker
        self._kept = kept
        self._joined = joined
        self._numbers = np.flatnonzero(joined.languages == LANGUAGES.index(language))
        self.count = len(kept) + len(self._numbers)

    def _document(self, number: int) -> Int64s:
        if number < len(self._kept):
            return self._maker.ids(int(self._kept[number]))
        return self._joined.document(int(self._numbers[number - len(self._kept)])).astype(np.int64)

    def stretch(self, tokens: int, generator: random.Random) -> Int64s:
        """Consecutive text, from a random place of a random document, going on in the next ones."""
        number = generator.randrange(self.count)
        first = self._document(number)
        start = generator.randrange(max(1, len(first) - tokens))
        parts = [first[start : start + tokens]]
        length = len(parts[0])
        for step in range(1, self.count):
            if length >= tokens:
                break
            parts.append(self._document((number + step) % self.count)[: tokens - length])
            length += len(parts[-1])
        return np.concatenate(parts)
