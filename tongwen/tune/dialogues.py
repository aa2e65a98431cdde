"""Dialogue files as training data."""

import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import xxhash

from tongwen.errors import InputError, RecipeError
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.packing import Int64s
from tongwen.train.data.sequences import Documents, PackedSequences
from tongwen.train.data.validation import ValidationSet
from tongwen.tune.layouts import Dialogue, NotForTuningError, dialogue_of
from tongwen.tune.rows import file_rows
from tongwen.tune.settings import PairSettings
from tongwen.tune.template import pair_dialogue

Item = TypeVar("Item")

_SHOWN_FIELDS = 8  # a line; more are counted
_FEWEST_HELD_OUT = 2  # so that there is a spread


@dataclass
class FileCounts:
    """What a file held, and what was left out of it.

    Attributes:
        path: of the file.
        rows: all rows that are not blank.
        layouts: dialogues to train on or to measure with, by layout.
        bad_rows: rows that are malformed.
        first_bad_row: where the first is and what is wrong with it.
        empty_answers: answers without a character, which are not learnt.
        without_answer: dialogues left out because no answer of theirs is learnt.
        too_long: dialogues left out because they do not fit into one sequence.
        unused: field -> how many dialogues hold something in it that is in no turn.
        noun: what a row holds: a dialogue, or a pair of answers.
    """

    path: Path
    rows: int = 0
    layouts: Counter[str] = field(default_factory=Counter)
    bad_rows: int = 0
    first_bad_row: str = ""
    empty_answers: int = 0
    without_answer: int = 0
    too_long: int = 0
    unused: Counter[str] = field(default_factory=Counter)
    noun: Literal["dialogue", "pair"] = "dialogue"

    def line(self) -> str:
        """All of it in a line for people; what did not happen is not in it."""
        layouts = ", ".join(f"{name} {count:,}" for name, count in self.layouts.most_common())
        found = _number(self.layouts.total(), self.noun)
        nothing = "an answer to learn" if self.noun == "dialogue" else "two different answers"
        parts = [f"{self.path.name}: {found}" + f" ({layouts})" * bool(layouts)]
        bad = _number(self.bad_rows, "malformed row")
        left_out = (
            (self.bad_rows, f"{bad} (the first: {self.first_bad_row})"),
            (self.without_answer, f"{self.without_answer:,} without {nothing}"),
            (self.too_long, f"{self.too_long:,} too long"),
        )
        shown = [words for count, words in left_out if count]
        if shown:
            parts.append(f"left out: {', '.join(shown)}")
        if self.empty_answers:
            parts.append(_number(self.empty_answers, "empty answer"))
        if self.unused:
            names = [f"{name} {count:,}" for name, count in self.unused.most_common(_SHOWN_FIELDS)]
            more = len(self.unused) - len(names)
            parts.append(f"unused fields: {', '.join(names)}" + f" and {more} more" * (more > 0))
        return "; ".join(parts)


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


