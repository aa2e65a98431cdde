"""What `tongwen curate prove` found about the documents of the run."""

from dataclasses import dataclass
from urllib.parse import quote

from markupsafe import Markup

from tongwen.prove.proof import PAGE, PROOF, PROOFS
from tongwen.report.run_files import RunFiles
from tongwen.report.words import both


@dataclass(frozen=True)
class ProofRow:
    """One proof in one language.

    Attributes:
        title: of the question.
        page: its address, from the report.
        language: that it is about.
        difference: bits per byte of the last group minus the first, with its interval.
        spearman: rank agreement of a score with the loss, or nothing.
        verdict: `good` or `bad` where the interval leaves zero out.
    """

    title: str
    page: str
    language: Markup
    difference: str
    spearman: str
    verdict: str


def build_proofs(run: RunFiles) -> list[ProofRow]:
    """The proofs in the run directory; one whose file is damaged is a problem of the run."""
    rows = []
    for folder in sorted((run.directory / PROOFS).glob("*/")):
        proof = run.json(f"../{PROOFS}/{folder.name}/{PROOF}")
        if proof is None:
            continue
        try:
            for language, found in proof["languages"].items():
                value, reach = found["difference"]["value"], found["difference"]["reach"]
                ranks = found["agreement"]
                verdict = ""
                if reach is not None and abs(value) > reach:
                    verdict = "good" if value < 0 else "bad"
                rows.append(
                    ProofRow(
                        title=proof["title"],
                        page=quote(f"{PROOFS}/{folder.name}/{PAGE}"),
                        language=_LANGUAGES.get(language, both(language, language)),
                        difference=f"{value:+.4f}" + ("" if reach is None else f" ± {reach:.4f}"),
                        spearman=f"{ranks['spearman']:+.2f}" if ranks else "",
                        verdict=verdict,
                    )
                )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            run.problems.append(f"{PROOFS}/{folder.name}/{PROOF}: {error!r}")
    return rows


_LANGUAGES = {"en": both("English", "英文"), "zh": both("Chinese", "中文")}
