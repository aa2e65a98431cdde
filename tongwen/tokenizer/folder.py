"""The tokenizer's part of a model folder, ours or another's: the files and their content."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tongwen.errors import InputError
from tongwen.files import read_json
from tongwen.stages import find_model_folder

MODEL_FILE = "tokenizer.model"
FAST_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
GENERATION_FILE = "generation_config.json"

TOKENIZER_FILES = (
    MODEL_FILE,
    FAST_FILE,
    CONFIG_FILE,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    TEMPLATE_FILE,
)
"""Every file by which a model folder carries its tokenizer; most have some of them."""


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer's files of one folder to another, with modes that others can read."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def find_tokenizer_folder(path: Path) -> Path:
    """The folder with a tokenizer: `path` itself, or the model folder that it holds.

    Raises:
        InputError: there is none.
    """
    if has_tokenizer(path):
        return path
    if path.is_dir() and has_tokenizer(path / "stages" / "tokenizer"):
        return path / "stages" / "tokenizer"
    folder = find_model_folder(path)
    if not has_tokenizer(folder):
        raise InputError(
            f"{folder} has no tokenizer: neither {FAST_FILE} nor {MODEL_FILE}",
            hint="copy the tokenizer's files there",
        )
    return folder


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has its own tokenizer."""
    return any((folder / name).is_file() for name in (FAST_FILE, MODEL_FILE))


def json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty when there is no such file.

    Raises:
        InputError: the file is damaged, or holds something else.
    """
    try:
        value = read_json(path) if path.exists() else {}
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}", hint="copy it again") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object", hint="copy it again")
    return value


def special_names(folder: Path) -> dict[str, str]:
    """`bos_token` and the like -> piece, from `tokenizer_config.json` or the older map."""
    names: dict[str, str] = {}
    for file in ("special_tokens_map.json", CONFIG_FILE):
        for key, value in json_object(folder / file).items():
            piece = value.get("content") if isinstance(value, Mapping) else value
            if key.endswith("_token") and not key.startswith("add_") and isinstance(piece, str):
                names[key] = piece
    return names


def chat_template(folder: Path) -> str | None:
    """The default chat template: of `chat_template.jinja`, else of `tokenizer_config.json`.

    Raises:
        InputError: it is neither a text nor a list of named texts.
    """
    file = folder / TEMPLATE_FILE
    if file.exists():
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{file} is not UTF-8: {error}", hint="copy it again") from error
    value = json_object(folder / CONFIG_FILE).get("chat_template")
    if isinstance(value, list):
        named = {one.get("name"): one.get("template") for one in value if isinstance(one, dict)}
        value = named.get("default")
    if value is not None and not isinstance(value, str):
        raise InputError(
            f"chat_template of {folder / CONFIG_FILE} is of type "
            f"{type(value).__name__}, not a text",
            hint="copy it again",
        )
    return value


def stop_ids_of(folder: Path) -> set[int]:
    """The ids at which the folder's own files end an answer.

    Raises:
        InputError: `eos_token_id` is neither an id nor a list of ids.
    """
    found: set[int] = set()
    for name in (GENERATION_FILE, "config.json"):
        ids = json_object(folder / name).get("eos_token_id")
        for number in ids if isinstance(ids, list) else [] if ids is None else [ids]:
            if isinstance(number, bool) or not isinstance(number, int):
                raise InputError(
                    f"{folder / name}: eos_token_id is {ids!r}, expected ids", hint="copy it again"
                )
            found.add(number)
    return found
