"""The acceptance suite: what every tokenizer must do, whoever made it.

Each check stands for a fault that Yi's users met (docs: 01-ai/Yi #30, #31, #80; 01-ai/Yi-1.5 #32,
#33, #36, #37) or that breaks training without a message.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import tokenizers

from tongwen.errors import InputError
from tongwen.files import read_json
from tongwen.tokenizer.samples import DIALOGUES, FULL_WIDTH, MARKERS, TEXTS
from tongwen.tokenizer.special import BOS, EOS, IM_END, IM_START, ROLES, chat_prompt
from tongwen.tokenizer.text import MODEL_FILE, Tokenizer

FAST_FILE = "tokenizer.json"


@dataclass(frozen=True)
class Check:
    """One line of the result. `passed` is None when there was nothing to check."""

    name: str
    passed: bool | None
    detail: str = ""


class Side(Protocol):
    """A way to run the tokenizer: SentencePiece or Hugging Face fast."""

    name: str
    size: int
    special_ids: dict[str, int]

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...


class SentencePieceSide:
    """The folder's `tokenizer.model` through our `Tokenizer`."""

    name = "SentencePiece"

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.load(folder)
        self.size = self.tokenizer.vocabulary_size
        self.special_ids = self.tokenizer.special_ids
        self.encode = self.tokenizer.encode

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, show_special=True)


class FastSide:
    """The folder's `tokenizer.json` through the `tokenizers` package."""

    name = "Hugging Face fast"

    def __init__(self, folder: Path) -> None:
        path = folder / FAST_FILE
        try:
            self._special = tokenizers.Tokenizer.from_file(str(path))
            self._plain = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises bare Exception
            raise InputError(f"cannot read {path}: {error}") from error
        self._plain.encode_special_tokens = True
        self.size = int(self._special.get_vocab_size(with_added_tokens=True))
        self.special_ids = {
            token.content: number
            for number, token in self._special.get_added_tokens_decoder().items()
            if token.special
        }

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        side = self._special if allow_special else self._plain
        return list(side.encode(text, add_special_tokens=False).ids)

    def encode_as_is(self, text: str) -> list[int]:
        """Ids with whatever the file itself adds before and after."""
        return list(self._plain.encode(text, add_special_tokens=True).ids)

    def decode(self, ids: list[int]) -> str:
        return str(self._special.decode(ids, skip_special_tokens=False))


def verify_folder(folder: Path) -> list[Check]:
    """Run the suite on a tokenizer or model folder.

    Raises:
        InputError: the folder has neither `tokenizer.model` nor `tokenizer.json`.
    """
    sides: list[Side] = []
    if (folder / MODEL_FILE).exists():
        sides.append(SentencePieceSide(folder))
    if (folder / FAST_FILE).exists():
        sides.append(FastSide(folder))
    if not sides:
        raise InputError(
            f"{folder} has no tokenizer: neither {MODEL_FILE} nor {FAST_FILE}",
            hint="give the folder of a tokenizer or of a model",
        )
    checks = [
        Check(f"{name} ({side.name})", not detail, detail)
        for name, function in _CHECKS
        for side in sides
        for detail in [next(function(side), "")]
    ]
    checks += _streaming(sides)
    checks.append(_agreement(sides))
    checks.append(_nothing_added(folder, sides))
    checks.append(_sizes(folder, sides))
    checks.append(_stop_ids(folder, sides[0]))
    return checks


def _round_trip(side: Side) -> Iterator[str]:
    """Each function here yields what is wrong; nothing when all is well."""
    for text in (*TEXTS, *MARKERS):
        for allow_special in (False, True):
            back = side.decode(side.encode(text, allow_special=allow_special))
            if back != text:
                yield f"{text!r} comes back as {back!r}"


def _no_dummy_prefix(side: Side) -> Iterator[str]:
    for word in ("Hello", "你好", "“"):
        first = side.decode(side.encode(word)[:1])
        if first.startswith(" "):
            yield f"{word!r} starts with the piece {first!r}"
        after = side.encode(f"{IM_END}{word}", allow_special=True)[1:]
        if after != side.encode(word):
            yield f"{word!r} is encoded in another way after {IM_END}"


def _two_pieces(side: Side) -> Iterator[str]:
    ids = side.encode(f"{IM_END}\n", allow_special=True)
    if len(ids) != 2 or ids[:1] != [side.special_ids.get(IM_END)]:
        yield f"{IM_END!r} and a newline give the ids {ids}"


def _turn_by_turn(side: Side) -> Iterator[str]:
    for messages in DIALOGUES:
        whole = side.encode(chat_prompt(messages, add_generation_prompt=False), allow_special=True)
        turns: list[int] = []
        for message in messages:
            turns += side.encode(f"{IM_START}{message['role']}\n", allow_special=True)
            turns += side.encode(message["content"])
            turns += side.encode(f"{IM_END}\n", allow_special=True)
        if turns != whole:
            yield f"{len(turns)} ids turn by turn, {len(whole)} for the whole of {messages[0]}"


def _role_names(side: Side) -> Iterator[str]:
    for role in ROLES:
        ids = side.encode(f"{IM_START}{role}\n", allow_special=True)
        if len(ids) != 3:
            pieces = [side.decode([number]) for number in ids]
            yield f"{role} is spelt {pieces}"


def _digits(side: Side) -> Iterator[str]:
    for text in ("1234567890", "3.14159", "2024年11月"):
        for number in side.encode(text):
            piece = side.decode([number])
            if sum(character.isdigit() for character in piece) > 1:
                yield f"{piece!r} is one piece"


