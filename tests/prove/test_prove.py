"""Proxies on groups of documents show which text lowers a loss."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tongwen.cli.main import cli
from tongwen.errors import TongwenError
from tongwen.files import write_json, write_jsonl
from tongwen.formats.documents import DOCUMENT_SCHEMA
from tongwen.prove import proxies
from tongwen.prove.groups import Question, Texts, groups_of, read_rule
from tongwen.prove.proof import agreement, outcomes_of

PROSE = {
    "en": "The road number {} is long, said the old man, and he walked on until the evening.",
    "zh-Hans": "第{}条路很长，老人说，他继续往前走，一直走到晚上。",
}
SMALL = ["--tokens", "16000", "--seeds", "2", "--hidden-size", "32", "--layers", "1"]


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents whose `sense` says how many of their sentences are whole; the others are shuffled
    letter by letter. A fifth of each language is from `noise.example`, and senseless.
    """
    folder = tmp_path_factory.mktemp("run") / "curated"
    rng = random.Random(0)
    documents, attributes = [], []
    for language, sentence in PROSE.items():
        for number in range(150):
            sense = 0.0 if number % 5 == 0 else (number % 25) / 25
            sentences = [sentence.format(rng.randrange(1_000)) for _ in range(8)]
            for place in range(8):
                if rng.random() >= sense:
                    letters = list(sentences[place])
                    rng.shuffle(letters)
                    sentences[place] = "".join(letters)
            doc_id = f"{language}-{number:04}"
            documents.append(
                dict.fromkeys(DOCUMENT_SCHEMA.names, "")
                | {
                    "doc_id": doc_id,
                    "lang": language,
                    "text": " ".join(sentences),
                    "host": "noise.example" if number % 5 == 0 else "road.example",
                    "warc_offset": number,
                }
            )
            attributes.append({"doc_id": doc_id, "sense": sense, "drop_stage": None})
    attributes.append({"doc_id": "dropped", "sense": 1.0, "drop_stage": "rules"})
    for kind, table in (
        ("documents", pa.Table.from_pylist(documents, DOCUMENT_SCHEMA)),
        ("attributes", pa.Table.from_pylist(attributes)),
    ):
        (folder / kind).mkdir(parents=True)
        pq.write_table(table, folder / kind / "part-00000.parquet")
    write_json(folder / "manifest.json", {})
    for name, language in (("en", "en"), ("zh", "zh-Hans")):
        rows = [{"text": PROSE[language].format(number)} for number in range(60)]
        write_jsonl(folder.parent / f"{name}.jsonl", rows)
    return folder


def prove(curated: Path, tokenizer: Path, *options: str) -> Any:
    held_out = [f"--held-out={name}={curated.parent / name}.jsonl" for name in ("en", "zh")]
    words = ["curate", "prove", str(curated), "--tokenizer", str(tokenizer), *held_out, *SMALL]
    result = CliRunner().invoke(cli, [*words, *options, "--json"], catch_exceptions=False)
    return json.loads(result.stdout)


def test_a_score_that_knows_good_text_orders_the_losses_and_a_second_call_trains_nothing(
    curated: Path, small_tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = prove(curated, small_tokenizer_folder, "--score", "sense", "--buckets", "3")
    for language in ("en", "zh"):
        found = proof["languages"][language]
        assert found["agreement"] == {"spearman": 1.0, "kendall": pytest.approx(1.0)}
        assert found["difference"]["value"] < -found["difference"]["reach"]
        scores = [group["score"] for group in found["groups"]]
        assert scores == sorted(scores)
    page = (curated.parent / "proofs" / "score-sense" / "proof.md").read_text("utf-8")
    assert page.count("The last group is better.") == 2
    monkeypatch.setattr(proxies, "train", lambda job: pytest.fail("trained again"))
    again = prove(curated, small_tokenizer_folder, "--score", "sense", "--buckets", "3")
    assert again == proof


def test_a_rule_and_a_source_are_held_against_what_is_left_without_them(
    curated: Path, small_tokenizer_folder: Path
) -> None:
    rule = prove(curated, small_tokenizer_folder, "--rule", "minimum_sense=0.6")
    source = prove(curated, small_tokenizer_folder, "--source", "noise.example")
    for language in ("en", "zh"):
        groups = rule["languages"][language]["groups"]
        assert [group["name"] for group in groups] == ["dropped", "kept"]
        assert groups[1]["bits_per_byte"] < groups[0]["bits_per_byte"]
        assert sum(group["documents"] for group in groups) == 150
        without, whole = source["languages"][language]["groups"]
        assert (without["documents"], whole["documents"]) == (120, 150)
        assert source["languages"][language]["agreement"] is None


def test_the_quantiles_hold_every_document_once_and_equal_text(curated: Path) -> None:
    texts = Texts(curated)
    tokens = {doc_id: len(text) for doc_id, text in texts.texts()}
    left_out = proxies.held_out_of(texts)
    assert 0 < len(left_out) < 40
    groups = groups_of(Question("score", "-sense", buckets=4), texts, tokens, left_out)
    found = [name for group in groups for ids in group.ids.values() for name in ids]
    assert sorted(found) == sorted(set(tokens) - left_out)
    for language in ("en", "zh"):
        sizes = [sum(tokens[name] for name in group.ids[language]) for group in groups]
        assert max(sizes) < 1.2 * min(sizes)
        means = [group.score[language] for group in groups if group.score]
        assert means == sorted(means, reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--score", "beauty"], "no measured value 'beauty'"),
        (["--source", "far.example"], "'far.example'"),
        (["--rule", "sense>1"], "--rule is 'sense>1'"),
        (["--rule", "minimum_sense=2"], "no language has 10 documents"),
        (["--score", "sense", "--source", "a"], "--score and --source"),
        ([], "nothing is to be proved"),
        (["--score", "sense", "--held-out", "fr=x.jsonl"], "--held-out is 'fr=x.jsonl'"),
    ],
)
def test_questions_that_cannot_be_answered_name_what_is_wrong(
    curated: Path, small_tokenizer_folder: Path, options: list[str], message: str
) -> None:
    with pytest.raises(TongwenError, match=message):
        prove(curated, small_tokenizer_folder, *options)


def test_intervals_pool_the_deviation_and_agreement_is_that_of_ranks() -> None:
    first, second = outcomes_of([[1.0, 1.2], [2.0, 2.2]])
    # deviation 0.1 sqrt(2), t(0.975, 2) = 4.3027, two seeds each
    assert first.mean == pytest.approx(1.1)
    assert first.reach == second.reach == pytest.approx(4.3027 * 0.1, rel=1e-4)
    assert outcomes_of([[1.0], [2.0]])[0].reach is None
    assert agreement([3.0, 2.0, 1.0]) == {"spearman": 1.0, "kendall": 1.0}
    assert agreement([1.0, 3.0, 2.0])["spearman"] == pytest.approx(-0.5)
    assert read_rule("maximum_x_share=0.2") == ("maximum_x_share", 0.2)
