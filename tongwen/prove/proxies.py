"""Equal small models, one on each group of documents, and the loss of each on held-out text."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tongwen.errors import InputError
from tongwen.files import read_json, value_digest, write_json
from tongwen.formats.documents import draw
from tongwen.formats.readers import read_records
from tongwen.formats.shards import language_code
from tongwen.model.config import ModelConfig
from tongwen.model.settings import ModelSettings
from tongwen.progress import Progress
from tongwen.prove.groups import PROVED_LANGUAGES, Group, Texts
from tongwen.tokenizer.special import EOS_ID
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.mixture import Mixture
from tongwen.train.data.sequences import Documents, PackedSequences
from tongwen.train.data.validation import ValidationSet
from tongwen.train.guard import time_limit
from tongwen.train.job import Job
from tongwen.train.loop import train
from tongwen.train.metrics import METRICS, read_metrics
from tongwen.train.settings import PretrainSettings
from tongwen.train.weights import InitialWeights

_ROWS = "proxies.json"
_SEQUENCE_TOKENS = 256  # short ones cost less attention; text, not context, is compared
_HEAD_DIM = 32  # models are 64 wide: two heads rather than one
_HELD_OUT_SHARE = 0.05  # of all documents, taken from no group's training
_HELD_OUT_TOKENS = 40_000  # the same text for all groups, so its size decides little but time
_PURPOSE = "proof"
_CODES = {"en": "en", "zh": "zh-Hans"}
_NEVER = 10**9


def proxy_shape(hidden_size: int, layers: int) -> ModelSettings:
    """A small Llama: heads of 32 channels, half as many for keys, sequences of 256 tokens."""
    heads = max(1, hidden_size // _HEAD_DIM)
    return ModelSettings(
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        head_dim=_HEAD_DIM,
        max_position_embeddings=_SEQUENCE_TOKENS,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
    )


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """The model that every group gets, and its training.

    Attributes:
        hidden_size: of the model; heads are 32 wide, the feed-forward three times as wide.
        layers: of the model.
        tokens: that each is trained on, as many of each language.
        rate: peak learning rate of Muon, which falls over the last fifth.
        batch_tokens: of a step.
        seeds: trainings of each group.
    """

    hidden_size: int = 64
    layers: int = 2
    tokens: int = 500_000
    rate: float = 8e-3
    batch_tokens: int = 2_048
    seeds: int = 3

    def config(self, vocabulary_size: int) -> ModelConfig:
        shape = proxy_shape(self.hidden_size, self.layers)
        return ModelConfig.from_settings(shape, vocabulary_size)

    def settings(self, languages: Iterable[str], seed: int) -> PretrainSettings:
        return PretrainSettings(
            max_tokens=self.tokens,
            sequence_tokens=_SEQUENCE_TOKENS,
            batch_tokens=self.batch_tokens,
            peak_learning_rate=self.rate,
            final_learning_rate_share=0.0,
            warmup_share=0.03,
            decay="wsd",
            optimizer="muon",
            mixture={_CODES[language]: 1.0 for language in languages},
            checkpoint_every_steps=_NEVER,
            evaluate_every_steps=_NEVER,
            validation_tokens=_HELD_OUT_TOKENS,
            seed=seed,
        )


class EncodedTexts:
    """Token ids of documents, in one array.

    Args:
        texts: (document id, text).
        tokenizer: that encodes them.
    """

    def __init__(self, texts: Iterable[tuple[str, str]], tokenizer: Tokenizer) -> None:
        parts, self._bytes, starts = [], {}, [0]
        self._places: dict[str, int] = {}
        for doc_id, text in texts:
            ids = [*tokenizer.encode(text), EOS_ID]
            parts.append(np.array(ids, np.uint32))
            self._places[doc_id] = len(starts) - 1
            self._bytes[doc_id] = len(text.encode("utf-8"))
            starts.append(starts[-1] + len(ids))
        self._ids = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
        self._starts = np.array(starts, np.int64)

    def tokens(self) -> dict[str, int]:
        """Of each document, in the order they were given."""
        lengths = np.diff(self._starts).tolist()
        return {name: lengths[place] for name, place in self._places.items()}

    def documents(self, ids: Mapping[str, Sequence[str]]) -> Documents:
        """Some of them, by language, as training data."""
        names = [name for found in ids.values() for name in found]
        places = np.array([self._places[name] for name in names], np.int64)
        codes = [language_code(_CODES[language]) for language, found in ids.items() for _ in found]
        return Documents(
            parts=(self._ids,),
            starts=self._starts[places],
            tokens=self._starts[places + 1] - self._starts[places],
            is_target=None,
            digest=value_digest([*names, value_digest(self._ids[:4_096].tolist())]),
            utf8_bytes=sum(self._bytes[name] for name in names),
            languages=np.array(codes, np.uint8),
        )


def held_out_of(texts: Texts) -> frozenset[str]:
    """Ids of the documents that no group gets: a twentieth, the same for every question."""
    return frozenset(
        doc_id
        for doc_id, language in texts.languages.items()
        if language in PROVED_LANGUAGES and draw(doc_id, _PURPOSE) < _HELD_OUT_SHARE
    )


def read_held_out(files: Sequence[str], tokenizer: Tokenizer) -> dict[str, Documents]:
    """Held-out texts of the user's own, `LANGUAGE=FILE.jsonl` each.

    Raises:
        InputError: a file has no text, or its language is none that is proved.
    """
    found: dict[str, Documents] = {}
    for item in files:
        language, _, path = item.partition("=")
        if language not in PROVED_LANGUAGES or not path:
            raise InputError(
                f"--held-out is {item!r}", hint="name the language too, such as en=held-out.jsonl"
            )
        records = read_records(Path(path), "jsonl")
        texts = [
            (str(number), record.body.decode("utf-8"))
            for number, record in enumerate(records)
            if record.problem is None
        ]
        if not texts:
            raise InputError(f"{path} has no text", hint='rows are {"text": "..."}')
        names = {language: tuple(name for name, _ in texts)}
        found[language] = EncodedTexts(texts, tokenizer).documents(names)
    return found


@dataclass(frozen=True)
class Trial:
    """All proxies of one question.

    Attributes:
        groups: that are compared.
        proxy: model and training.
        data: documents of each group, by its name.
        held_out: documents by language.
        tokenizer: folder.
        out: of the result.
    """

    groups: Sequence[Group]
    proxy: Proxy
    data: Mapping[str, Documents]
    held_out: Mapping[str, Documents]
    tokenizer: Path
    out: Path

    @property
    def languages(self) -> list[str]:
        """That every group is trained on, as far as there is held-out text."""
        return [name for name in self.groups[0].ids if name in self.held_out]

    def run(self, progress: Progress, minutes: float | None = None) -> list[dict[str, Any]] | None:
        """Train what is missing, seed by seed; the rows, or None when the time was over before."""
        rows = _read_rows(self.out / _ROWS)
        wanted = {}
        try:
            with time_limit(minutes) as is_over:
                for seed in range(1, self.proxy.seeds + 1):
                    for group in self.groups:
                        key = self._key(group, seed)
                        if key not in rows:
                            progress.say(f"{group.name}, seed {seed} of {self.proxy.seeds}")
                            rows[key] = self._train(group, seed, progress)
                            write_json(self.out / _ROWS, rows)
                        wanted[key] = rows[key]
        except KeyboardInterrupt:
            if not is_over():
                raise
            progress.say(f"  {minutes:g} minutes are over: run the same command to continue")
            return None
        return list(wanted.values())

    def _settings(self, seed: int) -> PretrainSettings:
        return self.proxy.settings(self.languages, seed)

    def _config(self) -> ModelConfig:
        return self.proxy.config(Tokenizer.load(self.tokenizer).vocabulary_size)

    def _key(self, group: Group, seed: int) -> str:
        """Names a proxy by all that decides it."""
        values = {**asdict(self._config()), **asdict(self._settings(seed))}
        values |= {"data": self.data[group.name].digest}
        values |= {name: part.digest for name, part in sorted(self.held_out.items())}
        return value_digest({name: str(value) for name, value in values.items()})[:16]

    def _train(self, group: Group, seed: int, progress: Progress) -> dict[str, Any]:
        settings, config = self._settings(seed), self._config()
        work = self.out / "work"
        shutil.rmtree(work, ignore_errors=True)
        counts = train(
            Job(
                name="pretrain",
                settings=settings,
                weights=InitialWeights(config, settings),
                data=PackedSequences(
                    self.data[group.name],
                    settings.sequence_tokens,
                    seed=seed,
                    mixture=Mixture.of(settings),
                ),
                validation={
                    name: ValidationSet.of(
                        self.held_out[name],
                        settings.sequence_tokens,
                        max_tokens=settings.validation_tokens,
                    )
                    for name in self.languages
                },
                tokenizer_folder=self.tokenizer,
                out=work,
                progress=progress,
                is_kept=False,
            )
        )
        measured = [row for row in read_metrics(work / METRICS) if row["kind"] == "validation"]
        shutil.rmtree(work)
        return {
            "group": group.name,
            "seed": seed,
            "tokens": counts["tokens"],
            "parameters": config.parameters,
            "bits_per_byte": {row["language"]: row["bits_per_byte"] for row in measured},
            "epochs": {name: counts[f"{_CODES[name]}_epochs"] for name in self.languages},
        }


def trial_of(
    groups: Sequence[Group],
    proxy: Proxy,
    encoded: EncodedTexts,
    held_out: Mapping[str, Documents],
    *,
    tokenizer: Path,
    out: Path,
) -> Trial:
    """The trial of some groups; only languages with held-out text are trained on.

    Raises:
        InputError: there is no held-out text in any of the groups' languages.
    """
    languages = [name for name in groups[0].ids if name in held_out]
    if not languages:
        raise InputError(
            "there is no held-out text in a language that every group has",
            hint="name some with --held-out LANGUAGE=FILE",
        )
    groups = [replace(group, ids={name: group.ids[name] for name in languages}) for group in groups]
    data = {group.name: encoded.documents(group.ids) for group in groups}
    return Trial(groups, proxy, data, held_out, tokenizer, out)


def _read_rows(path: Path) -> dict[str, dict[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}", hint="remove it") from error
    return found
