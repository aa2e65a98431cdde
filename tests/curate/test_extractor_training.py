"""The extractor's trees: trained to the byte, kept in one small file, told from other files."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from layouts import CHINESE, ENGLISH, article, frame, paragraphs

from tongwen.cli.curate import command as curate
from tongwen.curate.html.boosting import Boosting, bins_of, train
from tongwen.curate.html.features import (
    FEATURES,
    SECONDS,
    chances_of,
    features_of,
    judge,
    seconds_of,
    survey,
)
from tongwen.curate.html.forest import (
    LANES,
    MOST_LEAVES,
    Forest,
    layouts_of,
    read_forests,
    write_forests,
)
from tongwen.curate.html.main_content import WEIGHTS, extract, forests, layouts
from tongwen.curate.html.page import parse
from tongwen.curate.html.training import GoldPage, draw, labels_of, read_gold, train_extractor
from tongwen.errors import InputError


def gold_pages(count: int = 12) -> list[GoldPage]:
    pages = []
    for number in range(count):
        words = (ENGLISH, CHINESE)[number % 2]
        texts = (*words.texts[number % 3 :], f"{number} {words.texts[0]}")
        html = article(words, paragraphs(texts))
        pages.append(
            GoldPage(
                html, "\n\n".join((words.title, *words.texts, *texts)), f"https://h{number}.org/"
            )
        )
    return pages


def test_equal_pages_and_seeds_give_equal_bytes_and_trees_that_know_the_frame(
    tmp_path: Path,
) -> None:
    written = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        trained = train_extractor(draw(gold_pages(), seed), seed)
        write_forests(tmp_path / name, trained.forests, FEATURES + SECONDS)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1] != written[2]
    assert trained.pages == trained.hosts == 12
    trees = layouts_of(read_forests(tmp_path / "a", FEATURES + SECONDS))
    text = extract(article(ENGLISH, ""), trees).text
    assert all(wanted in text for wanted in ENGLISH.texts)
    assert not any(unwanted in text for unwanted in frame(ENGLISH))


def test_the_command_reads_compressed_lines_and_writes_the_same_file(tmp_path: Path) -> None:
    rows = "".join(
        json.dumps({"html": page.html, "main_content": page.text, "url": page.url}) + "\n"
        for page in gold_pages(6)
    )
    (tmp_path / "gold.jsonl").write_text(rows, encoding="utf-8")
    (tmp_path / "gold.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    for name in ("gold.jsonl", "gold.jsonl.gz"):
        out = tmp_path / f"{name}.weights"
        arguments = ["train-extractor", str(tmp_path / name), "--out", str(out)]
        result = CliRunner().invoke(curate, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert "6 pages of 6 hosts" in result.output
    first, second = (tmp_path / f"{name}.weights" for name in ("gold.jsonl", "gold.jsonl.gz"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2 of .* is not JSON"),
        ('{"text": "a"}', "line 2 of .* has no html"),
        ('{"html": "<p>a"}', "line 2 of .* does not say what its main text is"),
    ],
)
def test_a_line_that_is_no_gold_page_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text('{"html": "<p>a", "text": "a"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=said):
        list(read_gold([path]))


def test_pages_of_one_host_are_refused() -> None:
    with pytest.raises(InputError, match="of 1 host"):
        train_extractor(draw(page._replace(url="https://one.org/") for page in gold_pages(3)))


def test_blocks_are_labelled_by_their_words_and_unknown_ones_weigh_nothing() -> None:
    html = "<p>alpha beta gamma delta</p><p>one two three four</p><p>last</p>"
    labels, weights = labels_of(parse(html), GoldPage(html, "alpha beta gamma delta\nlast"))
    assert labels.tolist() == [1, 0, 1]
    assert np.allclose(weights, [4 / 9, 4 / 9, 1 / 9])
    snippets = GoldPage(html, "", wanted=("beta gamma",), unwanted=("last",))
    labels, weights = labels_of(parse(html), snippets)
    assert labels.tolist() == [1, 0, 0]
    assert np.allclose(weights, [0.8, 0, 0.2])


def test_the_weights_of_the_package_are_small_and_fit_this_version() -> None:
    assert WEIGHTS.stat().st_size < 300_000
    assert len(forests()) == 2
    for forest in forests():
        assert forest.features.max() < FEATURES + SECONDS


def test_a_file_that_holds_no_weights_or_those_of_another_version_is_named(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"PK\3\4 something else")
    with pytest.raises(InputError, match="is not a file of weights"):
        read_forests(other, 3)
    write_forests(other, forests(), FEATURES + SECONDS)
    with pytest.raises(InputError, match="this version looks at 3"):
        read_forests(other, 3)


def walked(forest: Forest, row: np.ndarray[Any, Any]) -> np.float32:
    """Sum of the leaves that a row falls into, tree by tree."""
    odds = np.float32(0)
    for root in forest.roots.tolist():
        node = root
        while forest.features[node] >= 0:
            is_right = bool(row[forest.features[node]] > forest.values[node])
            node = root + int(forest.lefts[node]) + is_right
        odds += forest.values[node]
    return odds


def test_trees_learn_a_rule_of_two_numbers() -> None:
    generator = np.random.default_rng(5)
    rows = generator.random((4_000, 5)).astype(np.float32)
    labels = ((rows[:, 1] > 0.5) ^ (rows[:, 3] > 0.3)).astype(np.float32)
    cuts, binned = bins_of(rows)
    how = Boosting(trees=30, leaves=8, rate=0.3, column_share=1.0)
    forest = train(cuts, binned, labels, np.ones(4_000, np.float32), how, 0)
    right = sum(
        (walked(forest, row) > 0) == (label > 0.5)
        for row, label in zip(rows[:400], labels[:400], strict=True)
    )
    assert right >= 390


def test_blocks_scored_at_once_have_the_chances_of_a_walk_down_each_tree() -> None:
    (first, second), (fast_first, fast_second) = forests(), layouts()
    surveyed = survey(parse(article(ENGLISH, paragraphs(CHINESE.texts))))
    rows, found = features_of(surveyed), chances_of(surveyed, fast_first)
    seconds = seconds_of(surveyed, found)
    again = chances_of(surveyed, fast_second, seconds)
    assert len(rows) % LANES  # the last batch is not full
    for number, row in enumerate(rows):
        odds = walked(first, row)
        assert found[number] == np.float32(1 / (1 + np.exp(-np.float64(odds))))
        if found[number] >= 0.03:  # the others are not looked at again
            odds = walked(second, np.concatenate([row, seconds[number]]))
            assert again[number] == np.float32(1 / (1 + np.exp(-np.float64(odds))))


def test_a_tree_of_too_many_leaves_is_refused() -> None:
    count = MOST_LEAVES + 1  # a chain: each left node is a leaf
    features = np.array([0] + [-1, 0] * (count - 2) + [-1, -1], np.int16)
    lefts = np.array(
        [1] + [n for k in range(count - 2) for n in (0, 2 * k + 3)] + [0, 0], np.uint16
    )
    forest = Forest(np.zeros(1, np.int32), features, np.zeros(len(features), np.float32), lefts)
    with pytest.raises(InputError, match="more than 32 leaves"):
        layouts_of([forest])


def test_numbers_of_blocks_are_finite_and_the_same_every_time() -> None:
    page = parse(article(CHINESE, "<pre>x = 1</pre><table><tr><td>1<td>2</table>"))
    first, second = survey(page), survey(page)
    assert np.isfinite(features_of(first)).all()
    assert (features_of(first) == features_of(second)).all()
    chances = judge(first, *layouts())
    assert ((chances > 0) & (chances < 1)).all()
