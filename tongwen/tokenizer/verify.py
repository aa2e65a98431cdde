"""The acceptance suite: what every tokenizer must do, whatever its origin.

Each check covers a fault that Yi's users met (docs: 01-ai/Yi #30, #31, #80; 01-ai/Yi-1.5 #32,
#33, #36, #37) or that breaks training without a message.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongwen.errors import InputError
from tongwen.tokenizer.folder import MODEL_FILE, chat_template, json_object
from tongwen.tokenizer.samples import DIALOGUES, FULL_WIDTH, MARKERS, TEXTS
from tongwen.tokenizer.sides import FAST_FILE, FastSide, SentencePieceSide, Side, open_sides
from tongwen.tokenizer.special import BOS, EOS, IM_END, IM_START, ROLES, chat_prompt


@dataclass(frozen=True)
class Check:
    """One line of the result. `passed` is None when there was nothing to check."""

    name: str
    passed: bool | None
    detail: str = ""


def verify_folder(folder: Path) -> list[Check]:
    """Run the suite on a tokenizer or model folder.

    Raises:
        InputError: see `open_sides`; or another file of the folder is damaged.
    """
    sides = open_sides(folder)
    checks = [
        Check(f"{name} ({side.name})", *_verdict(function, side))
        for name, function in _CHECKS
        for side in sides
    ]
    checks += _streaming(sides)
    checks.append(_agreement(sides))
    checks.append(_nothing_added(folder, sides))
    checks.append(_read_as_written(folder))
    checks.append(_flags(folder, sides[0]))
    checks += [_template(folder, side) for side in sides]
    checks.append(_sizes(folder, sides))
    checks.append(_stop_ids(folder, sides[0]))
    return checks


def _verdict(function: Callable[[Side], Iterator[str]], side: Side) -> tuple[bool | None, str]:
    if function in _OF_DIALOGUES and not {IM_START, IM_END} <= side.special_ids.keys():
        return None, f"it has no control pieces {IM_START} and {IM_END}"
    detail = next(function(side), "")
    return not detail, detail


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
        if IM_END not in side.special_ids:
            continue
        after = side.encode(f"{IM_END}{word}", allow_special=True)[1:]
        if after != side.encode(word):
            yield f"{word!r} is encoded in another way after {IM_END}"


def _two_pieces(side: Side) -> Iterator[str]:
    if IM_END not in side.special_ids:
        yield f"it has no control piece {IM_END}"
        return
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


_OF_DIALOGUES = (_turn_by_turn, _role_names)
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
    """No BOS or EOS is added automatically."""
    name = "nothing is added before or after a text"
    config = json_object(folder / "tokenizer_config.json")
    for key in ("add_bos_token", "add_eos_token", "add_prefix_space"):
        if config.get(key):
            return Check(name, False, f"tokenizer_config.json says {key}: {config[key]}")
    for side in sides:
        if isinstance(side, FastSide) and side.encode_as_is("同文 a") != side.encode("同文 a"):
            return Check(name, False, f"{FAST_FILE} adds {side.encode_as_is('')}")
    return Check(name, True)


_GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
_REBUILDING_CLASSES = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "T5Tokenizer")


def _read_as_written(folder: Path) -> Check:
    """Whether transformers takes the files as they are, not a class that builds its own.

    Llama's class adds a dummy prefix, whatever the files say (01-ai/Yi-1.5 #37).
    """
    name = "transformers reads the tokenizer as it is written"
    config = json_object(folder / "tokenizer_config.json")
    for key in ("clean_up_tokenization_spaces", "split_special_tokens"):
        if config.get(key):
            return Check(name, False, f"tokenizer_config.json says {key}: {config[key]}")
    if not config:
        return Check(name, None, "no tokenizer_config.json")
    said = config.get("tokenizer_class")
    if said in _GENERIC_CLASSES:
        return Check(name, True)
    model_type = json_object(folder / "config.json").get("model_type")
    if said is None and model_type is None:
        return Check(name, None, "tokenizer_config.json names no tokenizer_class")
    what = (
        f"tokenizer_class {said!r}"
        if said is not None
        else f"no tokenizer_class, so that of the model type {model_type!r} is taken"
    )
    rules = json_object(folder / FAST_FILE)
    is_plain = bool(rules) and not rules.get("normalizer") and not rules.get("pre_tokenizer")
    rebuilds = str(said).removesuffix("Fast") in _REBUILDING_CLASSES
    if is_plain or rebuilds or not isinstance(said, str | None):
        return Check(
            name,
            False,
            f"tokenizer_config.json says {what}, and a class of its own gives other ids; "
            f"it must say {_GENERIC_CLASSES[0]!r}",
        )
    return Check(name, None, f"tokenizer_config.json says {what}; only transformers can run that")


def _flags(folder: Path, side: Side) -> Check:
    """The JSON files and the tokenizer agree about special pieces."""
    name = "the files agree on which pieces are special"
    config = json_object(folder / "tokenizer_config.json")
    entries = config.get("added_tokens_decoder", {})
    tokens = [("tokenizer_config.json", config)]
    tokens.append(("special_tokens_map.json", json_object(folder / "special_tokens_map.json")))
    for detail in (*_wrong_entries(entries, side), *_wrong_tokens(tokens, side)):
        return Check(name, False, detail)
    if not entries and not any(values for _, values in tokens):
        return Check(name, None, "no tokenizer_config.json and no special_tokens_map.json")
    return Check(name, True)


def _wrong_entries(entries: Any, side: Side) -> Iterator[str]:
    where = "added_tokens_decoder of tokenizer_config.json"
    if not isinstance(entries, dict):
        yield f"{where} is not an object"
        return
    for number, entry in entries.items():
        piece = entry.get("content") if isinstance(entry, dict) else None
        if not isinstance(piece, str) or not str(number).isdecimal():
            yield f"{where} has the entry {number!r}: {entry!r}"
            continue
        if piece in side.special_ids and side.special_ids[piece] != int(number):
            yield f"{where} says {piece} is {number}, its id is {side.special_ids[piece]}"
        if (piece in side.special_ids) != bool(entry.get("special")):
            has = "not special" if piece in side.special_ids else "special"
            yield f"{where} says {piece} is {has}, the tokenizer says otherwise"
        for key in ("lstrip", "rstrip", "single_word"):
            if entry.get(key):
                yield f"{where} says {key} of {piece}, which changes the text around it"


def _wrong_tokens(files: Sequence[tuple[str, dict[str, Any]]], side: Side) -> Iterator[str]:
    """`bos_token` and the like that are unknown, or differ from file to file."""
    for key in ("bos_token", "eos_token", "unk_token", "pad_token"):
        said: dict[str, str] = {}
        for file, values in files:
            value = values.get(key)
            piece = value.get("content") if isinstance(value, dict) else value
            if piece is None:
                continue
            if piece not in side.special_ids:
                yield f"{file} says {key} is {piece!r}, which is not a special piece"
            said[file] = str(piece)
        if len(set(said.values())) > 1:
            yield f"{key} is " + ", ".join(f"{piece} in {file}" for file, piece in said.items())


def _template(folder: Path, side: Side) -> Check:
    """The chat template of the folder, rendered and encoded, is the dialogue of training."""
    name = f"the chat template writes ChatML ({side.name})"
    source = chat_template(folder)
    if not {IM_START, IM_END} <= side.special_ids.keys():
        return Check(name, None, f"it has no control pieces {IM_START} and {IM_END}")
    if source is None:
        return Check(name, None, "the folder has no chat template")
    try:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        return Check(name, None, "needs the package jinja2")
    config = json_object(folder / "tokenizer_config.json")
    tokens = {key: value for key, value in config.items() if key.endswith("_token")}
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    for messages in DIALOGUES:
        for add_prompt in (False, True):
            expected = chat_prompt(messages, add_generation_prompt=add_prompt)
            try:
                text = environment.from_string(source).render(
                    messages=list(messages), add_generation_prompt=add_prompt, **tokens
                )
            except (
                jinja2.TemplateError,
                TypeError,
                ValueError,
                LookupError,
                OverflowError,
            ) as error:
                return Check(name, False, f"it fails on {messages[0]}: {error}")
            if text != expected or side.encode(text, allow_special=True) != side.encode(
                expected, allow_special=True
            ):
                start = _first_difference(text, expected)
                return Check(
                    name,
                    False,
                    f"at character {start} it writes {text[start : start + 40]!r}, "
                    f"not {expected[start : start + 40]!r}",
                )
    return Check(name, True)


def _refuse(message: str) -> None:
    raise ValueError(message)


def _first_difference(text: str, other: str) -> int:
    pairs = enumerate(zip(text, other, strict=False))
    return next((at for at, (one, two) in pairs if one != two), min(len(text), len(other)))


def _sizes(folder: Path, sides: Sequence[Side]) -> Check:
    name = "its size is that of the model's embedding"
    sizes = {side.name: side.size for side in sides}
    if (rows := _embedding_rows(folder)) is not None:
        sizes["embedding"] = rows
    if (size := json_object(folder / "config.json").get("vocab_size")) is not None:
        sizes["config.json"] = size
    detail = ", ".join(f"{key} {value:,}" for key, value in sizes.items())
    if len(sizes) < 2:
        return Check(name, None, f"only {detail}")
    return Check(name, len(set(sizes.values())) == 1, detail)


def _embedding_rows(folder: Path) -> int | None:
    """Rows of `model.embed_tokens.weight` in a safetensors folder, from the file's header."""
    tensor = "model.embed_tokens.weight"
    index = json_object(folder / "model.safetensors.index.json").get("weight_map", {})
    path = folder / index.get(tensor, "model.safetensors")
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, path.stat().st_size)))
        return int(header[tensor]["shape"][0]) if tensor in header else None
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{path} is no safetensors file, or it is damaged", hint="copy it again"
        ) from error


