"""Every task: right answers score 1.000, a model that says nothing scores 0.000 or chance."""

import bz2
import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tongwen.evaluate import evaluator as evaluator_module
from tongwen.evaluate.answers import cut_at
from tongwen.evaluate.choices import Score
from tongwen.evaluate.evaluator import Evaluator
from tongwen.evaluate.free import judge
from tongwen.evaluate.items import Item, make_items, plain_prompt
from tongwen.evaluate.readers import read_rows
from tongwen.evaluate.results import summaries
from tongwen.evaluate.settings import TaskSettings
from tongwen.evaluate.silent import SILENT, silent_scores
from tongwen.evaluate.spec import BITS, TaskSpec, builtin_names, builtin_spec, builtin_variants
from tongwen.evaluate.trie import Request
from tongwen.model.llama import Llama
from tongwen.tokenizer.text import Tokenizer

ALL = [
    full
    for name in builtin_names()
    for full in (name, *(f"{name}@{variant}" for variant in builtin_variants(name)))
]
GENERATE = [
    name
    for name in ALL
    if builtin_spec(name).kind == "generate" and builtin_spec(name).metric != "instructions"
]
CHOICE = [name for name in ALL if builtin_spec(name).kind == "choice"]


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

ARC = [
    {
        "id": "1",
        "question": "What burns?",
        "answerKey": "2",
        "choices": {"text": ["stone", "wood"], "label": ["1", "2"]},
    }
]
SEVERAL = [
    {
        "passage": None,
        "question": "哪些镇？",
        "label": ["B", "D"],
        "options": ["(A)青石镇", "(B)白鹭镇", "(C)三十镇", "(D)翻译镇"],
    },
    {
        "passage": None,
        "question": "哪个镇？",
        "label": "C",
        "options": ["(A)青石镇", "(B)白鹭镇", "(C)三十镇", "(D)翻译镇"],
    },
]
DREAM = [[["M: Hi."], [{"question": "Who?", "choice": ["M", "W"], "answer": "M"}], "d1"]]
TRUTH = [
    {
        "Category": "c",
        "Question": "Is it so?",
        "Best Answer": "no",
        "Correct Answers": "no; not at all",
        "Incorrect Answers": "yes; always",
    }
]
LEVAL = [
    {
        "input": "A long text about mills.",
        "instructions": ["Which?\nA. one\nB. two", "Which?\nB. one\nD. two"],
        "outputs": ["(B) Because it burnt", "BD"],
    }
]
MATH = [
    {
        "problem": "What is $19^2+1$?",
        "level": "1",
        "type": "Algebra",
        "subject": "Algebra",
        "answer": "362",
        "solution": "It is $\\boxed{362}$.",
    },
    {
        "problem": "For which $x$ is $x^2 < 4$?",
        "level": "1",
        "type": "Algebra",
        "subject": "Algebra",
        "answer": "(-2,2)",
        "solution": "Clearly $x \\in \\boxed{(-2,2)}$.",
    },
    {
        "problem": "Halve $\\sqrt{3}$.",
        "level": "1",
        "type": "Algebra",
        "subject": "Algebra",
        "answer": "\\frac{\\sqrt{3}}{2}",
        "solution": "\\boxed{\\frac{\\sqrt{3}}{2}}",
    },
]
FOLLOW = [
    {
        "key": 1,
        "prompt": "Write about a mill, twice, without commas.",
        "instruction_id_list": ["keywords:existence", "punctuation:no_comma"],
        "kwargs": [{"keywords": ["wheel", "river"]}, {}],
    },
]
MBPP = {
    "text": "Double a number.",
    "code": "def twice(x):\r\n  return 2 * x",
    "test_setup_code": "",
    "test_list": ["assert twice(2) == 4", "assert twice(0) == 0", "assert twice(-1) == -2"],
}

