"""Train a byte-fallback BPE with SentencePiece, to the specification of Yi's tokenizer.

Yi (01.AI 2024, arXiv:2403.04652, section 2.2): identity normalization, so that full-width Chinese
punctuation survives; no dummy prefix; digits one by one; rare characters in bytes. BPE: Sennrich,
Haddow and Birch 2016, arXiv:1508.07909; SentencePiece: Kudo and Richardson 2018, arXiv:1808.06226.
"""

import io
import re
from collections.abc import Iterable, Iterator

import sentencepiece

from tongwen.errors import InputError
from tongwen.tokenizer.special import BOS, EOS, ROLES, SPECIAL_PIECES, UNKNOWN
from tongwen.tokenizer.text import SPACE_MARK

_THREADS = 16  # stands in the model file, so it must not depend on the machine
# The trainer drops longer lines silently, so text is cut; that hides one pair a cut.
_LINE_CHARACTERS = 16_384
_LINE_BYTES = 4 * _LINE_CHARACTERS
# The trainer drops a whole line that holds NUL or U+2585, reads tabs as its own mark, and takes
# U+2581 for a space. We cut there instead: these characters are always spelt in bytes.
_CUT = re.compile(f"[\0\t\n\u2585{SPACE_MARK}]")


def training_lines(text: str) -> Iterator[str]:
    """The lines of a document for the trainer: none is too long, or rejected by it.

    Joined they hold every character of `text` but those of `_CUT`.
    """
    for line in _CUT.split(text):
        for start in range(0, len(line), _LINE_CHARACTERS):
            yield line[start : start + _LINE_CHARACTERS]


def train_model(
    texts: Iterable[str], *, vocabulary_size: int, character_coverage: float = 0.9999
) -> bytes:
    """A SentencePiece model file trained on `texts`; equal input results in equal bytes.

    The trainer keeps its input in memory; draw a sample first.

    Raises:
        InputError: there is no text, or it holds too little or too much for `vocabulary_size`.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_with_role_names(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary_size,
            character_coverage=character_coverage,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            split_digits=True,
            byte_fallback=True,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            unk_piece=UNKNOWN,
            bos_piece=BOS,
            eos_piece=EOS,
            unk_surface=UNKNOWN,
            control_symbols=list(SPECIAL_PIECES[3:]),
            max_sentence_length=_LINE_BYTES,
            shuffle_input_sentence=False,
            num_threads=_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(error, vocabulary_size) from error
    return model.getvalue()


def _with_role_names(texts: Iterable[str]) -> Iterator[str]:
    """The lines to train on, then the role names, often enough that each becomes one piece.

    Yi spells `assistant` in two pieces (01-ai/Yi-1.5 #36). Declaring the names as user-defined
    pieces would cut "users" and "systematic" apart in all other text; a learned piece does not.
    """
    characters = 0
    for text in texts:
        characters += len(text)
        yield from training_lines(text)
    if not characters:
        raise InputError(
            "there is no text to train a tokenizer on",
            hint="look at the funnel of `tongwen curate`: were all documents dropped?",
        )
    for role in ROLES:
        for _ in range(1_000 + characters // 5_000):
            yield role


def _explained(error: RuntimeError, vocabulary_size: int) -> Exception:
    """The trainer's error about the size in our words; any other error as it is."""
    text = str(error)
    if found := re.search(r"too high.*<= (\d+)", text):
        return InputError(
            f"the text gives at most {int(found[1]):,} pieces, "
            f"tokenizer.vocabulary_size asks for {vocabulary_size:,}",
            hint=f"--set tokenizer.vocabulary_size={found[1]}, or give more text",
        )
    if found := re.search(r"required_chars\. \d+ vs (\d+)", text):
        return InputError(
            f"the text has so many characters that {int(found[1]):,} pieces are needed, "
            f"tokenizer.vocabulary_size allows {vocabulary_size:,}",
            hint=f"--set tokenizer.vocabulary_size={2 * int(found[1])}, or a smaller "
            "tokenizer.character_coverage",
        )
    return error
