"""What `import tongwen` offers, and what it costs."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

import tongwen
from tongwen import Record, curate_documents, extract_page
from tongwen.errors import InputError, RecipeError, UsageError

HEAVY = ("torch", "numpy", "pyarrow", "numba", "sentencepiece", "click", "ray")
PAGE = """<!doctype html><html lang="{lang}"><head><title>{title}</title></head><body>
<nav><a href="/">Home</a> <a href="/news">News</a></nav>
<main><h1>{title}</h1><p>{text}</p><p>{text}</p></main><footer>Copyright</footer></body></html>"""
ENGLISH = (
    "The tide tables hang in the harbour office, and whoever passes takes one along, for the water "
    "turns twice a day and the pier is narrow. The keeper writes the next one by hand, line by "
    "line, and asks the fishermen whether the last one was right."
)
CHINESE = (
    "潮汐表挂在港口的办公室里，路过的人都会带走一张，因为潮水每天涨落两次，而码头很窄。"
    "守望者一行一行地亲手写下一张，并且问渔民上一张写得对不对。"
)


def python(code: str, *arguments: str) -> str:
    command = [sys.executable, *arguments, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        f"import sys, tongwen; print([n for n in {HEAVY} if n in sys.modules], len(dir(tongwen)))"
    )
    loaded, _, names = python(code).strip().rpartition(" ")
    assert loaded == "[]"
    assert int(names) > len(tongwen.__all__)


def test_a_recipe_is_loaded_without_torch_and_kernels() -> None:
    code = (
        "import sys, tongwen; tongwen.load_recipe('smallest'); "
        "print([n for n in ('torch', 'pyarrow', 'numba') if n in sys.modules])"
    )
    assert python(code).strip() == "[]"


def test_every_name_that_is_offered_is_there() -> None:
    assert sorted(tongwen._HOMES) == tongwen.__all__ == sorted(tongwen.__all__)
    for name in tongwen.__all__:
        assert getattr(tongwen, name).__doc__
    with pytest.raises(AttributeError, match="curate_document"):
        tongwen.curate_document  # type: ignore[attr-defined] # noqa: B018


def _leaves(hint: object) -> Iterator[object]:
    arguments = get_args(hint)
    if not arguments:
        yield hint
    for argument in arguments:
        yield from _leaves(argument)


@pytest.mark.parametrize("name", tongwen.__all__)
def test_no_signature_and_no_field_leaves_its_type_open(name: str) -> None:
    found = getattr(tongwen, name)
    functions = [found] if inspect.isfunction(found) else [
        value.__func__ if isinstance(value, classmethod) else value
        for key, value in vars(found).items()
        if (not key.startswith("_") and callable(getattr(found, key))) or key == "__init__"
    ]  # fmt: skip
    for function in functions:
        hints = get_type_hints(function)
        parameters = {*inspect.signature(function).parameters} - {"self", "cls"}
        assert hints.keys() == {*parameters, "return"}, function
        assert Any not in {leaf for hint in hints.values() for leaf in _leaves(hint)}, function


@pytest.mark.parametrize(("lang", "text"), [("en", ENGLISH), ("zh-Hans", CHINESE)])
def test_a_page_is_extracted_from_text_and_from_bytes(lang: str, text: str) -> None:
    html = PAGE.format(lang=lang, title="潮汐 Tides", text=text)
    page = extract_page(html, "http://harbour.example/tides")
    assert page.text == f"{text}\n\n{text}"
    assert (page.title, page.lang, page.problem) == ("潮汐 Tides", lang, None)
    assert page.url == "http://harbour.example/tides"
    assert 0.65 < page.language_confidence <= 1
    served = extract_page(html.encode("gb18030"), charset="gb18030")
    assert (served.text, served.encoding) == (page.text, "gb18030")


@pytest.mark.parametrize("html", ["", "<p>", b"\x00", "\u200b", "<title>x</title>"])
def test_a_page_without_text_says_so(html: str | bytes) -> None:
    page = extract_page(html)
    assert (page.text, page.lang, page.problem) == ("", "", "no_text")


def test_documents_get_verdicts_in_their_order_with_reasons() -> None:
    html = PAGE.format(lang="en", title="Tides", text=ENGLISH).encode()
    documents: list[str | Record] = [
        CHINESE,
        "!",
        Record(body=html, url="http://a.example/tides"),
        CHINESE,
        Record(text=ENGLISH + " Write to keeper@harbour.example.", url="mid:1", date="2026-01-01"),
        "",
    ]
    verdicts = list(
        curate_documents(
            iter(documents), english={"minimum_words": 40, "maximum_duplicate_line_share": None},
            repeats={"paragraphs": False}, duplicates={"similarity": None},
        )
    )  # fmt: skip
    assert [verdict.index for verdict in verdicts] == list(range(6))
    assert verdicts[0].kept
    assert verdicts[0].text == CHINESE
    assert (verdicts[1].stage, verdicts[1].rule) == ("language", "language")
    assert verdicts[2].values["host"] == "a.example"
    assert verdicts[2].rule == "minimum_entropy_bits"  # twice the same paragraph
    assert (verdicts[3].stage, verdicts[3].duplicate_of) == ("same_text", verdicts[0].doc_id)
    assert verdicts[4].text.endswith("Write to [email].")
    assert verdicts[4].url == "mid:1"
    assert (verdicts[5].stage, verdicts[5].rule, verdicts[5].text) == ("extract", "no_text", "")
    assert verdicts[5].url == "document:5"


def test_documents_in_many_files_get_the_same_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    from tongwen.api import documents

    texts = [ENGLISH.replace("tide", f"tide {number % 5}") for number in range(9)]
    monkeypatch.setattr(documents, "_FILE_BYTES", 1_000)
    verdicts = list(curate_documents(texts, task_bytes=2_000, duplicates={"similarity": None}))
    assert [verdict.index for verdict in verdicts] == list(range(9))
    assert {verdict.values["file"] for verdict in verdicts} > {"documents-00001.spool"}
    kept = {verdict.doc_id: texts[verdict.index] for verdict in verdicts if verdict.kept}
    assert sorted(kept.values()) == sorted(set(texts))
    for verdict in verdicts:
        if not verdict.kept:
            assert verdict.stage == "same_text"
            assert kept[verdict.duplicate_of or ""] == texts[verdict.index]


def test_no_documents_give_no_verdicts_and_the_folder_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert list(curate_documents([])) == []
    verdicts = curate_documents([CHINESE, ENGLISH])
    next(verdicts)
    assert len(list(tmp_path.iterdir())) == 1
    verdicts.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_wrong_settings_are_refused_at_once() -> None:
    with pytest.raises(RecipeError, match=r"unknown key `english\.minimum_word`") as caught:
        curate_documents([], english={"minimum_word": 2})
    assert caught.value.hint == "did you mean `minimum_words`?"
    with pytest.raises(RecipeError, match="`languages` must be a list"):
        curate_documents([], languages="en")
    with pytest.raises(UsageError, match="`mix`"):
        curate_documents([], mix={})
    with pytest.raises(UsageError, match="workers is 0"):
        curate_documents([], workers=0)
    with pytest.raises(TypeError, match="document 1 is a int"):
        list(curate_documents(["a", 1]))  # type: ignore[list-item]


def test_stages_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stage 'curat'"):
        tongwen.run_stage("curat", out=tmp_path)
    with pytest.raises(UsageError, match="no stage 'curat'"):
        tongwen.run_road("smallest", tmp_path, until="curat")
    with pytest.raises(UsageError, match="curate needs its input `crawl`"):
        tongwen.run_stage("curate", out=tmp_path)


def test_a_model_writes_and_is_scored(small_model_folder: Path, tmp_path: Path) -> None:
    model = tongwen.load_model(small_model_folder)
    answer = tongwen.generate(model, "The road", max_new_tokens=8)
    assert answer == tongwen.generate(model, "The road", max_new_tokens=8)
    longer = tongwen.generate(model, "The road", max_new_tokens=12)
    assert longer.startswith(answer.rstrip("\ufffd"))
    drawn = {tongwen.generate(model, "路", temperature=1.0, seed=seed) for seed in range(3)}
    assert len(drawn) > 1
    chat = [{"role": "user", "content": "你好"}]
    assert isinstance(tongwen.generate(model, chat, max_new_tokens=4), str)
    stop = longer[2:4]
    assert stop not in tongwen.generate(model, "The road", max_new_tokens=12, stop=[stop])
    with pytest.raises(InputError, match="role 'robot'"):
        tongwen.generate(model, [{"role": "robot", "content": "x"}])
    with pytest.raises(InputError, match="max_new_tokens is 0"):
        tongwen.generate(model, "x", max_new_tokens=0)
    data = tmp_path / "piqa"
    data.mkdir()
    (data / "questions.jsonl").write_text(
        '{"question": "How long?", "choices": ["long", "short"], "gold": 0, "lang": "en"}\n'
        '{"question": "多长？", "choices": ["长", "短"], "gold": 1, "lang": "zh"}\n',
        encoding="utf-8",
    )
    task = tmp_path / "length.toml"
    task.write_text(
        'description = "Length"\nlanguage_field = "lang"\nkind = "choice"\nmetric = "acc"\n'
        'prompt = "{question}"\nchoices_field = "choices"\ngold_field = "gold"\n'
        '[data]\nformat = "jsonl"\n',
        encoding="utf-8",
    )
    english, chinese = tongwen.evaluate_model(model, {str(task): data / "questions.jsonl"})
    assert (english.task, english.language, english.metric, english.items, english.chance) == (
        "length", "en", "acc", 1, 0.5,
    )  # fmt: skip
    assert chinese.language == "zh"
    assert english.value in (0.0, 1.0)
    assert {"acc", "acc_norm", "greedy"} <= set(english.scores)
    with pytest.raises(RecipeError, match="no built-in task `piqaa`"):
        tongwen.evaluate_model(model, {"piqaa": data})
