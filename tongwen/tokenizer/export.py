"""The tokenizer's Hugging Face files, with the ids of the SentencePiece model."""

import json
from pathlib import Path

import sentencepiece
import tokenizers
import xxhash
from tokenizers import AddedToken, decoders, models

from tongwen.files import write_bytes, write_json, write_text
from tongwen.tokenizer.special import (
    SPECIAL_PIECES,
    UNKNOWN,
    special_tokens_map,
    tokenizer_config,
)
from tongwen.tokenizer.text import MODEL_FILE, SPACE_MARK

MODEL_DIGEST, VOCABULARY_DIGEST = "tongwen_model_digest", "tongwen_vocabulary_digest"
"""Keys of `tokenizer_config.json`, which transformers keeps when it saves a folder without the
SentencePiece model: shards that were made with it can still be read."""


def fast_tokenizer(model: bytes) -> tokenizers.Tokenizer:
    """The same BPE for the `tokenizers` package.

    Spaces are spaces in the vocabulary, not SentencePiece's mark: so there is neither a
    normalizer nor a pre-tokenizer to which a converter could add a dummy prefix, and a literal
    U+2581 is spelt in bytes as in `Tokenizer.encode`.
    """
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    numbers = range(processor.get_piece_size())
    vocabulary = {
        processor.id_to_piece(number).replace(SPACE_MARK, " "): number for number in numbers
    }
    learned = [
        number
        for number in numbers
        if not (
            processor.is_control(number)
            or processor.is_unknown(number)
            or processor.is_byte(number)
        )
    ]
    learned.sort(key=processor.get_score, reverse=True)
    inverse = {number: piece for piece, number in vocabulary.items()}
    mergeable = {inverse[number] for number in learned}
    # SentencePiece joins any two neighbours whose union is a piece, the best piece first.
    merges = [
        (piece[:cut], piece[cut:])
        for piece in (inverse[number] for number in learned)
        for cut in range(1, len(piece))
        if piece[:cut] in mergeable and piece[cut:] in mergeable
    ]
    fast = tokenizers.Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=merges, unk_token=UNKNOWN, byte_fallback=True, fuse_unk=False
        )
    )
    fast.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    fast.add_special_tokens(
        [AddedToken(piece, special=True, normalized=False) for piece in SPECIAL_PIECES]
    )
    return fast


def vocabulary_digest(fast: tokenizers.Tokenizer) -> str:
    """Names all pieces with their ids, added ones included."""
    pieces = sorted((number, piece) for piece, number in fast.get_vocab().items())
    return xxhash.xxh3_128_hexdigest(json.dumps(pieces).encode())


def write_tokenizer_folder(model: bytes, folder: Path) -> None:
    """Write the SentencePiece model and all files that transformers reads with it."""
    write_bytes(folder / MODEL_FILE, model)
    fast = fast_tokenizer(model)
    rules = json.loads(fast.to_str())
    write_text(folder / "tokenizer.json", json.dumps(rules, ensure_ascii=False) + "\n")
    origin = {
        MODEL_DIGEST: xxhash.xxh3_128_hexdigest(model),
        VOCABULARY_DIGEST: vocabulary_digest(fast),
    }
    write_json(folder / "tokenizer_config.json", tokenizer_config() | origin)
    write_json(folder / "special_tokens_map.json", special_tokens_map())
