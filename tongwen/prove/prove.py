"""One proof from question to page."""

from dataclasses import dataclass
from pathlib import Path

from tongwen.files import write_json, write_text
from tongwen.flow.stage import locked
from tongwen.progress import Progress
from tongwen.prove.groups import PROVED_LANGUAGES, Question, Texts, groups_of
from tongwen.prove.proof import PAGE, PROOF, PROOFS, page_of, proof_of
from tongwen.prove.proxies import EncodedTexts, Proxy, held_out_of, read_held_out, trial_of
from tongwen.tokenizer.text import Tokenizer


@dataclass(frozen=True)
class Inquiry:
    """What is asked.

    Attributes:
        question: what is to be proved.
        curated: run directory or folder of a curate stage.
        tokenizer: folder.
        held_out: `LANGUAGE=FILE` each; a part of the documents when empty.
        out: folder of the result; one of the stage's when None.
        proxy: model and training of each group.
        command: for the page.
    """

    question: Question
    curated: Path
    tokenizer: Path
    held_out: tuple[str, ...]
    out: Path | None
    proxy: Proxy
    command: str


def prove(inquiry: Inquiry, minutes: float | None = None) -> Path | None:
    """Train the proxies and write page and JSON; the page, or None when the time was over before.

    Proxies that are done are not trained again.

    Raises:
        UsageError: there is no such column or source.
        InputError: no finished curate stage, no held-out text, or too few documents.
    """
    texts = Texts(inquiry.curated)
    name = f"{inquiry.question.kind}-{inquiry.question.name.lstrip('-')}".replace("/", "-")
    out = inquiry.out or _home(inquiry.curated) / PROOFS / name
    tokenizer = Tokenizer.load(inquiry.tokenizer)
    encoded = EncodedTexts(texts.texts(), tokenizer)
    if inquiry.held_out:
        left_out: frozenset[str] = frozenset()
        held_out = read_held_out(inquiry.held_out, tokenizer)
    else:
        left_out = held_out_of(texts)
        ids = {
            language: tuple(
                doc_id for doc_id in encoded.tokens()
                if doc_id in left_out and texts.languages[doc_id] == language
            )
            for language in PROVED_LANGUAGES
        }  # fmt: skip
        held_out = {
            language: encoded.documents({language: found})
            for language, found in ids.items()
            if found
        }
    groups = groups_of(inquiry.question, texts, encoded.tokens(), left_out)
    trial = trial_of(groups, inquiry.proxy, encoded, held_out, tokenizer=inquiry.tokenizer, out=out)
    with locked(out):
        rows = trial.run(Progress(), minutes)
        if rows is None:
            return None
        proof = proof_of(inquiry.question, trial.groups, rows)
        write_json(out / PROOF, proof)
        write_text(out / PAGE, page_of(proof, inquiry.command))
    return out / PAGE


def _home(curated: Path) -> Path:
    """The run directory, or the folder around a lone stage's, whose results stay as they are."""
    return curated if (curated / "stages").is_dir() else curated.resolve().parent