@dataclass(frozen=True)
class EncodedDialogues:
    """Dialogues as ids.

    Attributes:
        documents: one document a dialogue; targets are the answers and the `<|im_end|>` after.
        answer_tokens: tokens that carry loss.
        answer_bytes: length of the answers in UTF-8.
    """

    documents: Documents
    answer_tokens: int
    answer_bytes: int

    @property
    def dialogues(self) -> int:
        return len(self.documents.starts)

    def validation_set(self, sequence_tokens: int, max_tokens: int) -> ValidationSet:
        """At most `max_tokens` of them, to measure the loss on answers."""
        data = PackedSequences(self.documents, sequence_tokens, seed=0)
        return ValidationSet(
            data=data,
            sequences=min(data.sequences, -(-max_tokens // sequence_tokens)),
            bits_per_byte_of_a_nat=self.answer_tokens / max(1, self.answer_bytes) / math.log(2),
        )


@dataclass(frozen=True)
class DialogueData:
    """Encoded dialogues, and what was left out.

    Attributes:
        training: to learn from.
        held_out: to measure the loss on answers with; None without any.
        files: what each file held.
    """

    training: EncodedDialogues
    held_out: EncodedDialogues | None
    files: tuple[FileCounts, ...]

    @property
    def documents(self) -> Documents:
        return self.training.documents

    @property
    def dialogues(self) -> int:
        return self.training.dialogues

    @property
    def answer_tokens(self) -> int:
        return self.training.answer_tokens

    @property
    def too_long(self) -> int:
        return sum(file.too_long for file in self.files)

    def left_out(self) -> dict[str, float]:
        """Counts for the manifest of what is not learnt."""
        unused = {name for file in self.files for name in file.unused}
        return {
            "dialogues_held_out": self.held_out.dialogues if self.held_out else 0,
            "dialogues_too_long": self.too_long,
            "dialogues_without_answer": sum(file.without_answer for file in self.files),
            "empty_answers": sum(file.empty_answers for file in self.files),
            "bad_rows": sum(file.bad_rows for file in self.files),
            "unused_fields": len(unused),
        }


def read_dialogues(
    paths: Sequence[Path],
    tokenizer: Tokenizer,
    sequence_tokens: int,
    *,
    pairs: Sequence[tuple[Path, PairSettings]] = (),
    keep_empty_answers: bool = False,
    maximum_bad_rows: float = 0.01,
    held_out_share: float = 0.0,
    weights: Mapping[str, float] | None = None,
) -> DialogueData:
    """All dialogues of some files, whatever layout each row has.

    Args:
        paths: files whose rows have a known layout.
        tokenizer: to encode with.
        sequence_tokens: longer dialogues are left out.
        pairs: files whose rows a template turns into dialogues.
        keep_empty_answers: learn to end at once where the data does so.
        maximum_bad_rows: share of a file's rows that may be malformed.
        held_out_share: see `TuneSettings`.
        weights: likewise.

    Raises:
        RecipeError: a weight is of a file that is not read.
        InputError: a file cannot be read, is empty, holds no dialogues, or has too many malformed
            rows (the message names file and place of the first); or no dialogue is left to learn.
    """
    sources: list[tuple[Path, Callable[[Any], Dialogue]]] = [(path, dialogue_of) for path in paths]
    sources += [(path, partial(pair_dialogue, pair)) for path, pair in pairs]
    weights = weights or {}
    _check_weights(weights, [path for path, _ in sources])
    encoded, files = _Encoded(), []
    for path, turn_into_dialogue in sources:
        file = FileCounts(path)
        files.append(file)
        weight = weights.get(path.name, 1.0)
        for dialogue in rows_as(file, _checked(turn_into_dialogue), maximum_bad_rows):
            is_learnt = _learnt(dialogue, file, keeps_empty=keep_empty_answers)
            file.unused.update(dialogue.unused)
            if not any(is_learnt):
                file.without_answer += 1
                continue
            ids, wanted = tokenizer.encode_dialogue(dialogue.messages, is_learnt=is_learnt)
            if len(ids) > sequence_tokens:
                file.too_long += 1
                continue
            file.layouts[dialogue.layout] += 1
            encoded.add(dialogue, is_learnt, ids, wanted, weight)
    if not encoded.starts:
        raise _nothing_to_learn(files, sequence_tokens)
    return encoded.split(held_out_share, tuple(files))


def _check_weights(weights: Mapping[str, float], paths: Sequence[Path]) -> None:
    names = [path.name for path in paths]
    for name in weights:
        if name not in names:
            raise RecipeError(
                f"tune.weights names {name!r}, which is no file of tune.dialogues or tune.pairs",
                hint=f"files: {', '.join(names)}",
            )


def _checked(turn_into_dialogue: Callable[[Any], Dialogue]) -> Callable[[Any], Dialogue]:
    def checked(row: Any) -> Dialogue:
        dialogue = turn_into_dialogue(row)
        refuse_half_characters(dialogue)
        return dialogue

    return checked


def _nothing_to_learn(files: Sequence[FileCounts], sequence_tokens: int) -> InputError:
    too_long = sum(file.too_long for file in files)
    if too_long:
        return InputError(
            f"none of the {too_long:,} dialogues fits into {sequence_tokens:,} tokens",
            hint="raise tune.sequence_tokens",
        )
    lines = "; ".join(file.line() for file in files)
    hint = "is the `weight` of every answer 0?"
    if any(file.empty_answers for file in files):
        hint = "--set tune.keep_empty_answers=true learns empty answers too"
    return InputError(f"no dialogue has an answer to learn: {lines}", hint=hint)


def rows_as(
    file: FileCounts, turn_into: Callable[[Any], Item], maximum_bad_rows: float
) -> Iterator[Item]:
    """What the rows of a file hold; malformed rows are counted, and refused if they are many.

    Raises:
        InputError: the file cannot be read, has no rows, or too many are malformed.
    """
    hint = None
    for row in file_rows(file.path):
        file.rows += 1
        try:
            if row.problem is not None:
                raise InputError(row.problem)
            item = turn_into(row.value)
        except NotForTuningError as error:
            raise InputError(
                f"{file.path}, {row.place}: {error.message}", hint=error.hint
            ) from None
        except InputError as error:
            if not file.bad_rows:
                file.first_bad_row, hint = f"{row.place}: {error.message}", error.hint
            file.bad_rows += 1
            continue
        yield item
    if not file.rows:
        raise InputError(f"the dialogue file {file.path} has no rows")
    if file.bad_rows > maximum_bad_rows * file.rows:
        raise InputError(
            f"{file.path}, {file.first_bad_row} ({file.bad_rows:,} of {_number(file.rows, 'row')} "
            f"malformed; tune.maximum_bad_rows allows {maximum_bad_rows:g} of them)",
            hint=hint,
        )


def refuse_half_characters(dialogue: Dialogue) -> None:
    """Refuse a dialogue that no UTF-8 can carry.

    Raises:
        InputError: with the number of the message.
    """
    for number, message in enumerate(dialogue.messages, start=1):
        try:
            message["content"].encode()
        except UnicodeEncodeError:
            raise InputError(
                f"message {number} holds half a character (a lone surrogate)"
            ) from None


def _learnt(dialogue: Dialogue, file: FileCounts, *, keeps_empty: bool) -> list[bool]:
    """Which turns are learnt: those of the dialogue, without empty answers; these are counted."""
    is_learnt = list(dialogue.is_learnt)
    for number, message in enumerate(dialogue.messages):
        if is_learnt[number] and not message["content"].strip():
            file.empty_answers += 1
            is_learnt[number] = keeps_empty
    return is_learnt


class _Encoded:
    """Dialogues as they are read, laid end to end."""

    def __init__(self) -> None:
        self._ids = array("I")
        self._wanted = bytearray()
        self.starts: list[int] = []
        self._answer_bytes: list[int] = []
        self._contents: list[Any] = []
        self._weights: list[float] = []

    def add(
        self,
        dialogue: Dialogue,
        is_learnt: Sequence[bool],
        ids: list[int],
        wanted: list[bool],
        weight: float,
    ) -> None:
        self._weights.append(weight)
        self.starts.append(len(self._ids))
        self._ids.extend(ids)
        self._wanted.extend(wanted)
        learnt = [
            message["content"]
            for message, is_wanted in zip(dialogue.messages, is_learnt, strict=True)
            if is_wanted
        ]
        self._answer_bytes.append(sum(len(text.encode()) for text in learnt))
        # By what is said, so that a dialogue stays on its side whatever the tokenizer and the file.
        self._contents.append([(turn["role"], turn["content"]) for turn in dialogue.messages])

    def split(self, share: float, files: tuple[FileCounts, ...]) -> DialogueData:
        """The data, a share of it held out; nothing when that is less than two dialogues."""
        is_held = held_out(self._contents, share)
        kept = self._encoded(is_held.astype(np.int64)) if is_held.any() else None
        copies = np.where(is_held, 0, self._copies())
        if not copies.any():
            raise InputError(
                "tune.weights leave no dialogue to learn", hint="give a file a larger weight"
            )
        return DialogueData(self._encoded(copies), kept, files)

    def _copies(self) -> npt.NDArray[np.int64]:
        """How often each dialogue is in an epoch: its file's weight, rounded up for that share of
        the dialogues that the rest is, drawn by content.
        """
        weights = np.array(self._weights)
        draws = _draws([["copies", content] for content in self._contents])
        return np.floor(weights + draws).astype(np.int64)

    def _encoded(self, copies: npt.NDArray[np.int64]) -> EncodedDialogues:
        """The dialogues, each so many times."""
        ids = np.array(self._ids, dtype=np.uint32)
        wanted = np.frombuffer(bytes(self._wanted), dtype=np.bool_)
        ends = np.array([*self.starts[1:], len(ids)], dtype=np.int64)
        tokens: Int64s = ends - np.array(self.starts, dtype=np.int64)
        if not (copies == 1).all():
            numbers = np.repeat(np.arange(len(copies)), copies)
            firsts = np.array(self.starts, dtype=np.int64)[numbers]
            tokens = tokens[numbers]
            places = np.repeat(firsts - (np.cumsum(tokens) - tokens), tokens)
            places += np.arange(len(places))
            ids, wanted = ids[places], wanted[places]
        first: Int64s = np.cumsum(tokens) - tokens
        content = xxhash.xxh3_128(ids.tobytes())
        content.update(wanted.tobytes())
        content.update(first.tobytes())
        documents = Documents(
            parts=(ids,),
            starts=first,
            tokens=tokens,
            is_target=wanted,
            digest=content.hexdigest(),
        )
        answer_bytes = int((np.array(self._answer_bytes, dtype=np.int64) * copies).sum())
        return EncodedDialogues(documents, int(wanted.sum()), answer_bytes)


def held_out(
    contents: Sequence[Any], share: float, *, fewest: int = _FEWEST_HELD_OUT
) -> npt.NDArray[np.bool_]:
    """Which of some JSON values are held out: a share of them, drawn by content, so that equal ones
    are on the same side; none where the share is fewer than `fewest`.
    """
    is_held = np.zeros(len(contents), dtype=np.bool_)
    if share * len(contents) < fewest and not (fewest == 1 and len(contents) > 1):
        return is_held
    draws = _draws(contents)
    # At least the value that is drawn first, and with it those that are equal to it.
    is_held = draws <= max(share, float(draws.min()))
    if is_held.all():  # all are equal
        is_held[:] = False
    return is_held


def _draws(contents: Sequence[Any]) -> npt.NDArray[np.float64]:
    """A number from 0 to 1 of each JSON value."""
    digests = [xxhash.xxh3_64_intdigest(json.dumps(content).encode()) for content in contents]
    return np.array(digests, dtype=np.uint64) / 2.0**64