def _full_width(side: Side) -> Iterator[str]:
    for character in FULL_WIDTH:
        if side.decode(side.encode(character)) != character:
            yield f"{character} becomes {side.decode(side.encode(character))!r}"


def _no_forgery(side: Side) -> Iterator[str]:
    control = {side.special_ids[piece] for piece in (BOS, EOS, IM_START, IM_END)
               if piece in side.special_ids}  # fmt: skip
    for text in MARKERS:
        if forged := control.intersection(side.encode(text)):
            yield f"the plain text {text!r} gives the control ids {sorted(forged)}"


_CHECKS: Sequence[tuple[str, Callable[[Side], Iterator[str]]]] = (
    ("decode(encode(text)) is the text, byte for byte", _round_trip),
    ("no dummy prefix", _no_dummy_prefix),
    ("<|im_end|> and a newline are two pieces", _two_pieces),
    ("a dialogue turn by turn is the whole dialogue", _turn_by_turn),
    ("role names are one piece each", _role_names),
    ("digits are one piece each", _digits),
    ("full-width punctuation is kept", _full_width),
    ("text cannot forge control ids", _no_forgery),
)


def _streaming(sides: Sequence[Side]) -> Iterator[Check]:
    name = "a streamed answer shows no broken character and loses no space"
    for side in sides:
        if not isinstance(side, SentencePieceSide):
            continue
        for text in TEXTS:
            decoder = side.tokenizer.streaming_decoder()
            parts = [decoder.push(number) for number in side.encode(text)] + [decoder.flush()]
            if "".join(parts) != text:
                yield Check(name, False, f"{text!r} is streamed as {parts}")
                return
        yield Check(name, True)
        return
    yield Check(name, None, f"needs {MODEL_FILE}")


def _agreement(sides: Sequence[Side]) -> Check:
    name = "SentencePiece and Hugging Face fast give equal ids"
    if len(sides) < 2:
        return Check(name, None, f"needs {MODEL_FILE} and {FAST_FILE}")
    first, second = sides
    for text in (*TEXTS, *MARKERS):
        for allow_special in (False, True):
            ids = first.encode(text, allow_special=allow_special)
            others = second.encode(text, allow_special=allow_special)
            if ids != others:
                return Check(name, False, f"{text!r}: {ids[:20]} and {others[:20]}")
    return Check(name, True)


def _nothing_added(folder: Path, sides: Sequence[Side]) -> Check:
    """No BOS or EOS comes by itself."""
    name = "nothing is added before or after a text"
    config = _json(folder / "tokenizer_config.json")
    for key in ("add_bos_token", "add_eos_token", "add_prefix_space"):
        if config.get(key):
            return Check(name, False, f"tokenizer_config.json says {key}: {config[key]}")
    for side in sides:
        if isinstance(side, FastSide) and side.encode_as_is("同文 a") != side.encode("同文 a"):
            return Check(name, False, f"{FAST_FILE} adds {side.encode_as_is('')}")
    return Check(name, True)


def _sizes(folder: Path, sides: Sequence[Side]) -> Check:
    name = "its size is that of the model's embedding"
    sizes = {side.name: side.size for side in sides}
    if (rows := _embedding_rows(folder)) is not None:
        sizes["embedding"] = rows
    if (size := _json(folder / "config.json").get("vocab_size")) is not None:
        sizes["config.json"] = size
    detail = ", ".join(f"{key} {value:,}" for key, value in sizes.items())
    if len(sizes) < 2:
        return Check(name, None, f"only {detail}")
    return Check(name, len(set(sizes.values())) == 1, detail)


def _embedding_rows(folder: Path) -> int | None:
    """Rows of `model.embed_tokens.weight` in a safetensors folder, from the file's header."""
    tensor = "model.embed_tokens.weight"
    index = _json(folder / "model.safetensors.index.json").get("weight_map", {})
    path = folder / index.get(tensor, "model.safetensors")
    if not path.exists():
        return None
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return int(header[tensor]["shape"][0]) if tensor in header else None


def _stop_ids(folder: Path, side: Side) -> Check:
    name = "all files agree on where an answer ends"
    generation = _json(folder / "generation_config.json")
    tokenizer_eos = _json(folder / "tokenizer_config.json").get("eos_token")
    config_eos = _json(folder / "config.json").get("eos_token_id")
    if isinstance(tokenizer_eos, dict):
        tokenizer_eos = tokenizer_eos.get("content")
    known = [side.special_ids[piece] for piece in (EOS, IM_END) if piece in side.special_ids]
    if tokenizer_eos is not None and side.special_ids.get(tokenizer_eos) not in known:
        return Check(name, False, f"tokenizer_config.json says {tokenizer_eos!r}")
    if not generation:
        return Check(name, None, "no generation_config.json")
    stop = _as_set(generation.get("eos_token_id"))
    if stop != set(known):
        return Check(
            name, False, f"generation_config.json stops at {sorted(stop)}, the pieces are {known}"
        )
    if config_eos is not None and not _as_set(config_eos) <= stop:
        return Check(name, False, f"config.json stops at {config_eos}")
    return Check(name, True, f"ids {sorted(stop)}")


def _as_set(value: Any) -> set[int]:
    if value is None:
        return set()
    return set(value) if isinstance(value, list) else {value}


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty when there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    try:
        value = read_json(path) if path.exists() else {}
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    return value if isinstance(value, dict) else {}
