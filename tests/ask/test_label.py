"""`tongwen curate label`: documents to grades, and a scorer that learns them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from fake_server import FakeServer

from tongwen.cli.curate_label import command
from tongwen.curate.labels.label import beginning, choose_documents
from tongwen.curate.labels.rubric import grade_of, read_rubrics
from tongwen.curate.scorers.folder import open_folder
from tongwen.curate.scorers.options import TrainingOptions
from tongwen.curate.scorers.scoring import Scorers
from tongwen.curate.scorers.training import TrainingFiles, train_scorer
from tongwen.errors import InputError, TongwenError, UsageError

WORDS = {
    "en": ("lesson explains example exercise", "cheap deal click buy"),
    "zh": ("讲解例题步骤练习原理", "特价抢购点击下单优惠"),
}


def texts(number: int) -> list[dict[str, str]]:
    """Documents whose share of good words rises with their number's last digit."""
    rows = []
    for place in range(number):
        language = ("en", "zh")[place % 2]
        good, bad = WORDS[language]
        share = place // 2 % 6
        gap = " " if language == "en" else "。"
        parts = [good] * share + [bad] * (5 - share)
        text = gap.join(f"{part}{gap}{place * 7 + n}" for n, part in enumerate(parts))
        rows.append({"url": f"https://{place}.example/", "host": f"{place}.example",
                     "lang": "en" if language == "en" else "zh-Hans", "text": text})  # fmt: skip
    return rows


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def judge(question: str) -> str:
    """The number of good parts, in the form that the question's language asks for."""
    is_english = "<extract>" in question
    shown = question.partition("<extract>" if is_english else "<文本>")[2]
    grade = shown.count(WORDS["en" if is_english else "zh"][0])
    return f"Some reasons.\n{'**Grade:** ' if is_english else '评分：'}{grade}"


def label(fake: FakeServer, source: Path, out: Path, *options: str) -> object:
    return CliRunner().invoke(
        command, [str(source), "--server", fake.url, "--out", str(out), "--yes", *options],
        catch_exceptions=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "grade"),
    [("Good.\nGrade: 4", 4), ("理由。\n\n评分：５\n", 5), ("**Score: 0**", 0),
     ("**评分：** 3 分。", 3), ("grade: 2/5.", 2), ("Grade: 6", None),
     ("Grade: 3 or 4", None), ("4", None), ("", None),
     ("Grade: 4\nI hope this helps!", None), ("Grade: 10", None), ("Grade: 3.5", None)],
)  # fmt: skip
def test_only_a_last_line_that_is_a_grade_is_one(answer: str, grade: int | None) -> None:
    assert grade_of(answer) == grade


def test_documents_are_graded_in_their_language_and_a_scorer_learns_it(
    fake: FakeServer, tmp_path: Path
) -> None:
    fake.say = judge
    out = tmp_path / "labels.jsonl"
    result = label(fake, write(tmp_path / "pages.jsonl", texts(150)), out, "--sample", "120")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["lang"] for row in rows].count("en") == 60
    for row in rows:
        good = WORDS["en" if row["lang"] == "en" else "zh"][0]
        assert row["educational"] == row["quality"] == row["text"].count(good)
    options = TrainingOptions(bucket_bits=12, epochs=8, fewest_pieces=20)
    files = TrainingFiles(labelled=[out])
    trained = train_scorer("educational_grade", files, tmp_path / "scorer", options)
    for language in ("en", "zh"):
        report = trained["report"][language]
        assert report["rank_correlation"] > 0.9
        assert report["mean_absolute_error"] < 0.5 * report["mean_absolute_error_of_the_mean"]
        assert report["f1_from_3"] > 0.9
    scorers = Scorers([open_folder(tmp_path / "scorer")])
    for lang, (good, bad) in (("en", WORDS["en"]), ("zh-Hant", WORDS["zh"])):
        gap = " " if lang == "en" else "。"
        low, high = (
            scorers.score(gap.join([words] * 5), lang)["educational_grade"] for words in (bad, good)
        )
        assert 0 <= low < 1.5 < 3.5 < high <= 5


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(fake: FakeServer, tmp_path: Path) -> None:
    fake.say = judge
    source = write(tmp_path / "pages.jsonl", texts(20))
    assert label(fake, source, tmp_path / "whole.jsonl").exit_code == 0
    asked = len(fake.bodies)
    out = tmp_path / "labels.jsonl"
    fake.troubles = [(200, b"{", {}), (401, b"no", {})]
    broken = label(fake, source, out, "--parallel", "1", "--first", "0", "--attempts", "1")
    assert isinstance(broken.exception, InputError)
    fake.troubles = []
    fake.bodies.clear()
    half = label(fake, source, out, "--sample", "10", "--parallel", "1")
    assert half.exit_code == 0
    assert label(fake, source, out, "--parallel", "4").exit_code == 0
    assert len(fake.bodies) == asked == 40  # nothing twice
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert label(fake, source, out).exit_code == 0
    assert len(fake.bodies) == asked


