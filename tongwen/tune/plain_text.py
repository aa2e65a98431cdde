"""Plain text next to the dialogues: to measure what tuning forgets, and to be learnt again."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tongwen.errors import InputError, RecipeError
from tongwen.files import value_digest
from tongwen.formats.charset.decode import decode
from tongwen.formats.languages import LANGUAGES
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.mixture import Mixture, Stage
from tongwen.train.data.mixture_settings import BLOCK_SAMPLES
from tongwen.train.data.packing import in_epochs
from tongwen.train.data.sequences import Batch, Documents, PackedSequences, Samples
from tongwen.train.data.sources import ShardData
from tongwen.train.data.validation import ValidationSet
from tongwen.tune.dialogues import held_out

_MEASURED_TOKENS = 65_536
"""Of each language at most: half a per cent of bits per byte shows, and no run waits for it."""
_MEASURED_SHARE = 0.1  # of a small file: the rest is learnt from
# What is held out, as a whole: smaller pieces are predicted without context.
_PIECE_CHARACTERS = 2_000
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff]")
_HAN_SHARE = 0.2  # Chinese about software can have more Latin letters than Han characters


@dataclass(frozen=True)
class PlainText:
    """Plain text of a run.

    Attributes:
        training: to learn again; None without any.
        measured: language -> documents that are never learnt here.
    """

    training: Documents | None
    measured: Mapping[str, Documents]

    def measured_sets(self, sequence_tokens: int, max_tokens: int) -> dict[str, ValidationSet]:
        """What bits per byte are measured on, before and after."""
        most = min(max_tokens, _MEASURED_TOKENS)
        return {
            language: ValidationSet.of(documents, sequence_tokens, max_tokens=most)
            for language, documents in self.measured.items()
        }


def plain_text_of_shards(shards_folder: Path, tokenizer_folder: Path) -> PlainText:
    """The documents of the encode stage.

    Raises:
        InputError: there are none, or another tokenizer made them.
    """
    shards = ShardData.open(shards_folder, tokenizer_folder)
    return PlainText(shards.training, shards.validation)


def plain_text_of_files(paths: Sequence[Path], tokenizer: Tokenizer) -> PlainText:
    """Text files, a tenth of them kept to measure with.

    They are taken in pieces of whole paragraphs; which pieces are measured depends on their text
    alone.

    Raises:
        InputError: a file cannot be read or has no text.
    """
    pieces = [piece for path in paths for piece in _pieces(path)]
    is_measured = held_out(pieces, _MEASURED_SHARE, fewest=1)
    by_language: dict[str, list[str]] = {}
    for piece, measured in zip(pieces, is_measured, strict=True):
        if measured:
            by_language.setdefault(_language(piece), []).append(piece)
    learnt = [piece for piece, measured in zip(pieces, is_measured, strict=True) if not measured]
    return PlainText(
        _documents(learnt, tokenizer) if learnt else None,
        {name: _documents(texts, tokenizer) for name, texts in sorted(by_language.items())},
    )


def _pieces(path: Path) -> Iterator[str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the plain text {path}: {error.strerror}", hint="look at tune.plain_text"
        ) from error
    text = decode(data, "").text.lstrip("\ufeff").strip()
    if not text or "\0" in text:
        raise InputError(
            f"{path} is {'no text' if text else 'empty'}",
            hint="tune.plain_text names text files; other kinds are read by tongwen crawl",
        )
    piece = ""
    for paragraph in re.split(r"\n\s*\n", text):
        if piece and len(piece) + len(paragraph) > _PIECE_CHARACTERS:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{paragraph}" if piece else paragraph
    yield piece


def _language(text: str) -> str:
    return "zh" if len(_HAN.findall(text)) > _HAN_SHARE * len(text) else "en"


def _documents(texts: Sequence[str], tokenizer: Tokenizer) -> Documents:
    encoded = [[*tokenizer.encode(text), tokenizer.end_id] for text in texts]
    tokens = np.array([len(ids) for ids in encoded], dtype=np.int64)
    return Documents(
        parts=(np.concatenate([np.array(ids, dtype=np.uint32) for ids in encoded]),),
        starts=np.cumsum(tokens) - tokens,
        tokens=tokens,
        is_target=None,
        digest=value_digest(list(texts)),
        utf8_bytes=sum(len(text.encode()) for text in texts),
        languages=np.array([LANGUAGES.index("other")] * len(texts), dtype=np.uint8),
    )


class ReplayedSequences(Samples):
    """Sequences of dialogues with a share of sequences of plain text among them.

    Which of them sample n has, and which of their samples it is, follows from n alone.

    Args:
        dialogues: one of two kinds of sequences.
        text: the other, of the same length.
        share: of the samples that are plain text.
        seed: of their places.
    """

    def __init__(
        self, dialogues: PackedSequences, text: PackedSequences, share: float, seed: int
    ) -> None:
        self._kinds = (dialogues, text)
        self._seed = seed
        replayed = round(share * BLOCK_SAMPLES)
        if not 0 < replayed < BLOCK_SAMPLES:
            raise RecipeError(f"replay_share is {share}", hint="use a number from 0.001 to 0.9")
        quotas = {"dialogues": BLOCK_SAMPLES - replayed, "text": replayed}
        self._mixture = Mixture([Stage(0, quotas)], seed)
        self.sequences = round(dialogues.sequences * BLOCK_SAMPLES / quotas["dialogues"])
        self.fingerprint_parts = {
            **dialogues.fingerprint_parts,
            "replayed_documents": text.fingerprint_parts["documents"],
            "replayed_of_1000": replayed,
        }

    def batch(self, first_sample: int, samples: int) -> Batch:
        numbers = np.arange(first_sample, first_sample + samples, dtype=np.int64)
        kinds, numbers = self._mixture.places(numbers)
        parts, rows = [], []
        for kind, data in enumerate(self._kinds):
            here = np.flatnonzero(kinds == kind)
            if len(here):
                chosen = in_epochs(numbers[here], data.sequences, self._seed)
                parts.append(data.sequences_at(chosen))
                rows.append(here)
        order = torch.from_numpy(np.argsort(np.concatenate(rows)))
        documents = [part.documents_BT for part in parts if part.documents_BT is not None]
        return Batch(
            torch.cat([part.token_ids_BT for part in parts])[order],
            torch.cat([part.targets_BT for part in parts])[order],
            torch.cat([part.positions_BT for part in parts])[order],
            torch.cat(documents)[order] if documents else None,
            sum(part.targets for part in parts),
        )

    def describe(self, samples: int) -> dict[str, float]:
        dialogues, text = self._mixture.taken(samples).tolist()
        counts = self._kinds[0].describe(dialogues)
        return {
            **counts,
            "replayed_sequences": text,
            "replay_epochs": round(text / self._kinds[1].sequences, 4),
        }