ROWS: Mapping[str, Sequence[Any]] = {
    "agieval_cloze": [
        {"passage": None, "question": "Halve $3$.", "options": None, "answer": "$\\frac{3}{2}$"},
    ],
    "agieval_letters": SEVERAL,
    "arc_challenge": ARC,
    "bbh_cot": [
        {"input": "Which?\nOptions:\n(A) Halden\n(B) Oster", "target": "(B)"},
        {"input": "not ( True ) is", "target": "False"},
    ],
    "c3": DREAM,
    "gaokao": [
        {"year": "2010", "question": "1. 哪个？ A．一 B．二 C．三 2. 哪个？ A．四 B．五",
         "answer": ["C", "A"], "analysis": "略"},
        {"year": "2011", "question": "哪些？ A．一 B．二 C．三 D．四", "answer": ["BD"],
         "analysis": "略"},
    ],
    "gaokao_letters": [{"question": "哪个？ A．一 B．二 C．三 D．四", "answer": ["C"]}],
    "hellaswag": [("Sailing: a boat leaves.", "2", "one", "two", "three", "four")],
    "ifeval": FOLLOW,
    "leval_coursera": LEVAL,
    "leval_quality": LEVAL,
    "leval_tpo": LEVAL,
    "longbench_multifieldqa_zh": [
        {"_id": "1", "input": "何时创办？", "context": "同文馆。", "answers": ["１８６２年"]}
    ],
    "longbench_passage_retrieval_zh": [
        {"_id": "1", "input": "讲磨坊。", "context": "段落1：磨坊。", "answers": ["段落12"]}
    ],
    "math": MATH,
    "math500": MATH,
    "quac": [SQUAD_EN],
    "squad1": [SQUAD_EN],
    "squad2": [("Mills burn.", [("Who built it?", []), ("What burns?", ["Mills"])])],
    "truthfulqa_mc1": TRUTH,
    "truthfulqa_mc2": TRUTH,
    "xwinograd_en": [
        ("en", "s", "?", "Kim met Lee as she left.", '["Kim","met","Lee","as","she","left","."]',
         '["she", [4, 5], ["she"]]',
         '[["Kim", [0, 1], ["Kim"], false], ["Lee", [2, 3], ["Lee"], true]]'),
    ],
    "xwinograd_zh": [
        ("zh", "s", "?", "李四见张三，因为他来了。",
         '["李四","见","张三","，","因为","他","来了。"]',
         '["他", [5, 6], ["他"]]',
         '[["李四", [0, 1], ["李四"], true], ["张三", [2, 3], ["张三"], false]]'),
    ],
    "agieval_en": LETTERS[:1],
    "agieval_zh": LETTERS[1:],
    "arc_easy": ARC,
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
    "dream": DREAM,
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
    rows = ROWS[name.partition("@")[0]]
    text = _WRITERS[spec.data.format](spec, rows)
    path = folder / _file_name(spec.data.file).replace("*", "")
    path.write_bytes(_packed(spec, text))
    if spec.data.names:
        (folder / spec.data.names).write_text('{"x": ["x", "历史", "y"]}', encoding="utf-8")
    if spec.data.labels:
        (folder / spec.data.labels).write_text("1\n" * len(rows))
    if spec.data.join:
        facts = [{"fact_id": f"f{n}", "relation": "place"} for n in range(2)]
        (folder / spec.data.join).write_text("".join(json.dumps(row) + "\n" for row in facts))
    task = TaskSettings(name=name, path=str(folder))
    return spec, make_items(spec, task, read_rows(spec, folder, shots=False), chat=chat)


def _file_name(names: str) -> str:
    return names.partition("|")[0].replace("*", "").replace("?", "d")


def _packed(spec: TaskSpec, text: str) -> bytes:
    name, data = _file_name(spec.data.file), text.encode()
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
            if spec.data.texts:
                prompt = b"canary\n-----\nJudge.\n\nQ: 1 is\nA: So the answer is True.\n"
                info = tarfile.TarInfo(spec.data.texts.replace("*", "x"))
                info.size = len(prompt)
                archive.addfile(info, io.BytesIO(prompt))
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
                {
                    "id": f"{n}",
                    "question": question,
                    "answers": [{"text": one} for one in answers],
                }
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
    "hellaswag": _lines,
    "ifeval": _jsonl,
    "leval": _jsonl,
    "quac": _squad,
    "truthfulqa": _table(","),
    "xwinograd": lambda spec, rows: "".join("\t".join(row) + "\n" for row in rows),
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
            found = []
            for item in items:
                rights = item.golds or (item.gold,)
                golds = [index in rights for index in range(len(item.choices))]
                if item.golds and not is_right:
                    golds = [True] * len(golds)  # mc2 of a model that knows nothing
                found += [
                    Score(-1.0 if gold is is_right else -900.0, gold is is_right) for gold in golds
                ]
                if spec.unconditional:
                    found += [Score(-5.0, is_greedy=False) for _ in golds]
            return found

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
                if spec.metric == BITS:
                    assert 0 < result["value"] < 2
                    assert result["chance"] is None
                    continue
                assert result["value"] == float(is_right)
                assert result["chance"] < 1


def test_an_answer_that_follows_its_instructions_scores_one(tmp_path: Path) -> None:
    spec, (item,) = tiny_items("ifeval", tmp_path)
    for said, scores in (
        ("The wheel turns in the river.", (1, 1, 1)),
        ("Sure, here it is:\nThe wheel turns in the river.", (0, 1, 0.5)),
        ("The wheel, turns.", (0, 0, 0)),
        ("The mill.", (0, 0, 0.5)),
        (item.contexts[0], (0, 0, 0)),
        ("", (0, 0, 0)),
        (".", (0, 0, 0)),
    ):
        found = judge(spec, item, said)[0]
        names = ("instructions", "instructions_loose", "instruction_share")
        assert tuple(found[name] for name in names) == scores, said


@pytest.mark.parametrize("name", [name for name in GENERATE if "@" not in name])
def test_the_floor_of_a_task_is_what_silence_scores(name: str, tmp_path: Path) -> None:
    spec, items = tiny_items(name, tmp_path)
    found = silent_scores(spec, items)
    assert set(found) == set(SILENT)
    assert {value for key, value in found.items() if key != "的"} == {0.0}