def test_the_order_of_rows_changes_no_byte(fake: FakeServer, tmp_path: Path) -> None:
    fake.say = judge
    rows = texts(40)
    outs = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for number, out in enumerate(outs):
        source = write(tmp_path / f"pages-{number}.jsonl", rows[:: 1 - 2 * number])
        assert label(fake, source, out, "--sample", "10").exit_code == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_unreadable_and_refused_answers_are_counted_named_and_left_out_of_training(
    fake: FakeServer, tmp_path: Path
) -> None:
    def refuse(body: dict[str, object]) -> str | None:
        return "content filter" if "https" in str(body) else None

    fake.refuse = refuse
    fake.say = lambda question: "I would rather not say." if "deal" in question else "Grade: 5"
    rows = [
        {"text": "The lesson explains fractions with an example.", "url": "good"},
        {"text": "A cheap deal for everybody, only today.", "url": "bad"},
        {"text": "See https://example.org for the whole story.", "url": "filtered"},
        {"text": "short", "url": "short"},
        {"text": "Это русский текст, который никто не оценивает.", "url": "russian", "lang": "ru"},
        {"text": "The lesson explains fractions with an example.", "url": "again"},
    ]
    rows = [{"lang": "en", **row} for row in rows]
    out = tmp_path / "labels.jsonl"
    result = label(fake, write(tmp_path / "pages.jsonl", rows), out, "--rubric", "quality")
    assert result.exit_code == 0, result.output
    assert "3 of 6 documents drawn; not considered: 1 too short, 1 in other languages, 1 dup" in (
        result.stderr
    )
    assert "2 answers without a grade" in result.stderr
    assert "bad (quality): I would rather not say." in result.stderr
    labels = {row["name"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert labels["again"]["quality"] == 5  # of equal texts the first by name
    assert labels["bad"]["quality"] is None
    assert labels["filtered"]["unreadable"] == {
        "quality": "refused: 400 Bad Request: content filter"
    }


def test_nothing_is_asked_without_consent_and_the_cost_comes_first(
    fake: FakeServer, tmp_path: Path
) -> None:
    source = write(tmp_path / "pages.jsonl", texts(6))
    out = tmp_path / "labels.jsonl"
    options = [str(source), "--server", fake.url, "--out", str(out), "--price-in", "1",
               "--price-out", "2"]  # fmt: skip
    refused = CliRunner().invoke(command, options)
    assert isinstance(refused.exception, UsageError)
    assert "12 questions, about " in refused.stderr
    assert "at most 4,800 out: at most 0.0" in refused.stderr
    dry = CliRunner().invoke(command, [*options, "--dry-run"])
    assert dry.exit_code == 0
    assert not fake.bodies
    assert not out.exists()


def test_a_rubric_of_ones_own_is_checked_and_asked(fake: FakeServer, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[humour]\nen = "Is it funny? {text}"\n', encoding="utf-8")
    out = tmp_path / "labels.jsonl"
    source = write(tmp_path / "pages.jsonl", texts(4))
    assert label(fake, source, out, "--rubric", str(mine)).exit_code == 0
    assert all(question.startswith("Is it funny? ") for question in fake.questions)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row.get("humour") for row in rows if row["lang"] == "en"] == [3, 3]
    assert not any("humour" in row for row in rows if row["lang"] != "en")
    for content, problem in (
        ('[humour]\nen = "no place"\n', "must have {text} once"),
        ('[text]\nen = "{text}"\n', "has a rubric 'text'"),
        ('humour = "{text}"\n', "not a table of languages"),
        ("", "holds no rubric"),
        ("[", "cannot read"),
    ):
        mine.write_text(content, encoding="utf-8")
        with pytest.raises(TongwenError, match=problem):
            read_rubrics([str(mine)])
    with pytest.raises(UsageError, match="no rubric and no file 'qualty'"):
        read_rubrics(["qualty"])
    with pytest.raises(UsageError, match="two rubrics"):
        read_rubrics(["quality", "quality"])


def test_the_sample_is_half_of_each_language_and_a_cut_is_at_a_border(tmp_path: Path) -> None:
    source = write(tmp_path / "pages.jsonl", texts(40)[:30] + texts(60)[30::2])
    chosen, counts = choose_documents([source], sample=20, characters=100, seed=1)
    assert [item.language for item in chosen].count("zh") == 10
    more, _ = choose_documents([source], sample=44, characters=100, seed=1)
    assert [item.language for item in more].count("zh") == 15
    assert {item.name for item in chosen} <= {item.name for item in more}
    assert counts["documents"] == 45
    text = "一句话说完。" * 50
    assert beginning(text, 100) == "一句话说完。" * 16
    assert beginning("x" * 200, 100) == "x" * 100
    with pytest.raises(InputError, match="none of 1 documents can be graded: 1 are too short"):
        choose_documents([write(tmp_path / "s.jsonl", [{"text": "x"}])], sample=2,
                         characters=100, seed=1)  # fmt: skip
