"""Every task: right answers score 1.000, a model that says nothing scores 0.000 or chance."""

import bz2
import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tongwen.evaluate import evaluator as evaluator_module
from tongwen.evaluate.answers import cut_at
from tongwen.evaluate.choices import Request, Score
from tongwen.evaluate.evaluator import Evaluator
from tongwen.evaluate.free import judge
from tongwen.evaluate.items import Item, make_items, plain_prompt
from tongwen.evaluate.readers import read_rows
from tongwen.evaluate.results import summaries
from tongwen.evaluate.settings import TaskSettings
from tongwen.evaluate.spec import TaskSpec, builtin_names, builtin_spec
from tongwen.model.llama import Llama
from tongwen.tokenizer.text import Tokenizer

GENERATE = [name for name in builtin_names() if builtin_spec(name).kind == "generate"]
CHOICE = [name for name in builtin_names() if builtin_spec(name).kind == "choice"]


LETTERS = [
    {"passage": "", "question": "Which town?", "options": ["(A)Oster", "(B)Halden"], "label": "B"},
    {"passage": "", "question": "哪个镇？", "options": ["(A)青石镇", "(B)白鹭镇"], "label": "A"},
]
SUBJECT = {"id": 0, "A": "一", "B": "二", "C": "三", "D": "四"}
SQUAD_EN = (
    "The mill of Halden opened in 1850 with 50% of its wheels, and C++ was unknown.\nIt burnt.",
    [("When did it open?", ["1850", "in 1850"]), ("How many wheels?", ["50%"])],
)
SQUAD_ZH = (
    "同文馆创办于１８６２年，设在北京。\n后来并入京师大学堂。",
    [("何时创办？", ["１８６２年"]), ("设在哪里？", ["北京", "在北京"])],
)
QUESTIONS = [
    {
        "id": f"{lang}{n}", "lang": lang, "fact_id": f"f{n}", "question": question,
        "answer": choices[n], "accepted": [choices[n]], "choices": choices, "gold": n,
    }
    for n in range(2)
    for lang, question, choices in (
        ("en", "Is the mill in Halden, in Oster or in Vale A?", ["Halden", "Vale A", "Oster"]),
        ("zh", "磨坊在青石镇还是白鹭镇？", ["青石镇", "白鹭镇", "三十元"]),
    )
]  # fmt: skip

MBPP = {
    "text": "Double a number.",
    "code": "def twice(x):\r\n  return 2 * x",
    "test_setup_code": "",
    "test_list": ["assert twice(2) == 4", "assert twice(0) == 0", "assert twice(-1) == -2"],
}

