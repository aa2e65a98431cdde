"""Write what the tutorial's own run printed into docs/en/tutorial.md and docs/zh/tutorial.md.

    tongwen run recipes/own-documents.toml
    python tools/tutorial_page.py

Between `<!-- run: begin -->` and `<!-- run: end -->` go the stages with their seconds, from the
manifests of runs/own-documents; between `<!-- answers: begin -->` and `<!-- answers: end -->` what
the model answers to the questions of the page, whatever that is.
"""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tongwen.files import read_json
from tongwen.progress import duration_text
from tongwen.stages import STAGES

ROOT = Path(__file__).resolve().parent.parent
_QUESTION = re.compile(r"^(echo .*) \| tongwen chat", re.MULTILINE)
_SHOWN = {
    "crawl": ("files", "bytes"), "curate": ("pages", "kept"), "tokenizer": ("pieces",),
    "encode": ("documents", "tokens"), "plan": ("parameters",), "pretrain": ("steps", "tokens"),
    "tune": ("dialogues", "steps", "held_out_loss"), "export": ("files", "bytes"),
}  # fmt: skip
"""Stage -> the counts that are shown."""
_LONGEST_ANSWER = 400


def stage_lines(run: Path) -> str:
    """A line for each stage that has finished, and their sum."""
    lines, seconds = [], 0.0
    for name in STAGES:
        path = run / "stages" / name / "manifest.json"
        if not path.is_file():
            continue
        manifest = read_json(path)
        seconds += manifest["seconds"]
        counts = manifest["counts"]
        shown = ", ".join(f"{counts[key]:,} {key}" for key in _SHOWN.get(name, ()) if key in counts)
        lines.append(f"{name}: done in {duration_text(manifest['seconds'])} ({shown})")
    return "\n".join([*lines, f"all stages: {duration_text(seconds)}"])


def answers(run: Path, page: str) -> str:
    """The questions of the page, each with the model's answer."""
    asked = [shlex.split(command)[1] for command in _QUESTION.findall(page)]
    said = []
    for question in asked:
        result = subprocess.run(
            [sys.executable, "-m", "tongwen", "chat", str(run)],
            input=question, capture_output=True, text=True, check=True,
        )  # fmt: skip
        answer = result.stdout.strip()
        if len(answer) > _LONGEST_ANSWER:
            answer = f"{answer[:_LONGEST_ANSWER]} [...]"
        said.append(f"> {question}\n{answer}")
    return "\n\n".join(said)


def filled(page: str, name: str, text: str) -> str:
    """The page with other text between the marks of one name."""
    marks = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    if not marks.search(page):
        raise SystemExit(f"the page has no marks for {name}")
    return marks.sub(lambda found: f"{found[1]}```text\n{text}\n```\n{found[2]}", page)


def main() -> None:
    """Fill both pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", type=Path, default=ROOT / "runs" / "own-documents")
    run = parser.parse_args().run
    stages = stage_lines(run)
    said = None
    for language in ("en", "zh"):
        path = ROOT / "docs" / language / "tutorial.md"
        page = path.read_text(encoding="utf-8")
        said = said or answers(run, page)
        page = filled(filled(page, "run", stages), "answers", said)
        path.write_text(page, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
