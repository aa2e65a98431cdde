"""`tongwen tune make-dialogues`: documents to dialogues, checked, resumable; by a rule; our own."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_server import FakeServer

from tongwen.cli.tune import command
from tongwen.errors import InputError, RecipeError, UsageError
from tongwen.tune.check import check_files
from tongwen.tune.documents.conversations import conversations
from tongwen.tune.documents.evidence import REASONS, problem_with
from tongwen.tune.documents.headings import heading_dialogues, heading_files
from tongwen.tune.documents.made import read_pairs, read_passages
from tongwen.tune.documents.passages import passages
from tongwen.tune.layouts import dialogue_of
from tongwen.tune.rows import file_rows
from tongwen.tune.settings import TuneSettings

ENGLISH = """# The mill

The water mill at Elmsford was built in 1823 by the brothers Reed. It ground 40 sacks of wheat
a day.

## The wheel

The wheel is made of oak and turns “about nine times” a minute. Every spring the miller greases its
axle with tallow, and the whole village comes to watch it start again after the winter."""
CHINESE = """# 水磨

青溪村的水磨建于1823年，由李氏兄弟出资修建，每天能磨四十袋麦子。

## 水轮

水轮用橡木制成，每分钟大约转九圈。每年春天，磨坊主都会用牛油润滑轮轴，全村人都来看它在冬天之后重新转动。"""

PAIRS: dict[str, list[dict[str, str]]] = {
    "en": [
        {"question": "When was the water mill at Elmsford built?",
         "answer": "It was built in 1823 by the brothers Reed.",
         "evidence": "The water mill at Elmsford was built in 1823"},
        {"question": "How fast does the mill's wheel turn?", "answer": "About nine times a minute.",
         "evidence": 'turns "about NINE times" a\nminute'},
        {"question": "Who owns the mill today?", "answer": "The county of Elmsford owns it.",
         "evidence": "The mill belongs to the county"},
        {"question": "How much did it grind?", "answer": "It ground 400 sacks a day.",
         "evidence": "It ground 40 sacks of wheat a day"},
        {"question": "What does this text say about oak?", "answer": "The wheel is made of oak.",
         "evidence": "The wheel is made of oak"},
        {"question": "Is it old?", "answer": "Yes.", "evidence": "The"},
        {"question": "水轮是什么做的？", "answer": "橡木。",
         "evidence": "The wheel is made of oak"},
        {"question": "Who built it?", "answer": " ", "evidence": "built in 1823 by the brothers"},
        {"question": "When was the Water Mill at Elmsford built", "answer": "In 1823.",
         "evidence": "built in 1823"},
    ],
    "zh": [
        {"question": "青溪村的水磨是什么时候建的？", "answer": "建于1823年。",
         "evidence": "青溪村的水磨建于１８２３年"},
        {"question": "春天磨坊主做什么？", "answer": "用牛油润滑轮轴，全村人都来看水轮重新转动。",
         "evidence": "磨坊主都会用牛油润滑轮轴……全村人都来看它"},
        {"question": "本文讲了什么？",
         "answer": "讲了水磨。", "evidence": "青溪村的水磨建于1823年"},
    ],
}  # fmt: skip


def tell(question: str) -> str:
    if "<document" in question:
        return "```json\n" + json.dumps(PAIRS["en"]) + "\n```"
    return "<think>想一想</think>" + json.dumps(PAIRS["zh"], ensure_ascii=False)


def write(path: Path, *texts: str) -> Path:
    rows = [
        {"text": text, "url": f"doc-{number}", "lang": "zh-Hans" if "水" in text else "en"}
        for number, text in enumerate(texts)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make(fake: FakeServer, source: Path, out: Path, *options: str) -> Any:
    return CliRunner().invoke(
        command,
        ["make-dialogues", str(source), "--server", fake.url, "--out", str(out), "--yes", *options],
    )


def test_what_the_text_does_not_prove_is_dropped_by_name(fake: FakeServer, tmp_path: Path) -> None:
    fake.say = tell
    out = tmp_path / "dialogues.jsonl"
    result = make(fake, write(tmp_path / "docs.jsonl", ENGLISH, CHINESE), out, "--json")
    assert result.exit_code == 0, result.output
    counts = json.loads(result.stdout)
    assert {name: counts[name] for name in REASONS} == {
        "empty": 1, "no_evidence": 1, "evidence_not_in_text": 1, "number_not_in_text": 1,
        "about_the_passage": 2, "other_language": 1, "repeated_question": 1,
    }  # fmt: skip
    assert counts["dialogues"] == 4
    dropped = [json.loads(line) for line in Path(f"{out}.dropped").read_text().splitlines()]
    assert len(dropped) == 8
    assert {"document", "reason", "question", "evidence"} <= set(dropped[0])
    turns = [dialogue_of(row.value).messages for row in file_rows(out)]
    assert [turn[0]["content"] for turn in turns] == [
        "When was the water mill at Elmsford built?", "How fast does the mill's wheel turn?",
        "青溪村的水磨是什么时候建的？", "春天磨坊主做什么？",
    ]  # fmt: skip


def test_a_run_that_broke_off_asks_nothing_twice_and_ends_in_the_same_bytes(
    fake: FakeServer, tmp_path: Path
) -> None:
    fake.say = tell
    source = write(tmp_path / "docs.jsonl", ENGLISH, CHINESE, ENGLISH.replace("1823", "1824"))
    assert make(fake, source, tmp_path / "whole.jsonl", "--languages", "both").exit_code == 0
    asked = len(fake.bodies)
    fake.bodies.clear()
    out = tmp_path / "dialogues.jsonl"
    fake.refuse = lambda body: None
    fake.troubles = [(429, b"", {"Retry-After": "0"}), (500, b"no", {})]
    broken = make(fake, source, out, "--languages", "both", "--attempts", "1", "--parallel", "1")
    assert isinstance(broken.exception, InputError)
    fake.troubles = []
    done = make(fake, source, out, "--languages", "both", "--parallel", "3")
    assert done.exit_code == 0, done.output
    assert len(fake.bodies) == asked == 6
    for name in ("jsonl", "jsonl.dropped"):
        assert (tmp_path / f"dialogues.{name}").read_bytes() == (
            tmp_path / f"whole.{name}"
        ).read_bytes()


@pytest.mark.parametrize(
    "answer",
    ["Sure! Here are some questions.", "[", '{"question": "a"}', '[{"question": "a"}]',
     '[{"question": "a", "answer": 3, "evidence": "c"}]', '["a"]', ""],
)  # fmt: skip
def test_an_answer_that_is_not_what_was_asked_for_is_counted(
    answer: str, fake: FakeServer, tmp_path: Path
) -> None:
    assert read_pairs(answer) is None
    fake.say = lambda question: answer
    out = tmp_path / "dialogues.jsonl"
    result = make(fake, write(tmp_path / "docs.jsonl", ENGLISH), out)
    assert "unreadable answer  1" in result.stdout
    assert out.read_text() == ""
    assert json.loads(Path(f"{out}.dropped").read_text())["document"] == "doc-0"


def test_nothing_worth_asking_is_an_answer() -> None:
    assert read_pairs("[]") == []


def test_quotations_are_compared_without_form_and_in_order() -> None:
    def problem(evidence: str, answer: str = "Oak.") -> str | None:
        return problem_with("What is it made of?", answer, evidence, ENGLISH, "en")

    assert problem("THE WHEEL is made of **oak** and turns 'about nine times' a minute!") is None
    assert problem("The wheel is made … turns “about nine times”") is None
    assert problem("turns about nine times ... The wheel is made") == "evidence_not_in_text"
    assert problem("The wheel is made of ash") == "evidence_not_in_text"
    assert problem("...") == "no_evidence"
    assert problem("The wheel is made of oak", "Oak, since 1,823.") is None
    assert problem("The wheel is made of oak", "Oak, since 1832.") == "number_not_in_text"


def test_passages_lose_nothing_and_keep_paragraphs_and_code_whole() -> None:
    code = "```python\ndef f():\n\n    return 1\n```"
    text = f"{ENGLISH}\n\n{code}\n\n{CHINESE}"
    for characters in (200, 330, 100_000):
        parts = list(passages(text, characters))
        joined = "\n\n".join(parts)
        assert all(block in joined for block in (code, *CHINESE.split("\n\n"), "built in 1823"))
        assert all(len(part) <= characters + 40 for part in parts)
    assert len(list(passages(text, 100_000))) == 1
    assert "".join(passages("句子一。句子二！句子三？" * 40, 50)) == "句子一。句子二！句子三？" * 40
    assert max(map(len, passages("One more sentence. " * 40, 60))) <= 60


def test_documents_without_anything_to_ask_about_are_refused_with_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", "Русский текст.", "Short.")
    path.write_text(path.read_text(encoding="utf-8").replace('"en"', '"ru"', 1))
    with pytest.raises(InputError, match="nothing to ask about in 2 documents: 1 are neither"):
        read_passages([path], 500)


def test_nobody_is_asked_without_a_server_or_consent(fake: FakeServer, tmp_path: Path) -> None:
    source = write(tmp_path / "docs.jsonl", ENGLISH)
    arguments = ["make-dialogues", str(source), "--out", str(tmp_path / "d.jsonl")]
    assert isinstance(CliRunner().invoke(command, arguments).exception, UsageError)
    refused = CliRunner().invoke(command, [*arguments, "--server", fake.url])
    assert isinstance(refused.exception, UsageError)
    assert not fake.bodies


def test_headings_are_asked_about_and_their_paragraphs_answer(tmp_path: Path) -> None:
    (tmp_path / "mill.md").write_text(ENGLISH, encoding="utf-8")
    (tmp_path / "水磨.md").write_bytes(CHINESE.encode("gb18030"))
    (tmp_path / "empty.txt").write_text("no heading")
    rows = heading_dialogues(heading_files([str(tmp_path)]))
    first = [[m["content"] for m in row["messages"]] for row in rows]
    assert ["Tell me about “The wheel” in The mill.",
            "The wheel is made of oak and turns “about nine times” a minute. Every spring the "
            "miller greases its axle with tallow, and the whole village comes to watch it start "
            "again after the winter."] in first  # fmt: skip
    assert any(
        turns[0] == "介绍一下水磨的“水轮”。" and turns[1].startswith("水轮用橡木")
        for turns in first
    )
    assert any(len(turns) == 4 for turns in first)
    pattern = heading_files([str(tmp_path / "*.md")])
    assert heading_dialogues(pattern) == rows
    with pytest.raises(InputError, match="no heading with a paragraph"):
        heading_dialogues([tmp_path / "empty.txt"])
    for documents, problem in (("nowhere/*.md", "no Markdown or text file at"),
                               (str(tmp_path / "empty.txt"), "no heading")):  # fmt: skip
        with pytest.raises(InputError, match=problem):
            check_files(TuneSettings(max_tokens=1, documents=(documents,)))


def test_lists_tables_and_introductions_are_not_answers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\n- a list of things that is longer than forty characters\n\n"
        "| a table | that is longer than forty characters |\n\n"
        "The following commands are what you need most often:\n\n"
        "A [paragraph](http://x) with `code` that is long enough to be an answer.\n1. a list\n"
    )
    (answer,) = {row["messages"][1]["content"] for row in heading_dialogues([page])}
    assert answer == "A paragraph with code that is long enough to be an answer."


def test_our_own_conversations_are_in_both_languages_and_never_twice() -> None:
    rows = conversations()
    page = (Path(__file__).parents[2] / "docs/en/tune.md").read_text(encoding="utf-8")
    assert f"{len(rows)} general dialogues" in page
    assert len({json.dumps(row) for row in rows}) == len(rows)
    turns = [[message["content"] for message in row["messages"]] for row in rows]
    assert all(text.strip() and "{" not in text for item in turns for text in item)
    chinese = [any("\u4e00" <= c <= "\u9fff" for c in item[0]) for item in turns]
    assert 0.4 < sum(chinese) / len(chinese) < 0.6
    assert sum(len(item) > 2 for item in turns) > 100
    first = {}
    for item in turns:  # one question has one answer, or the model could not learn it
        assert first.setdefault(item[0], item[1]) == item[1]


def test_conversations_are_packaged_and_can_be_written_alone(tmp_path: Path) -> None:
    (tmp_path / "mill.md").write_text(ENGLISH, encoding="utf-8")
    out = tmp_path / "d.jsonl"
    result = CliRunner().invoke(
        command,
        ["make-dialogues", str(tmp_path), "--headings", "--conversations", "--out", str(out)],
    )
    assert result.exit_code == 0, result.output
    assert f"conversations  {len(conversations())}" in result.stdout
    assert all(row.problem is None for row in file_rows(out))


def test_settings_know_what_there_is_to_learn() -> None:
    assert not TuneSettings(max_tokens=1).has_dialogues
    assert TuneSettings(max_tokens=1, conversations=True).has_dialogues
    with pytest.raises(RecipeError):
        TuneSettings(max_tokens=1, epochs=0)
