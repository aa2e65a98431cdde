"""Dialogue files as training data."""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, starmap
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from tongwen.errors import InputError
from tongwen.tokenizer.special import ANSWER_ROLE, Message, check_messages
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.sequences import Documents
from tongwen.tune.settings import PairSettings

_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class DialogueData:
    """Encoded dialogues, and what was left out.

    Attributes:
        documents: one document a dialogue; targets are the answers and the `<|im_end|>` after.
        dialogues: how many there are.
        too_long: dialogues left out because they do not fit into one sequence.
        answer_tokens: tokens that carry loss.
    """

    documents: Documents
    dialogues: int
    too_long: int
    answer_tokens: int


def read_dialogues(
    paths: Sequence[Path],
    tokenizer: Tokenizer,
    sequence_tokens: int,
    *,
    pairs: Sequence[tuple[Path, PairSettings]] = (),
) -> DialogueData:
    """All dialogues of some JSONL files; `pairs` are files whose rows a template turns into one.

    Raises:
        InputError: a file cannot be read or is empty, a row is malformed (the message names
            file and line), or no dialogue fits into a sequence.
    """
    token_ids: list[int] = []
    is_answer: list[bool] = []
    starts: list[int] = []
    too_long = 0
    sources = [(path, _messages) for path in paths]
    sources += [(path, partial(_pair_messages, pair)) for path, pair in pairs]
    for messages in chain.from_iterable(starmap(_dialogues, sources)):
        ids, answers = tokenizer.encode_dialogue(messages)
        if len(ids) > sequence_tokens:
            too_long += 1
            continue
        starts.append(len(token_ids))
        token_ids += ids
        is_answer += answers
    if not starts:
        raise InputError(
            f"none of the {too_long:,} dialogues fits into {sequence_tokens:,} tokens",
            hint="raise tune.sequence_tokens",
        )
    ids_array, wanted = np.array(token_ids, dtype=np.uint32), np.array(is_answer, dtype=np.bool_)
    first = np.array(starts, dtype=np.int64)
    content = xxhash.xxh3_128(ids_array.tobytes())
    content.update(wanted.tobytes())
    content.update(first.tobytes())
    documents = Documents(
        parts=(ids_array,),
        starts=first,
        tokens=np.diff(first, append=len(token_ids)),
        is_target=wanted,
        digest=content.hexdigest(),
    )
    return DialogueData(documents, len(starts), too_long, int(wanted.sum()))


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            return gzip.decompress(data)
        if path.suffix == ".zst":
            import zstandard  # only who has such files needs the package

            with zstandard.ZstdDecompressor().stream_reader(data) as reader:
                return reader.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"cannot read the dialogues {path}: {error}", hint="look at tune.dialogues"
        ) from error
    return data


def _dialogues(path: Path, messages_of: Callable[[Any], list[Message]]) -> Iterator[list[Message]]:
    """The checked messages of each row."""
    data = _read(path)
    if not data.strip():
        raise InputError(f"the dialogue file {path} is empty")
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield messages_of(json.loads(line))
        except ValueError as error:
            raise InputError(f"{path}, line {number}: not JSON in UTF-8: {error}") from error
        except InputError as error:
            hint = error.hint or '{"messages": [{"role": "user", "content": "..."}, ...]}'
            raise InputError(f"{path}, line {number}: {error.message}", hint=hint) from error


def _pair_messages(pair: PairSettings, row: Any) -> list[Message]:
    def fill(template: str) -> str:
        return _FIELD.sub(lambda match: _field(row, match[1]), template)

    roles = (("user", pair.question), (ANSWER_ROLE, pair.answer))
    turns = [{"role": role, "content": fill(template)} for role, template in roles]
    return _messages({"messages": turns})


def _field(row: Any, name: str) -> str:
    if not isinstance(row, dict) or not isinstance(row.get(name), str):
        fields = ", ".join(row) if isinstance(row, dict) else "none"
        raise InputError(f"the row has no text field {name!r}", hint=f"fields of the row: {fields}")
    return str(row[name])


def _messages(row: Any) -> list[Message]:
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        raise InputError("the row has no list `messages` of objects")
    check_messages(messages)
    for number, message in enumerate(messages, start=1):
        if any("\ud800" <= character <= "\udfff" for character in message["content"]):
            raise InputError(f"message {number} holds half a character (a lone surrogate)")
    if not any(message["role"] == ANSWER_ROLE for message in messages):
        raise InputError(f"no message has the role {ANSWER_ROLE!r}, so there is nothing to learn")
    return messages
