"""Other people's tokenizers: a `tokenizer.json` with its folder's settings and chat template.

`tokenizers` encodes, so ids are those of transformers; what each id adds to a text is worked out
here, because streaming and evaluation need it byte by byte.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers
import xxhash

from tongwen.errors import InputError
from tongwen.tokenizer import folder as files
from tongwen.tokenizer.chat import ChatTemplate
from tongwen.tokenizer.export import MODEL_DIGEST, VOCABULARY_DIGEST, vocabulary_digest
from tongwen.tokenizer.special import ANSWER_ROLE, EOS, IM_END, IM_START, Message, check_messages
from tongwen.tokenizer.template import cut_at_typed
from tongwen.tokenizer.text import SPACE_MARK, Tokenizer, refuse_surrogates

_DOCUMENT_ENDS = (EOS, "<|end_of_text|>", "</s>")
"""What ends a document where `eos_token` may be the end of a turn."""
_TOKEN_KEYS = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
_TURN_ENDS = (IM_END, "<|eot_id|>", "<|eom_id|>", "<|end|>")


class FastTokenizer(Tokenizer):
    """The tokenizer of a `tokenizer.json`.

    Args:
        file: the `tokenizer.json`; the other files of its folder are read too.

    Raises:
        InputError: a file is damaged, or the tokenizer writes its pieces in a way not known here.
    """

    allows_rows_without_piece = True

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self.model = file.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read the tokenizer {file}: {error.strerror}") from error
        folder = file.parent
        config = files.json_object(folder / files.CONFIG_FILE)
        self._names = files.special_names(folder)
        self._special, self._plain = (self._opened(config) for _ in range(2))
        self._plain.encode_special_tokens = True
        self._decoder_parts = tuple(_parts(json.loads(self.model).get("decoder")))
        self._check_decoder()
        self.strips_first_space = any(map(_strips_space, self._decoder_parts))
        vocabulary = self._special.get_vocab(with_added_tokens=True)
        self.vocabulary_size = 1 + max(vocabulary.values())
        added = self._special.get_added_tokens_decoder()
        names = self._names
        self.special_ids = {
            token.content: number
            for number, token in added.items()
            if token.special or token.content in names.values()
        }
        self.beginning_ids = self._beginning(config)
        self.stop_ids = self._stops(folder)
        source = files.chat_template(folder)
        self._template = None
        if source is not None:
            self._template = ChatTemplate(source, names, list(self.special_ids))

    def _opened(self, config: Mapping[str, Any]) -> tokenizers.Tokenizer:
        try:
            opened = tokenizers.Tokenizer.from_str(self.model.decode("utf-8"))
        except Exception as error:  # the package raises bare Exception
            raise InputError(
                f"cannot read {self._file} as a Hugging Face tokenizer: {error}",
                hint="copy it again",
            ) from error
        opened.no_truncation()  # a file may cut texts or fill them up, which is no spelling
        opened.no_padding()
        entries = config.get("added_tokens_decoder")
        for _, entry in sorted((entries or {}).items(), key=lambda item: int(item[0])):
            # Pieces that transformers adds to the file's own.
            if isinstance(entry, dict) and opened.token_to_id(str(entry.get("content"))) is None:
                known = {key: entry[key] for key in _TOKEN_KEYS if key in entry}
                opened.add_tokens([tokenizers.AddedToken(**known)])
        added = {token.content for token in opened.get_added_tokens_decoder().values()}
        named = [piece for piece in self._names.values() if piece not in added]
        opened.add_special_tokens(
            [tokenizers.AddedToken(piece, special=True, normalized=False) for piece in named]
        )
        return opened

    def _check_decoder(self) -> None:
        known = {"ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}
        kinds = [part.get("type") for part in self._decoder_parts]
        for part in self._decoder_parts:
            is_other = part.get("type") == "Replace" and (
                part.get("pattern") != {"String": SPACE_MARK} or part.get("content") != " "
            )
            if part.get("type") not in known or is_other:
                raise InputError(
                    f"{self._file}: decoder is {part}",
                    hint="byte-level BPE and SentencePiece's pieces can be read",
                )
        if not kinds:
            raise InputError(
                f"{self._file}: decoder is null, so its pieces cannot be joined to a text",
                hint="byte-level BPE and SentencePiece's pieces can be read",
            )

    def _beginning(self, config: Mapping[str, Any]) -> tuple[int, ...]:
        """What transformers puts before a text."""
        if "add_bos_token" in config or "add_eos_token" in config:
            bos = self.special_ids.get(self._names.get("bos_token", ""))
            return (bos,) if config.get("add_bos_token") and bos is not None else ()
        whole = self._special.encode("a", add_special_tokens=True).ids
        bare = self._special.encode("a", add_special_tokens=False).ids
        for place in range(len(whole) - len(bare) + 1):
            if whole[place : place + len(bare)] == bare:
                return tuple(whole[:place])
        return ()

    def _stops(self, folder: Path) -> tuple[int, ...]:
        ids = {number for number in files.stop_ids_of(folder) if number < self.vocabulary_size}
        ids.add(self.end_id)
        source = files.chat_template(folder) or ""
        # A base model's files may know the end of a document only.
        ids |= {self.special_ids[end] for end in _TURN_ENDS
                if end in self.special_ids and (end == IM_END or end in source)}  # fmt: skip
        eos = self._names.get("eos_token")
        if eos in self.special_ids:
            ids.add(self.special_ids[eos])
        return tuple(sorted(ids))

    @cached_property
    def end_id(self) -> int:
        for piece in (*_DOCUMENT_ENDS, self._names.get("eos_token", "")):
            if piece in self.special_ids:
                return self.special_ids[piece]
        raise InputError(
            f"the tokenizer {self._file} has no piece that ends a document: no eos_token",
            hint="copy its tokenizer_config.json to it",
        )

    @cached_property
    def digest(self) -> str:
        """xxh3-128 of `tokenizer.json`, or of the model of ours that it was made from;
        32 hexadecimal digits.
        """
        config = files.json_object(self._file.parent / files.CONFIG_FILE)
        if config.get(VOCABULARY_DIGEST) == vocabulary_digest(self._special):
            return str(config[MODEL_DIGEST])
        return xxhash.xxh3_128_hexdigest(self.model)

    @property
    def has_chat(self) -> bool:
        return self._template is not None or super().has_chat

    @property
    def chat_template(self) -> str | None:
        """The source of the model's own chat template."""
        return None if self._template is None else self._template.source

    def piece(self, number: int) -> str:
        return self._special.id_to_token(number) or ""

    def _bytes_of(self, number: int) -> bytes:
        piece = self.piece(number)
        if piece in self.special_ids:
            return b""
        kinds = {part["type"] for part in self._decoder_parts}
        if "ByteLevel" in kinds:
            try:
                return bytes(_BYTE_OF[character] for character in piece)
            except KeyError:
                return piece.encode("utf-8")  # an added piece, as `tokenizers` decodes it
        if "ByteFallback" in kinds and len(piece) == 6 and piece.startswith("<0x"):
            try:
                return bytes([int(piece[3:5], 16)])
            except ValueError:
                pass
        if kinds & {"Replace", "Metaspace"}:
            piece = piece.replace(SPACE_MARK, " ")
        return piece.encode("utf-8")

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        return list(self._encoding(text, allow_special=allow_special).ids)

    def _encoding(self, text: str, *, allow_special: bool) -> Any:
        refuse_surrogates(text)
        side = self._special if allow_special else self._plain
        try:
            return side.encode(text, add_special_tokens=False)
        except Exception as error:  # as above: a model without a piece for the unknown
            raise InputError(f"{self._file} cannot encode {text[:40]!r}: {error}") from error

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text; special pieces in it stay text."""
        try:
            found = self._plain.encode_batch_fast(list(texts), add_special_tokens=False)
        except Exception as error:
            raise InputError(f"{self._file} cannot encode a text: {error}") from error
        return [list(item.ids) for item in found]

    def encode_with_ends(self, text: str) -> tuple[list[int], list[int]]:
        encoding = self._encoding(text, allow_special=False)
        sizes = [len(self.token_bytes[number]) for number in encoding.ids]
        if sum(sizes) == len(text.encode("utf-8")):
            return list(encoding.ids), list(itertools.accumulate(sizes))
        # A space is put before the text, or characters are exchanged: by whole characters then.
        lengths = (len(character.encode("utf-8")) for character in text)
        places = [0, *itertools.accumulate(lengths)]
        return list(encoding.ids), [places[end] for _, end in encoding.offsets]

    def encode_dialogue(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        is_learnt: Sequence[bool] | None = None,
    ) -> tuple[list[int], list[bool]]:
        """As `Tokenizer.encode_dialogue`, in the model's own chat template where it has one.

        An answer is learnt with the piece that ends its turn.
        """
        if not self.has_chat:
            raise InputError(
                f"the tokenizer {self._file} cannot write dialogues: it has neither a chat "
                f"template nor {IM_START} and {IM_END}",
                hint=f"tongwen tokenizer grow {self._file.parent} --out NEW adds them to a model",
            )
        if self._template is None:
            return super().encode_dialogue(
                messages, add_generation_prompt=add_generation_prompt, is_learnt=is_learnt
            )
        check_messages(messages)
        for message in messages:
            refuse_surrogates(message["content"])
        if is_learnt is None:
            is_learnt = [message["role"] == ANSWER_ROLE for message in messages]
        rendered = self._template.render(
            messages, add_generation_prompt=add_generation_prompt, learnt=is_learnt
        )
        ids: list[int] = []
        wanted: list[bool] = []
        for start, part, allow_special in cut_at_typed(rendered.text, rendered.typed):
            encoding = self._encoding(part, allow_special=allow_special)
            ids += encoding.ids
            wanted += [
                any(start + first < end and start + last > begin for begin, end in rendered.answers)
                for first, last in encoding.offsets
            ]
        return ids, wanted


def _parts(decoder: Any) -> Iterator[dict[str, Any]]:
    if isinstance(decoder, dict) and decoder.get("type") == "Sequence":
        for part in decoder.get("decoders", ()):
            yield from _parts(part)
    elif isinstance(decoder, dict):
        yield decoder


def _strips_space(part: Mapping[str, Any]) -> bool:
    if part["type"] == "Metaspace":
        return part.get("prepend_scheme") != "never"
    return part["type"] == "Strip" and bool(part.get("start"))


def _byte_characters() -> dict[str, int]:
    """The character by which byte-level BPE writes each byte (Radford et al. 2019, GPT-2)."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {
        chr(0x100 + place): byte for place, byte in enumerate(hidden)
    }


_BYTE_OF = _byte_characters()
