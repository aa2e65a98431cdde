"""Needles: what is hidden can be found, silence finds nothing, a text is read once."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tongwen.errors import InputError, UsageError
from tongwen.evaluate.long.ask import Asked, Grid, ask, haystacks
from tongwen.evaluate.long.haystack import read_straw
from tongwen.evaluate.long.needles import KINDS, NeedleMaker, recall
from tongwen.evaluate.long.results import markdown, page, summary
from tongwen.evaluate.long.run import evaluate_needles, lengths_of
from tongwen.evaluate.settings import EvaluateSettings
from tongwen.model.decoding import Prefill
from tongwen.model.folder import load_model_folder
from tongwen.model.generate import generate
from tongwen.model.llama import Llama
from tongwen.tokenizer.text import Tokenizer

TEXTS = {
    "en": "The river runs to the sea. Nobody walks along it in winter. It is cold there. " * 3,
    "zh": "河水一直流到海里去。冬天没有人沿着河走。那里实在是太冷了。" * 3,
}


@pytest.fixture
def text_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for language, text in TEXTS.items():
        (folder / f"{language}.md").write_text(f"# A heading\n\n{text}\n\n| a | table |\n")
    return folder


@pytest.fixture
def tokenizer(small_tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.load(small_tokenizer_folder)


@pytest.fixture
def wide_folder(small_model_folder: Path, tmp_path: Path) -> Path:
    """A model that claims 2,048 tokens."""
    folder = tmp_path / "wide"
    shutil.copytree(small_model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}))
    return folder


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", KINDS)
def test_gold_answers_score_one_and_silence_scores_nothing(kind: str, language: str) -> None:
    question = NeedleMaker(language, "7").question(kind, 0)
    assert recall(" and ".join(question.expected), question.expected) == 1
    facts = "".join(question.facts)
    assert all(item in facts for item in question.expected)
    for nothing in ("", ".", "the", "不知道", question.text):
        assert recall(nothing, question.expected) == 0 or kind == "variables"


def test_recall_knows_numbers_in_any_notation_and_only_whole() -> None:
    assert recall("It is １２,345。", ["12345"]) == 1
    assert recall("912345", ["12345"]) == 0
    assert recall("123456", ["12345"]) == 0
    assert recall("12345 and 54321", ["12345", "67890"]) == 0.5
    assert recall("amber  FOX", ["Amber Fox"]) == 1


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_haystack_holds_its_facts_at_their_depths_and_fits_its_length(
    language: str, text_folder: Path, tokenizer: Tokenizer
) -> None:
    straw = read_straw([text_folder], language, tokenizer.encode)
    grid = Grid(lengths=[3000], kinds=("single", "multi_key"), cells=4, samples=3)
    made = haystacks(tokenizer, straw, language, 3000, grid)
    asked = [question for haystack in made for question in haystack.questions]
    assert len(asked) == 2 * 4 * 3
    for haystack in made:
        longest = max(len(tokenizer.encode(q.text)) + q.answer_tokens for q in haystack.questions)
        assert 2600 < len(haystack.token_ids) + longest <= 3000
        for question in haystack.questions:
            for fact in question.facts:
                assert haystack.text.count(fact) == 1
                depth = haystack.text.index(fact) / len(haystack.text)
                assert question.cell / 4 - 0.1 < depth < (question.cell + 1) / 4 + 0.1
    assert haystacks(tokenizer, straw, language, 3000, grid) == made
    with pytest.raises(InputError, match="has no room"):
        haystacks(tokenizer, straw, language, 60, grid)


def test_a_text_is_read_once_and_answers_are_those_of_the_whole_prompt(
    wide_folder: Path, text_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = load_model_folder(wide_folder)
    tokenizer = Tokenizer.load(wide_folder)
    straw = read_straw([text_folder], "en", tokenizer.encode)
    grid = Grid(lengths=[1500], kinds=("single",), cells=3, samples=1)
    (haystack,) = haystacks(tokenizer, straw, "en", 1500, grid)
    read = _count_reads(monkeypatch)
    answers = ask(model, tokenizer, haystack)
    assert read == [len(haystack.token_ids)]
    prompts = [[*haystack.token_ids, *tokenizer.encode(q.text)] for q in haystack.questions]
    alone = generate(model, prompts, max_new_tokens=16, stop_ids={tokenizer.end_id})
    for one, ids in zip(answers, alone, strict=True):
        assert one.answer
        assert tokenizer.decode(ids).startswith(one.answer)


def _count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    read: list[int] = []

    class Counted(Prefill):
        def __init__(self, model: Llama, prompt_ids: Sequence[int], **options: object) -> None:
            read.append(len(prompt_ids))
            super().__init__(model, prompt_ids, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("tongwen.evaluate.long.ask.Prefill", Counted)
    return read


def row(length: int, number: int, score: float) -> Asked:
    return Asked("en", length, 0, "single", number % 2, "?", ("1",), "", score)


def test_effective_length_ends_at_the_first_length_that_fails_and_has_a_span() -> None:
    rates = {1000: 1.0, 2000: 0.9, 4000: 0.5, 8000: 1.0}
    rows = [
        row(length, number, float(number < 50 * rate))
        for length, rate in rates.items()
        for number in range(50)
    ]
    found = summary(rows)
    (effective,) = found["effective"]
    assert (effective["tokens"], effective["at_least"], effective["at_most"]) == (2000, 1000, 2000)
    assert "90.0 % [79, 96]" in markdown(found)
    assert page(found, "<b>").count("<td") == 8
    assert "&lt;b&gt;" in page(found, "<b>")


def test_the_command_continues_where_it_stopped(
    wide_folder: Path, text_folder: Path, tmp_path: Path
) -> None:
    grid = Grid(lengths=[300], kinds=("single",), cells=1, samples=3)
    arguments = (wide_folder, tmp_path / "out", [text_folder], ["en"], grid)
    settings = EvaluateSettings(device="cpu", precision="fp32")
    first = evaluate_needles(*arguments, settings)
    answers = tmp_path / "out/answers.jsonl"
    whole = answers.read_text()
    answers.write_text("".join(whole.splitlines(keepends=True)[:2]) + '{"langua')
    said: list[str] = []
    assert evaluate_needles(*arguments, settings, said.append) == first
    assert answers.read_text() == whole
    assert len([line for line in said if "haystack" in line]) == 2
    assert (tmp_path / "out/needles.html").is_file()


def test_what_cannot_be_asked_is_refused_before_the_weights_are_read(
    small_model_folder: Path, tmp_path: Path
) -> None:
    settings = EvaluateSettings()
    for grid, message in (
        (Grid(lengths=[4096]), "beyond the model's window of 128"),
        (Grid(lengths=[64], kinds=("singel",)), "--kind singel is unknown"),
    ):
        with pytest.raises(UsageError, match=message):
            evaluate_needles(small_model_folder, tmp_path, [], ["en"], grid, settings)
    with pytest.raises(InputError, match="there is no text"):
        read_straw([tmp_path / "none"], "en", list)
    assert lengths_of("4K, 200000") == (4096, 200_000)
    with pytest.raises(UsageError, match="is not a length"):
        lengths_of("4M")