def _stop_ids(folder: Path, side: Side) -> Check:
    name = "all files agree on where an answer ends"
    generation = json_object(folder / "generation_config.json")
    tokenizer_eos = json_object(folder / "tokenizer_config.json").get("eos_token")
    config_eos = json_object(folder / "config.json").get("eos_token_id")
    if isinstance(tokenizer_eos, dict):
        tokenizer_eos = tokenizer_eos.get("content")
    known = [side.special_ids[piece] for piece in (EOS, IM_END) if piece in side.special_ids]
    if tokenizer_eos is not None and side.special_ids.get(tokenizer_eos) not in known:
        detail = f"tokenizer_config.json says {tokenizer_eos!r}, and not {EOS} or {IM_END}"
        return Check(name, False, detail)
    if not generation:
        return Check(name, None, "no generation_config.json")
    stop = _as_set(generation.get("eos_token_id"))
    if stop != set(known):
        return Check(
            name,
            False,
            f"generation_config.json stops at {sorted(stop, key=str)}, the pieces are {known}",
        )
    if config_eos is not None and not _as_set(config_eos) <= stop:
        return Check(name, False, f"config.json stops at {config_eos}")
    return Check(name, True, f"ids {sorted(stop)}")


def _as_set(value: Any) -> set[Any]:
    """The ids of one key, which is a number, a list or absent; anything else as it is written."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    return {item if isinstance(item, int) else repr(item) for item in items}
