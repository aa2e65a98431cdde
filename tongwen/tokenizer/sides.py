"""Two ways to run the tokenizer of a folder, ours or anyone's: SentencePiece, Hugging Face."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import tokenizers

from tongwen.errors import InputError
from tongwen.tokenizer.folder import FAST_FILE, MODEL_FILE
from tongwen.tokenizer.text import Tokenizer

__all__ = ["FAST_FILE", "FastSide", "SentencePieceSide", "Side", "open_sides"]
_BATCH_TEXTS = 256  # the texts of one call, as in `encode`
_BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")


class Side(Protocol):
    """A way to run the tokenizer."""

    name: str
    size: int
    special_ids: dict[str, int]

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]: ...

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]: ...

    def decode(self, ids: list[int]) -> str: ...

    def piece(self, number: int) -> str: ...


class SentencePieceSide:
    """A `tokenizer.model` through our `Tokenizer`."""

    name = "SentencePiece"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.size = tokenizer.vocabulary_size
        self.special_ids = tokenizer.special_ids
        self.encode = tokenizer.encode
        self.piece = tokenizer.piece

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text; special pieces in it stay text."""
        # Compiled code and Arrow, which a server that verifies its folder does without.
        import pyarrow as pa

        from tongwen.tokenizer.bulk import BulkEncoder

        bulk = BulkEncoder(self.tokenizer)
        found: list[list[int]] = []
        for start in range(0, len(texts), _BATCH_TEXTS):
            part = pa.array(texts[start : start + _BATCH_TEXTS], pa.large_string())
            ids, starts = bulk.encode(part)
            numbers, places = ids.tolist(), starts.tolist()
            found += [numbers[places[n] : places[n + 1]] for n in range(len(part))]
        return found

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, show_special=True)


class FastSide:
    """A `tokenizer.json` through the `tokenizers` package.

    Raises:
        InputError: it cannot be read.
    """

    name = "Hugging Face fast"

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._special = tokenizers.Tokenizer.from_file(str(path))
            self._plain = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises bare Exception
            raise InputError(
                f"cannot read {path} as a Hugging Face tokenizer: {error}", hint="copy it again"
            ) from error
        for side in (self._special, self._plain):
            side.no_truncation()  # a file may cut texts or fill them up, which is no spelling
            side.no_padding()
        self._plain.encode_special_tokens = True
        self.size = int(self._special.get_vocab_size(with_added_tokens=True))
        self.special_ids = {
            token.content: number
            for number, token in self._special.get_added_tokens_decoder().items()
            if token.special
        }

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        side = self._special if allow_special else self._plain
        try:
            return list(side.encode(text, add_special_tokens=False).ids)
        except Exception as error:  # as above: a model without a piece for the unknown
            raise InputError(f"{self._path} cannot encode {text[:40]!r}: {error}") from error

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text; special pieces in it stay text."""
        try:
            found = self._plain.encode_batch_fast(list(texts), add_special_tokens=False)
        except Exception as error:
            raise InputError(f"{self._path} cannot encode a text: {error}") from error
        return [list(item.ids) for item in found]

    def encode_as_is(self, text: str) -> list[int]:
        """Ids with whatever the file itself adds before and after."""
        return list(self._plain.encode(text, add_special_tokens=True).ids)

    def decode(self, ids: list[int]) -> str:
        return str(self._special.decode(ids, skip_special_tokens=False))

    def piece(self, number: int) -> str:
        """The piece of an id as the file spells it, empty when it has none."""
        return self._special.id_to_token(number) or ""


def is_byte_piece(piece: str) -> bool:
    """Whether a piece represents a byte that has no other piece: `<0xE4>`."""
    return _BYTE_PIECE.fullmatch(piece) is not None


def open_sides(folder: Path) -> list[Side]:
    """Every way to run the tokenizer of a tokenizer or model folder, or of one of its files.

    Raises:
        InputError: there is no such folder, it has no tokenizer, or a file is damaged.
    """
    if not folder.exists():
        raise InputError(
            f"there is no folder {folder}", hint="give the folder of a tokenizer or of a model"
        )
    files = [folder] if folder.is_file() else [folder / MODEL_FILE, folder / FAST_FILE]
    sides: list[Side] = [
        FastSide(path) if path.suffix == ".json" else SentencePieceSide(Tokenizer.load(path))
        for path in files
        if path.exists()
    ]
    if not sides:
        raise InputError(
            f"{folder} has no tokenizer: neither {MODEL_FILE} nor {FAST_FILE}",
            hint="give the folder of a tokenizer or of a model",
        )
    return sides