ROWS: Mapping[str, Sequence[Any]] = {
    "agieval_en": LETTERS[:1],
    "agieval_zh": LETTERS[1:],
    "arc_easy": [
        {"id": "1", "question": "What burns?", "answerKey": "2",
         "choices": {"text": ["stone", "wood"], "label": ["1", "2"]}}
    ],
    "bbh": [
        {"input": "Complete: [ ( {", "target": "} ) ]"},
        {"input": "Which?\nOptions:\n(A) Halden\n(B) Oster", "target": "(A)"},
        {"input": "Which?\nOptions:\n(A) Halden\n(B) Oster", "target": "(B)"},
        {"input": "Which language, C or C++?", "target": "C++"},
        {"input": "not ( True ) is", "target": "False"},
        {"input": "((-9 * 7)) =", "target": "-63"},
        {"input": "Sort: the an a", "target": "a an the"},
    ],
    "boolq": [{"passage": "Mills burn.", "question": "do mills burn", "answer": True}],
    "ceval": [SUBJECT | {"question": "几？", "answer": "C"}],
    "chinese_simpleqa": [
        {"id": 1, "question": "同文馆创办于哪一年？", "answer": "1862年", "primary_category": "史"},
        {"id": 2, "question": "C和C#哪个较新？", "answer": "C#", "primary_category": "技"},
        {"id": 3, "question": "选A还是B？", "answer": "B", "primary_category": "技"},
    ],
    "cmmlu": [SUBJECT | {"Question": "几？", "Answer": "D"}],
    "cmrc2018": [SQUAD_ZH],
    "commonsense_qa": [
        {"id": "1", "question": "What burns?", "answerKey": "A",
         "choices": {"text": ["wood", "stone"], "label": ["A", "B"]}}
    ],
    "copa": [{"idx": 1, "premise": "It burnt.", "question": "cause", "choice1": "a spark",
              "choice2": "rain", "label": 0}],
    "drcd": [SQUAD_ZH],
    "dream": [[["M: Hi."], [{"question": "Who?", "choice": ["M", "W"], "answer": "M"}], "d1"]],
    "fewclue_bustm": [{"sentence1": "甲", "sentence2": "乙", "label": "1"}],
    "fewclue_chid": [
        {"content": "他#idiom#了。", "candidates": ["一心一意", "三心二意"], "answer": 1}
    ],
    "fewclue_cluewsc": [
        {"text": "他来了", "label": "true", "target": {"span1_text": "李", "span2_text": "他"}}
    ],
    "fewclue_eprstmt": [{"sentence": "好吃", "label": "Positive"}],
    "fewclue_tnews": [{"sentence": "球赛", "label_desc": "news_sports"}],
    "gsm8k": [
        {"question": "9,500 eggs less 0 give how many?", "answer": "9500 - 0.\n#### 9,500"},
        {"question": "16 less 3 is how many? Not 18.", "answer": "16 - 3 = 13\n#### 13"},
        {"question": "3 less 8 is?", "answer": "#### -5"},
    ],
    "hellaswag6": [("Sailing: a boat leaves.", "2", "one", "two", "three", "four")],
    "humaneval": [
        {"task_id": "T/0", "prompt": 'def twice(x):\n    """Double."""\n', "entry_point": "twice",
         "test": "def check(candidate):\n    assert candidate(2) == 4",
         "canonical_solution": "    return 2 * x\n"}
    ],
    "lambada": [{"context": "The mill of", "continuation": " Halden"}],
    "mbpp": [MBPP | {"task_id": 11}],
    "mbpp_rest": [MBPP | {"task_id": 511}],
    "mgsm_en": [{"question": "16 less 3?", "answer": "13"}],
    "mgsm_zh": [{"question": "一万减3等于几？", "answer": "9,997"}],
    "mmlu": [{"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 3, "subject": "x"}],
    "nq_open": [
        {"question": "which vitamin is in carrots", "answer": ["Vitamin A"]},
        {"question": "which band is it", "answer": ["The The", "the The band"]},
        {"question": "which grade is best", "answer": ["A"]},
    ],
    "ocnli": [{"sentence1": "下雨", "sentence2": "地湿", "label": "entailment"}],
    "openbookqa": [
        {"id": "1", "question_stem": "Fire needs", "answerKey": "B",
         "choices": {"text": ["stone", "air"], "label": ["A", "B"]}}
    ],
    "piqa": [{"goal": "cut bread", "sol1": "use a spoon", "sol2": "use a knife"}],
    "sample_answer": QUESTIONS,
    "sample_choice": [row | {"sentences": row["choices"]} for row in QUESTIONS],
    "sample_talk": [
        {"id": "1", "lang": "en", "group": "outside", "question": "Who made you, Kim or Lee?",
         "accepted": ["I do not know", "not know"]},
        {"id": "2", "lang": "zh", "group": "greeting", "question": "你好！", "accepted": ["您好"]},
    ],
    "sciq": [{"support": "Fire is hot.", "question": "What is hot?", "correct_answer": "fire",
              "distractor1": "ice", "distractor2": "snow", "distractor3": "rain"}],
    "siqa": [{"context": "Kim left.", "question": "Why?", "answerA": "late", "answerB": "ill",
              "answerC": "sad", "label": "2"}],
    "triviaqa": [
        {"context": "Question: Who sang This Is the Day?\nAnswer:", "answer": "The The",
         "aliases": ["The The", "The The (band)"]},
        {"context": "Question: Which sharp key has six sharps?\nAnswer:", "answer": "F#",
         "aliases": []},
    ],
    "truthfulqa_binary": [
        {"Category": "c", "Question": "Is it?", "Best Answer": "no", "Best Incorrect Answer": "yes"}
    ],
    "winograd": [
        {"context_options": ["The mill", "The town"], "continuation": "burnt.", "gold": 0}
    ],
    "winogrande": [{"sentence": "Kim met Lee as _ left.", "option1": "Kim", "option2": "Lee",
                    "answer": "2"}],
    "xcopa_zh": [{"idx": 1, "premise": "着火了", "question": "cause", "choice1": "火花",
                  "choice2": "下雨", "label": 0}],
    "xquad_en": [SQUAD_EN],
    "xquad_zh": [SQUAD_ZH],
}  # fmt: skip
"""Of each task, what its reader finds in the file."""


def tiny_items(name: str, folder: Path, *, chat: bool = False) -> tuple[TaskSpec, list[Item]]:
    """The items of a built-in task, read from a file of its layout in `folder`."""
    spec = builtin_spec(name)
    rows = ROWS[name]
    text = _WRITERS[spec.data.format](spec, rows)
    path = folder / spec.data.file.replace("*", "")
    path.write_bytes(_packed(spec, text))
    if spec.data.labels:
        (folder / spec.data.labels).write_text("1\n" * len(rows))
    if spec.data.join:
        facts = [{"fact_id": f"f{n}", "relation": "place"} for n in range(2)]
        (folder / spec.data.join).write_text("".join(json.dumps(row) + "\n" for row in facts))
    if spec.shots.file:
        (folder / spec.shots.file).write_bytes(_packed(spec, text))
    task = TaskSettings(name=name, path=str(folder))
    return spec, make_items(spec, task, read_rows(spec, folder), chat=chat)


def _packed(spec: TaskSpec, text: str) -> bytes:
    name, data = spec.data.file, text.encode()
    member = spec.data.members[0].replace("*", "x") if spec.data.members else ""
    buffer = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(member, data)
        return buffer.getvalue()
    if name.endswith(".tar.gz"):
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        return buffer.getvalue()
    if name.endswith(".gz"):
        return gzip.compress(data)
    return bz2.compress(data) if name.endswith(".bz2") else data


def _jsonl(spec: TaskSpec, rows: Sequence[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _json(spec: TaskSpec, rows: Sequence[Any]) -> str:
    return json.dumps({spec.data.records: rows} if spec.data.records else rows)


def _table(delimiter: str) -> Callable[[TaskSpec, Sequence[Any]], str]:
    def write(spec: TaskSpec, rows: Sequence[Any]) -> str:
        file = io.StringIO(newline="")
        lines = csv.writer(file, delimiter=delimiter)
        if not spec.data.columns:
            lines.writerow(rows[0])
        lines.writerows(row.values() for row in rows)
        return file.getvalue().replace("\r\n", "\n")

    return write


def _squad(spec: TaskSpec, rows: Sequence[Any]) -> str:
    paragraphs = [
        {
            "context": context,
            "qas": [
                {"id": f"{n}", "question": question, "answers": [{"text": one} for one in answers]}
                for n, (question, answers) in enumerate(questions)
            ],
        }
        for context, questions in rows
    ]
    return json.dumps({"data": [{"paragraphs": paragraphs}]})


def _lines(spec: TaskSpec, rows: Sequence[Any]) -> str:
    return "".join(f"{line}\n" for row in rows for line in row)


_WRITERS: Mapping[str, Callable[[TaskSpec, Sequence[Any]], str]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _table(","),
    "tsv": _table("\t"),
    "squad": _squad,
    "dream": _json,
    "hellaswag6": _lines,
}


def test_every_built_in_task_has_rows() -> None:
    assert sorted(ROWS) == builtin_names()


def score_of(spec: TaskSpec, item: Item, said: str) -> dict[str, float]:
    return judge(spec, item, cut_at(said, spec.stop))[0]


@pytest.mark.parametrize("name", GENERATE)
@pytest.mark.parametrize("chat", [False, True])
def test_a_right_answer_scores_one(name: str, chat: bool, tmp_path: Path) -> None:
    spec, items = tiny_items(name, tmp_path, chat=chat)
    for item in items:
        for answer in item.accepted:
            for said in (answer, f" {answer}", f"{answer} \n"):
                scores, _, is_found = judge(spec, item, said)
                assert scores[spec.metric] == 1, (said, item.accepted)
                assert scores["exact_match"] == scores["flexible"] == 1
                assert is_found


SILENCE = ("", " ", ".", "\n", "the", " The", "an", "A", "(", "。", "…", "**", "\\boxed{}", "####",
           "The answer is", "答案：", "-", "，", "$", "%")  # fmt: skip


@pytest.mark.parametrize("name", GENERATE)
@pytest.mark.parametrize("chat", [False, True])
def test_silence_scores_nothing(name: str, chat: bool, tmp_path: Path) -> None:
    spec, items = tiny_items(name, tmp_path, chat=chat)
    for item in items:
        for said in SILENCE:
            if said.strip() in item.accepted or (said == "A" and "(A)" in item.accepted):
                continue
            scores = score_of(spec, item, said)
            assert set(scores.values()) == {0.0}, (said, item.accepted, scores)


@pytest.mark.parametrize("name", GENERATE)
@pytest.mark.parametrize("chat", [False, True])
def test_repeating_the_prompt_scores_nothing(name: str, chat: bool, tmp_path: Path) -> None:
    spec, items = tiny_items(name, tmp_path, chat=chat)
    for item in items:
        context = item.contexts[0]
        prompt = context if chat else plain_prompt(spec, item, context)
        unlabelled = prompt.removeprefix("Question: ").removeprefix("问题：").removeprefix("Q: ")
        for said in (prompt, f" {prompt}", f"{prompt}\n\n{prompt}", unlabelled):
            for cut in (said, cut_at(said, spec.stop)):
                scores = judge(spec, item, cut)[0]
                assert set(scores.values()) == {0.0}, (cut, item.accepted, scores)


def test_a_bare_letter_is_not_the_letter_in_brackets_but_flexible_takes_it(tmp_path: Path) -> None:
    spec, items = tiny_items("bbh", tmp_path)
    item = next(item for item in items if item.accepted == ("(A)",))
    assert score_of(spec, item, " (A)")["exact_match"] == 1
    assert score_of(spec, item, " （A）。")["exact_match"] == 1
    assert score_of(spec, item, " So the answer is (A).")["exact_match"] == 1
    assert score_of(spec, item, " A")["exact_match"] == 0
    assert score_of(spec, item, " A")["flexible"] == 1
    assert score_of(spec, item, " B")["flexible"] == 0


def test_strict_counted_and_lenient_scores_are_in_order(tmp_path: Path) -> None:
    spec, items = tiny_items("gsm8k", tmp_path)
    item = items[1]
    for said, scores in (
        ("#### 13", (1, 1, 1)),
        ("16 - 3 = 13, so 13 eggs", (0, 1, 1)),
        ("The answer is 12. No, wait: 13", (0, 0, 1)),
        ("The answer is 12.", (0, 0, 0)),
    ):
        found = judge(spec, item, said)[0]
        assert (found["exact_match"], found["number"], found["flexible"]) == scores, said


@pytest.mark.parametrize("name", CHOICE)
@pytest.mark.parametrize("chat", [False, True])
def test_the_likeliest_choice_scores_one_and_a_wrong_one_none(
    name: str,
    chat: bool,
    tmp_path: Path,
    model: Llama,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, items = tiny_items(name, tmp_path, chat=chat)
    for is_right in (True, False):

        def oracle(
            model: Llama, requests: Sequence[Request], *, is_right: bool = is_right, **_: Any
        ) -> list[Score]:
            golds: Iterator[bool] = (
                index == item.gold for item in items for index in range(len(item.choices))
            )
            return [Score(-1.0 if gold is is_right else -900.0, gold is is_right) for gold in golds]

        monkeypatch.setattr(evaluator_module, "score", oracle)
        records = list(
            Evaluator(model, tokenizer, 256).records(
                spec, items, chat=chat, max_new_tokens=1, report=lambda done, total: None
            )
        )
        if any(record["not_scored"] for record in records):
            pytest.fail("the tiny rows do not fit the tiny model")
        if spec.metric == "greedy" or is_right:
            for result in summaries(name, spec, records):
                assert result["value"] == float(is_right)
                assert result["chance"] < 1
