"""Text to token ids and back, byte for byte, from a SentencePiece model alone."""

import codecs
import itertools
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import sentencepiece
import xxhash

from tongwen.errors import InputError
from tongwen.tokenizer.folder import FAST_FILE, MODEL_FILE
from tongwen.tokenizer.special import (
    ANSWER_ROLE,
    EOS,
    IM_END,
    IM_START,
    SPECIAL_PIECES,
    Message,
    check_messages,
)
from tongwen.tokenizer.template import cut_at_typed

__all__ = ["MODEL_FILE", "SPACE_MARK", "StreamingDecoder", "Tokenizer"]

SPACE_MARK = "\u2581"
"""SentencePiece writes a space as this character (▁), so the two cannot be distinguished."""


class Tokenizer:
    """Encodes and decodes with one SentencePiece model.

    `decode(encode(text)) == text` for every text without lone surrogates. Special pieces are
    those the model itself declares as control pieces.
    """

    beginning_ids: tuple[int, ...] = ()
    """What every text begins with in other people's models that need it: their BOS."""
    strips_first_space = False
    """Whether decoding takes away a space before the first piece."""
    allows_rows_without_piece = False
    """Whether ids beyond the vocabulary have no text, or are refused."""

    def __init__(self, model: bytes) -> None:
        self.model = model
        """The bytes of the model file."""
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        processor = self._processor
        self.vocabulary_size: int = processor.get_piece_size()
        self.special_ids: dict[str, int] = {
            processor.id_to_piece(number): number
            for number in range(self.vocabulary_size)
            if processor.is_control(number) or processor.is_unknown(number)
        }
        """Piece -> id of the control pieces and the unknown piece."""
        ends = [self.special_ids[piece] for piece in (EOS, IM_END) if piece in self.special_ids]
        self.stop_ids: tuple[int, ...] = tuple(ends) or tuple(
            number for number in (processor.eos_id(),) if number >= 0
        )
        """An answer ends before the first of these."""
        self._mark_ids = [
            processor.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE_MARK.encode("utf-8")
        ]

    @cached_property
    def special_pattern(self) -> re.Pattern[str]:
        """Finds special pieces in a text, as its one group."""
        names = sorted(filter(None, self.special_ids), key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, names)) + ")" if names else r"((?!))")

    @cached_property
    def end_id(self) -> int:
        """What ends a document.

        Raises:
            InputError: there is no such piece.
        """
        return self._special_id(EOS)

    @property
    def start_id(self) -> int:
        """The id that precedes a text without a beginning."""
        return self.beginning_ids[-1] if self.beginning_ids else self.end_id

    @property
    def has_chat(self) -> bool:
        """Whether it can write dialogues."""
        return {IM_START, IM_END} <= self.special_ids.keys()

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        """What each id adds to a text, as UTF-8 bytes; nothing for special ids."""
        return tuple(self._bytes_of(number) for number in range(self.vocabulary_size))

    def _bytes_of(self, number: int) -> bytes:
        piece: str = self._processor.id_to_piece(number)
        if piece in self.special_ids:
            return b""
        if self._processor.is_byte(number):
            return bytes([int(piece[3:5], 16)])
        return piece.replace(SPACE_MARK, " ").encode("utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The tokenizer of a folder, or of a `tokenizer.model` or `tokenizer.json` file.

        Of a folder with both, the SentencePiece model is read where it is one of ours, whose ids
        are proven equal, and otherwise `tokenizer.json`, which transformers reads.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        path = Path(path)
        file = path / MODEL_FILE if path.is_dir() else path
        fast = path / FAST_FILE if path.is_dir() else path
        if fast.name.endswith(".json") and fast.is_file() and cls is Tokenizer:
            from tongwen.tokenizer.fast import FastTokenizer

            own = cls._own(file) if path.is_dir() and file.is_file() else None
            return own or FastTokenizer(fast)  # type: ignore[return-value]
        return cls._read(file)

    @classmethod
    def _own(cls, file: Path) -> Self | None:
        """The tokenizer of a model with our special pieces; None for any other."""
        found = cls._read(file)
        pieces = [found.piece(number) for number in range(len(SPECIAL_PIECES))]
        return found if pieces == list(SPECIAL_PIECES) else None

    @classmethod
    def _read(cls, file: Path) -> Self:
        try:
            return cls(file.read_bytes())
        except OSError as error:
            raise InputError(
                f"cannot read the tokenizer {file}: {error.strerror}",
                hint="a model folder needs its tokenizer.json or tokenizer.model; copy it there or "
                "train one with `tongwen tokenizer train`",
            ) from error
        except RuntimeError as error:
            raise InputError(
                f"{file} is no SentencePiece model, or it is damaged", hint="copy it again"
            ) from error

    @cached_property
    def digest(self) -> str:
        """xxh3-128 of the model file, 32 hexadecimal digits."""
        return xxhash.xxh3_128_hexdigest(self.model)

    def piece(self, number: int) -> str:
        """The piece of an id as SentencePiece spells it."""
        return str(self._processor.id_to_piece(number))

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Token ids of `text`; no id is added before or after.

        Args:
            text: any text.
            allow_special: read `<|im_start|>` and the like as special ids. Otherwise they are
                plain text, so that what a user types can never end a turn or begin another.

        Raises:
            InputError: the text holds a lone surrogate, which no UTF-8 can carry.
        """
        refuse_surrogates(text)
        if not allow_special:
            return self._encode_plain(text)
        ids: list[int] = []
        for part in self.split_special(text):
            if part in self.special_ids:
                ids.append(self.special_ids[part])
            else:
                ids += self._encode_plain(part)
        return ids

    def encode_with_ends(self, text: str) -> tuple[list[int], list[int]]:
        """As `encode`, and the UTF-8 byte of the text at which each id ends."""
        ids = self.encode(text)
        sizes = (len(self.token_bytes[number]) for number in ids)
        return ids, list(itertools.accumulate(sizes))

    def split_special(self, text: str) -> list[str]:
        """The text cut before and after every special piece that it spells out."""
        return self.special_pattern.split(text)

    def encode_rendered(self, text: str, typed: Sequence[tuple[int, int]]) -> list[int]:
        """Token ids of what a chat template wrote: special pieces are read, but at `typed`, first
        character and the one after the last, they are text that somebody wrote.
        """
        return [
            number
            for _, part, is_special in cut_at_typed(text, typed)
            for number in self.encode(part, allow_special=is_special)
        ]

    def _encode_plain(self, text: str) -> list[int]:
        if SPACE_MARK not in text:
            return list(self._processor.encode(text))
        # The mark is spelt in bytes: as a piece it would come back as a space.
        ids: list[int] = []
        for number, part in enumerate(text.split(SPACE_MARK)):
            if number:
                ids += self._mark_ids
            ids += self._processor.encode(part)
        return ids

    def decode(self, ids: Iterable[int], *, show_special: bool = False) -> str:
        """The text of `ids`.

        Bytes that are not UTF-8 become U+FFFD; an unfinished character at the very end, where an
        answer was cut, is left out. Special ids are left out unless `show_special`.

        Raises:
            InputError: an id is outside the vocabulary.
        """
        return self.streaming_decoder(show_special=show_special).push_all(ids)

    def streaming_decoder(self, *, show_special: bool = False) -> "StreamingDecoder":
        """A decoder that takes one id at a time."""
        return StreamingDecoder(self, show_special=show_special)

    def encode_dialogue(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        is_learnt: Sequence[bool] | None = None,
    ) -> tuple[list[int], list[bool]]:
        """Token ids of a ChatML dialogue, and for each whether the model has to learn it.

        True for the content of answers and the `<|im_end|>` after it; with `is_learnt`, which has
        an entry for each message, for that of the messages it names. Turns are encoded one by
        one, which gives the ids of the whole dialogue, since nothing merges across a newline.
        Markers inside a message stay text.

        Raises:
            InputError: see `check_messages`; or the tokenizer has no ChatML pieces.
        """
        check_messages(messages)
        start, end = self._special_id(IM_START), self._special_id(IM_END)
        newline = self.encode("\n")
        ids: list[int] = []
        is_answer: list[bool] = []

        def add(new_ids: list[int], answers: bool) -> None:
            ids.extend(new_ids)
            is_answer.extend([answers] * len(new_ids))

        if is_learnt is None:
            is_learnt = [message["role"] == ANSWER_ROLE for message in messages]
        for message, answers in zip(messages, is_learnt, strict=True):
            add([start, *self.encode(message["role"]), *newline], False)
            add([*self.encode(message["content"]), end], answers)
            add(newline, False)
        if add_generation_prompt:
            add([start, *self.encode(ANSWER_ROLE), *newline], False)
        return ids, is_answer

    def _special_id(self, piece: str) -> int:
        if piece not in self.special_ids:
            raise InputError(
                f"this tokenizer has no control piece {piece}",
                hint="see what it has with `tongwen tokenizer verify DIR`",
            )
        return self.special_ids[piece]


class StreamingDecoder:
    """Decodes a growing answer; the texts it returns join to what `Tokenizer.decode` returns."""

    def __init__(self, tokenizer: Tokenizer, *, show_special: bool = False) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._strips_space = tokenizer.strips_first_space
        self._allows_rows_without_piece = tokenizer.allows_rows_without_piece
        self._shown = (
            {number: piece.encode() for piece, number in tokenizer.special_ids.items()}
            if show_special
            else {}
        )
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, number: int) -> str:
        """The text that this id completes; empty while a character is unfinished.

        Other people's models have rows in their embedding that no piece belongs to: as in
        transformers, such ids have no text.

        Raises:
            InputError: the id is outside the vocabulary.
        """
        return self._decoder.decode(self._bytes_of(number))

    def push_all(self, numbers: Iterable[int]) -> str:
        """The text that these ids complete, as if each were pushed.

        Raises:
            InputError: an id is outside the vocabulary.
        """
        return self._decoder.decode(b"".join(map(self._bytes_of, numbers)))

    def _bytes_of(self, number: int) -> bytes:
        if not 0 <= number < len(self._token_bytes):
            if number >= 0 and self._allows_rows_without_piece:
                return b""
            raise InputError(
                f"token id {number} is outside the vocabulary of {len(self._token_bytes):,} pieces"
            )
        data = self._shown.get(number) or self._token_bytes[number]
        if self._strips_space and data:
            self._strips_space = False
            data = data.removeprefix(b" ")
        return data

    def flush(self) -> str:
        """End the text. An unfinished character is dropped."""
        self._decoder.reset()
        return ""


def refuse_surrogates(text: str) -> None:
    """Refuse a text that no UTF-8 can carry.

    Raises:
        InputError: with the place of the first lone surrogate.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text holds the lone surrogate U+{ord(text[error.start]):04X} "
            f"at character {error.start:,}, which is half a character",
            hint="send the text as valid UTF-8",
        ) from error
