"""A model on a grid of needles: what `tongwen evaluate long` does."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tongwen.errors import UsageError
from tongwen.evaluate.evaluator import Evaluator
from tongwen.evaluate.long.ask import Asked, Grid, ask, haystacks
from tongwen.evaluate.long.haystack import LANGUAGES, own_documents, read_straw
from tongwen.evaluate.long.needles import KINDS
from tongwen.evaluate.long.results import markdown, page, summary
from tongwen.evaluate.settings import EvaluateSettings
from tongwen.files import value_digest, write_json, write_text
from tongwen.model.folder import read_config

_ANSWERS = "answers.jsonl"


def check_grid(grid: Grid, languages: Sequence[str], window: int) -> None:
    """Refuse what the model or the kinds cannot do, before a weight is read.

    Raises:
        UsageError: an unknown kind or language, or a length beyond the model's window.
    """
    for name, values, known in (
        ("--kind", grid.kinds, KINDS),
        ("--language", languages, LANGUAGES),
    ):
        unknown = [value for value in values if value not in known]
        if unknown:
            raise UsageError(f"{name} {unknown[0]} is unknown", hint=f"one of {', '.join(known)}")
    longest = max(grid.lengths)
    if longest > window:
        raise UsageError(
            f"--length {longest:,} is beyond the model's window of {window:,} tokens",
            hint=f"--length {window}, or widen the window with `tongwen extend`",
        )


def evaluate_needles(
    folder: Path,
    out: Path,
    texts: Sequence[Path],
    languages: Sequence[str],
    grid: Grid,
    settings: EvaluateSettings,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Ask, and write `answers.jsonl`, `needles.json`, `needles.md` and `needles.html` into `out`.

    A call that was stopped goes on after the last haystack that it finished.

    Raises:
        UsageError: see `check_grid`.
        InputError: no text, no model, or a length without room for a question.
    """
    check_grid(grid, languages, read_config(folder).max_position_embeddings)
    evaluator = Evaluator.load(folder, settings)
    model, tokenizer = evaluator.model, evaluator.tokenizer
    paths = list(texts) or own_documents()
    straw = {language: read_straw(paths, language, tokenizer.encode) for language in languages}
    files = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    weights = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in files]
    identity = value_digest(
        [weights, [straw[language].sentences for language in languages], asdict(grid)]
    )
    asked = _finished(out / _ANSWERS, identity)
    done = {(row.language, row.length, row.haystack) for row in asked}
    out.mkdir(parents=True, exist_ok=True)
    with (out / _ANSWERS).open("a", encoding="utf-8") as file:
        for length in sorted(grid.lengths):
            for language in languages:
                made = haystacks(tokenizer, straw[language], language, length, grid)
                repeats = length / straw[language].total_tokens
                if repeats > 1:
                    say(f"{language}, {length:,} tokens: the text comes {repeats:.1f} times")
                for haystack in made:
                    if (language, length, haystack.number) in done:
                        continue
                    answers = ask(model, tokenizer, haystack)
                    rows = [json.dumps(row.to_json(), ensure_ascii=False) for row in answers]
                    file.write("".join(f"{row}\n" for row in rows))
                    file.flush()
                    asked += answers
                    share = sum(row.score or 0.0 for row in answers) / len(answers)
                    say(
                        f"{language}, {length:,} tokens, haystack {haystack.number + 1} of "
                        f"{len(made)}: {share:.0%} of {len(answers)} questions"
                    )
    found = {"model": folder.name, "grid": asdict(grid), **summary(asked)}
    write_json(out / "needles.json", found)
    write_text(out / "needles.md", markdown(found) + "\n")
    write_text(out / "needles.html", page(found, folder.name))
    return found


def _finished(path: Path, identity: str) -> list[Asked]:
    """Answers of an earlier call on the same model, texts and grid; the file begins anew else."""
    head = json.dumps({"identity": identity})
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    if lines[:1] != [head]:
        write_text(path, head + "\n")
        return []
    rows = []
    for line in lines[1:]:
        try:
            values = json.loads(line)
            rows.append(Asked(**{**values, "expected": tuple(values["expected"])}))
        except (ValueError, TypeError):
            break  # cut off by the end of the call
    whole = [json.dumps(row.to_json(), ensure_ascii=False) for row in rows]
    write_text(path, "".join(f"{line}\n" for line in (head, *whole)))
    return rows


def lengths_of(text: str) -> tuple[int, ...]:
    """Lengths written as `4K,32K,200000`; K is 1,024.

    Raises:
        UsageError: one is not a number of tokens.
    """
    found = []
    for part in text.split(","):
        number = part.strip().lower()
        unit = 1_024 if number.endswith("k") else 1
        digits = number.removesuffix("k")
        if not digits.isdecimal() or not int(digits):
            raise UsageError(f"--length {text}: {part!r} is not a length", hint="--length 4K,32K")
        found.append(int(digits) * unit)
    return tuple(found)
