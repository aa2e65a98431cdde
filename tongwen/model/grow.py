"""New special pieces for a model that has none to write dialogues with."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tongwen.errors import InputError
from tongwen.files import write_json, write_text
from tongwen.model.folder import load_model_folder, write_model_folder
from tongwen.tokenizer.folder import (
    FAST_FILE,
    GENERATION_FILE,
    MODEL_FILE,
    TEMPLATE_FILE,
    copy_tokenizer,
    json_object,
    stop_ids_of,
)
from tongwen.tokenizer.special import CHAT_TEMPLATE, IM_END, IM_START
from tongwen.tokenizer.text import Tokenizer

CHATML_PIECES = (IM_START, IM_END)


def grow_model(
    source: Path, out: Path, pieces: Sequence[str], *, writes_chatml: bool
) -> dict[str, int]:
    """Write the model folder `source` to `out` with `pieces` as new special ones.

    Their rows of embedding and output head are the mean of all others (Hewitt 2021, "Initializing
    new word embeddings for pretrained language models"): none of them is likelier than the average
    piece. Ids of other pieces stay.

    Args:
        source: a model folder with `tokenizer.json`.
        out: a folder that is not there yet.
        pieces: texts such as `<|im_start|>`.
        writes_chatml: make ChatML its chat template, and `<|im_end|>` an end of answers.

    Returns:
        Piece -> id.

    Raises:
        InputError: a piece is empty, named twice or known already; `out` exists; or the model or
            its `tokenizer.json` cannot be read.
    """
    if out.exists():
        raise InputError(f"{out} exists already", hint="name another folder")
    if not (source / FAST_FILE).is_file():
        raise InputError(
            f"{source} has no {FAST_FILE}",
            hint="load and save it with transformers' AutoTokenizer, which writes one",
        )
    tokenizer = Tokenizer.load(source)
    model, config = load_model_folder(source)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        ids = _write_tokenizer(source, folder, pieces, writes_chatml=writes_chatml)
        rows = max(config.vocabulary_size, 1 + max(ids.values()))
        state = {
            name: _grown(tensor, rows, tokenizer.vocabulary_size, sorted(ids.values()))
            if name in ("model.embed_tokens.weight", "lm_head.weight")
            else tensor
            for name, tensor in model.state_dict().items()
        }
        write_model_folder(
            out,
            replace(config, vocabulary_size=rows),
            lambda names: {name: state[name] for name in names},
            folder,
            model.model.embed_tokens.weight.dtype,
        )
    return ids


def _write_tokenizer(
    source: Path, folder: Path, pieces: Sequence[str], *, writes_chatml: bool
) -> dict[str, int]:
    import tokenizers

    opened = tokenizers.Tokenizer.from_file(str(source / FAST_FILE))
    for number, piece in enumerate(pieces):
        if not piece.strip() or piece in pieces[:number]:
            raise InputError(f"the new piece {piece!r} is empty or named twice")
        if opened.token_to_id(piece) is not None:
            raise InputError(
                f"the tokenizer in {source} has {piece} already, as {opened.token_to_id(piece)}",
                hint="name only pieces that it lacks",
            )
    if writes_chatml:
        pieces = [*pieces, *(one for one in CHATML_PIECES if opened.token_to_id(one) is None)]
        pieces = list(dict.fromkeys(pieces))
    if not pieces:
        raise InputError(
            f"no new piece is named, and {source} has those of ChatML", hint="name one with --piece"
        )
    opened.add_special_tokens(
        [tokenizers.AddedToken(piece, special=True, normalized=False) for piece in pieces]
    )
    copy_tokenizer(source, folder)
    for name in (MODEL_FILE, "added_tokens.json"):  # they know nothing of the new pieces
        (folder / name).unlink(missing_ok=True)
    rules = json.loads(opened.to_str())
    write_text(folder / FAST_FILE, json.dumps(rules, ensure_ascii=False) + "\n")
    vocabulary: dict[str, int] = opened.get_vocab(with_added_tokens=True)
    ids = {piece: vocabulary[piece] for piece in pieces}
    generation = json_object(source / GENERATION_FILE)
    if writes_chatml:
        write_text(folder / TEMPLATE_FILE, CHAT_TEMPLATE)
        generation["eos_token_id"] = sorted({*stop_ids_of(source), vocabulary[IM_END]})
    if generation:
        write_json(folder / GENERATION_FILE, generation)
    return ids


def _grown(weight_VM: Tensor, rows: int, known: int, new_ids: Sequence[int]) -> Tensor:
    mean_M = weight_VM[:known].mean(0, dtype=torch.float32).to(weight_VM.dtype)
    grown_VM = mean_M.repeat(rows, 1)
    grown_VM[: len(weight_VM)] = weight_VM
    grown_VM[list(new_ids)] = mean_M
    return grown_VM
