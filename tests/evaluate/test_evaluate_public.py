"""The built-in tasks on the public files they are made for, where the user has them."""

import gzip
import json
import os
from pathlib import Path

import pytest

from tongwen.evaluate.items import make_items
from tongwen.evaluate.readers import read_rows
from tongwen.evaluate.settings import TaskSettings
from tongwen.evaluate.spec import builtin_names, builtin_spec

FOLDER = Path(os.environ.get("TONGWEN_EVALS", "nowhere"))

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="TONGWEN_EVALS does not name a folder of public test sets"
)

EXPECTED = {  # task: (folder, items, left out, clusters where items share passages)
    "agieval_cloze": ("agieval", 1118, 0, None),
    "agieval_en": ("agieval", 2340, 0, None),
    "agieval_letters": ("agieval", 2200, 0, None),
    "agieval_zh": ("agieval", 2563, 42, None),
    "arc_easy": ("arc_easy", 2376, 0, None),
    "bbh": ("bbh", 6511, 0, None),
    "bbh_cot": ("bbh", 6511, 0, None),
    "boolq": ("boolq", 3270, 0, 2938),
    "ceval": ("ceval", 1346, 0, None),
    "chinese_simpleqa": ("chinese_simpleqa", 3000, 0, None),
    "cmmlu": ("cmmlu", 11582, 0, None),
    "cmrc2018": ("cmrc2018", 3219, 0, 848),
    "commonsense_qa": ("commonsense_qa", 1221, 0, None),
    "copa": ("copa", 100, 0, None),
    "drcd": ("drcd", 3524, 0, 1000),
    "dream": ("dream", 2041, 0, 1287),
    "fewclue_bustm": ("fewclue", 1772, 0, None),
    "fewclue_chid": ("fewclue", 2002, 0, None),
    "fewclue_cluewsc": ("fewclue", 976, 0, None),
    "fewclue_eprstmt": ("fewclue", 610, 0, None),
    "fewclue_tnews": ("fewclue", 2010, 0, None),
    "gaokao": ("gaokao_bench", 1781, 0, None),
    "gaokao_letters": ("gaokao_bench", 1503, 278, None),
    "gsm8k": ("gsm8k", 1319, 0, None),
    "hellaswag": ("hellaswag", 10042, 0, None),
    "hellaswag6": ("hellaswag", 10042, 0, None),
    "humaneval": ("humaneval", 164, 0, None),
    "ifeval": ("ifeval", 541, 0, None),
    "lambada": ("lambada", 5153, 0, None),
    "leval_coursera": ("leval", 172, 0, 15),
    "leval_quality": ("leval", 202, 0, 15),
    "leval_tpo": ("leval", 269, 0, 15),
    "longbench_multifieldqa_zh": ("longbench", 200, 0, None),
    "longbench_passage_retrieval_zh": ("longbench", 200, 0, None),
    "math": ("math", 5000, 0, None),
    "math500": ("math", 500, 0, None),
    "mbpp_rest": ("mbpp", 464, 10, None),
    "mgsm_en": ("mgsm", 250, 0, None),
    "mgsm_zh": ("mgsm", 250, 0, None),
    "mmlu": ("mmlu", 14042, 0, None),
    "nq_open": ("nq_open", 3610, 0, None),
    "ocnli": ("ocnli", 2950, 50, None),
    "openbookqa": ("openbookqa", 500, 0, None),
    "piqa": ("piqa", 1838, 0, None),
    "sciq": ("sciq", 1000, 0, None),
    "siqa": ("siqa", 1954, 0, None),
    "triviaqa": ("triviaqa", 3000, 0, None),
    "truthfulqa_mc1": ("truthfulqa", 817, 0, None),
    "truthfulqa_mc2": ("truthfulqa", 817, 0, None),
    "truthfulqa_binary": ("truthfulqa", 790, 0, None),
    "winograd": ("winograd_wsc273", 273, 0, None),
    "winogrande": ("winogrande", 1267, 0, None),
    "xcopa_zh": ("xcopa", 500, 0, None),
    "xwinograd_en": ("xwinograd", 2325, 16, None),
    "xwinograd_zh": ("xwinograd", 16, 2325, None),
    "xquad_en": ("xquad", 1190, 0, 240),
    "xquad_zh": ("xquad", 1190, 0, 240),
}

NOT_KEPT = {"arc_challenge", "c3", "mbpp", "quac", "squad1", "squad2"}
"""Tasks whose data is in no folder that this test was written with."""


def test_every_public_task_is_expected() -> None:
    public = {name for name in builtin_names() if not name.startswith("sample_")}
    assert set(EXPECTED) == public - NOT_KEPT


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_counts_are_the_published_ones(name: str) -> None:
    folder, count, left_out, clusters = EXPECTED[name]
    spec = builtin_spec(name)
    rows = read_rows(spec, FOLDER / folder, shots=not name.startswith("hellaswag"))
    for shots in (0, 2) if rows.shots else (0,):
        task = TaskSettings(name=name, path=str(FOLDER / folder), shots=shots)
        items = make_items(spec, task, rows, chat=False)
        assert (len(items), rows.left_out) == (count, left_out)
        assert len({item.id for item in items}) == count
        if clusters is not None:
            assert len({item.cluster for item in items}) == clusters


def test_hellaswag_is_asked_as_olmes_asks_it() -> None:
    asked: dict[str, list[tuple[str, int]]] = {}
    for row in read_rows(builtin_spec("hellaswag6"), FOLDER / "hellaswag").rows:
        asked.setdefault(letters(row.values["endings"]), []).append(
            (" ".join(row.values["query"].split()), int(row.values["gold"]))
        )
    with gzip.open(FOLDER / "hellaswag" / "olmes_sample1000.jsonl.gz", "rt") as file:
        samples = [json.loads(line) for line in file]
    equal = sum(
        (" ".join(sample["query"].replace(".. ", ". ").split()), sample["gold"])
        in asked[letters(sample["choices"])]
        for sample in samples
    )
    assert (equal, len(samples)) == (1000, 1000)


def letters(texts: list[str]) -> str:
    """What both conversions of the data have kept of the endings."""
    return "".join(filter(str.isalnum, "".join(texts))).lower()
