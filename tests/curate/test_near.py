"""Near duplicates through all steps, against brute force over all pairs."""

import tracemalloc
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from curate_runs import InlineRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.curate.duplicates.clusters import _MARKED, choose_kept
from tongwen.curate.duplicates.components import (
    CLOSE,
    CLOSENESS,
    EDGE,
    MEMBER,
    large_star,
    list_members,
    map_links,
    small_star,
)
from tongwen.curate.duplicates.exact import _MEMBER, DUPLICATE_SCHEMA, LOSS, lose_exact
from tongwen.curate.duplicates.fingerprints import FINGERPRINT, fingerprint_records
from tongwen.curate.duplicates.minhash import band_keys
from tongwen.curate.duplicates.near import LINK
from tongwen.curate.duplicates.steps import (
    block_starts,
    dropped_for,
    layout_of,
    near_links,
    near_losses,
    stars,
)
from tongwen.curate.records import exchange
from tongwen.curate.records.exchange import PartWriter, blocks_of, read_parts, write_parts
from tongwen.curate.settings import DuplicateSettings
from tongwen.flow.exchange import PARTS
from tongwen.flow.manifest import Manifest, describe_outputs
from tongwen.flow.runner import TaskResult
from tongwen.flow.task import Task, TaskContext, TaskInput

SETTINGS = DuplicateSettings(bands=14, rows=4)
HASHES = 56


def made_signatures(documents: int, seed: int, largest: int = 4) -> np.ndarray:
    """Families of up to `largest` documents that share 40 to 100 % of their hashes."""
    draw = np.random.Generator(np.random.PCG64(seed))
    rows = []
    while len(rows) < documents:
        base = draw.integers(0, 2**32, HASHES, np.uint32)
        for _ in range(draw.integers(1, largest + 1)):
            other = draw.integers(0, 2**32, HASHES, np.uint32)
            rows.append(np.where(draw.random(HASHES) < draw.uniform(0, 0.6), other, base))
    return np.array(rows[:documents], np.uint32)


class Records:
    """Signatures with fingerprints, split into tasks in any order and run through the steps."""

    def __init__(self, folder: Path, signatures: np.ndarray) -> None:
        self.folder = folder
        self.signatures = signatures
        draw = np.random.Generator(np.random.PCG64(5))
        self.known = np.zeros(len(signatures), FINGERPRINT)
        self.known["doc_id"] = draw.integers(0, 2**63, (len(signatures), 2))
        self.known["rank"] = draw.integers(0, 2, len(signatures))
        self.known["characters"] = draw.integers(1, 4, len(signatures))
        self.known["has_signature"] = True

    def duplicates(
        self,
        groups: Sequence[Sequence[int]],
        name: str,
        *,
        chosen: DuplicateSettings = SETTINGS,
        partitions: int = 3,
        records_a_block: int = 40,
        exact: np.ndarray | None = None,
    ) -> list[dict[str, Any]]:
        folder = self.folder / name
        results = [self._result(folder, index, group) for index, group in enumerate(groups)]
        layout = layout_of(results, partitions, records_a_block)
        lost = np.zeros(0, LOSS) if exact is None else exact
        starts = layout.starts
        write_parts(folder / PARTS, lost, blocks_of(lost["record"], starts), len(starts))
        exact_losses = (TaskInput(folder / PARTS, "x"),)
        decisions = [TaskInput(result.directory / "decisions.parquet", "x") for result in results]
        runner = InlineRunner()

        def run(tasks: Sequence[Task]) -> list[TaskResult]:
            return runner.run(tasks, folder)

        links = near_links(run, chosen, decisions, results, exact_losses, layout)
        near = near_losses(run, chosen, links, results, layout)
        found = dropped_for(run, (*exact_losses, *near), layout, HASHES)
        parts = [pq.read_table(path) for path in dict.fromkeys(file.path for file in found.lost)]
        table = pa.concat_tables(parts)
        copies = [np.load(path) for path in dict.fromkeys(file.path for file in found.copies)]
        kept = np.unique(table["kept"].to_numpy(), return_counts=True)
        assert [part.tolist() for part in kept] == [
            np.concatenate([part[name] for part in copies]).tolist()
            for name in ("record", "copies")
        ]
        assert table.schema == DUPLICATE_SCHEMA
        return table.to_pylist()

    def _result(self, folder: Path, index: int, group: Sequence[int]) -> TaskResult:
        directory = folder / f"{index:05d}"
        directory.mkdir(parents=True)
        rows = list(group)
        np.save(directory / "fingerprints.npy", self.known[rows])
        self.signatures[rows].tofile(directory / "signatures.bin")
        manifest = Manifest(
            digest=str(index), outputs=describe_outputs(directory), counts={"records": len(rows)}
        )
        column = pa.table({"drop_stage": pa.nulls(len(rows), pa.string())})
        pq.write_table(column, directory / "decisions.parquet")
        return TaskResult(
            Task(fingerprint_records, index, {"documents": (), "edits": ()}), directory, manifest
        )

    def expected(self, threshold: float) -> dict[str, tuple[str, float]]:
        """By doc_id: what each one loses to, and its greatest similarity, from all pairs."""
        keys = band_keys(self.signatures, SETTINGS.bands, SETTINGS.rows)
        closest = np.zeros(len(keys))
        parents = list(range(len(keys)))

        def root(node: int) -> int:
            while parents[node] != node:
                node = parents[node]
            return node

        for first in range(len(keys)):
            shares = (self.signatures[first + 1 :] == self.signatures[first]).mean(axis=1)
            meets = (keys[first + 1 :] == keys[first]).any(axis=1) & (shares >= threshold)
            for second in (np.flatnonzero(meets) + first + 1).tolist():
                share = shares[second - first - 1]
                closest[[first, second]] = np.maximum(closest[[first, second]], share)
                parents[root(second)] = root(first)
        names = [f"{high << 64 | low:032x}" for high, low in self.known["doc_id"].tolist()]
        order = sorted(
            range(len(keys)),
            key=lambda node: (
                self.known["rank"][node], -int(self.known["characters"][node]), names[node],
            ),
        )  # fmt: skip
        winners: dict[int, int] = {}
        for node in order:
            winners.setdefault(root(node), node)
        return {
            names[node]: (names[winners[root(node)]], float(closest[node]))
            for node in range(len(keys))
            if winners[root(node)] != node
        }

    def by_name(
        self, rows: list[dict[str, Any]], groups: Sequence[Sequence[int]]
    ) -> dict[str, tuple[str, float]]:
        found = {}
        for row in rows:
            number = groups[row["record"] >> 40][row["record"] & (2**40 - 1)]
            high, low = self.known["doc_id"][number].tolist()
            found[f"{high << 64 | low:032x}"] = (row["duplicate_of"], row["similarity"])
        return found


def spread(documents: int, tasks: int, seed: int) -> list[list[int]]:
    """The documents in any order, split into tasks of any size; one task is empty."""
    draw = np.random.Generator(np.random.PCG64(seed))
    parts = np.split(draw.permutation(documents), np.sort(draw.integers(0, documents, tasks - 1)))
    return [[], *(part.tolist() for part in parts)]


def test_two_thousand_records_are_clustered_as_brute_force_does(tmp_path: Path) -> None:
    records = Records(tmp_path, made_signatures(2_000, 1))
    groups = spread(2_000, 9, 1)
    rows = records.duplicates(groups, "run", records_a_block=300)
    expected = records.expected(0.7)
    assert len(expected) > 200
    assert records.by_name(rows, groups) == expected
    assert [row["record"] for row in rows] == sorted(row["record"] for row in rows)
    assert {row["stage"] for row in rows} == {"near_duplicate"}


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 4), st.integers(1, 80))
@settings(max_examples=8, deadline=None)
def test_order_and_grouping_into_tasks_blocks_and_partitions_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    documents: int,
    tasks: int,
    partitions: int,
    records_a_block: int,
) -> None:
    """Families of up to 20, which is more than the neighbours that a bucket's records look at."""
    signatures = made_signatures(documents, documents, largest=20)
    records = Records(tmp_path_factory.mktemp("near"), signatures)
    plain = [list(range(documents))]
    groups = spread(documents, tasks, tasks)
    first = records.by_name(records.duplicates(plain, "plain"), plain)
    rows = records.duplicates(
        groups, "spread", partitions=partitions, records_a_block=records_a_block
    )
    assert records.by_name(rows, groups) == first


def test_a_bucket_of_a_thousand_is_one_cluster_with_five_pairs_a_record(tmp_path: Path) -> None:
    one = made_signatures(1, 2)
    records = Records(tmp_path, np.repeat(one, 1_000, axis=0))
    groups = [list(range(500)), list(range(500, 1_000))]
    rows = records.duplicates(groups, "run", records_a_block=500)
    assert len(rows) == 999
    assert len({row["duplicate_of"] for row in rows}) == 1
    manifests = [Manifest.read(path) for path in (tmp_path / "run").glob("pair-sign/*/task.json")]
    pairs = sum(manifest.counts["candidate_pairs"] for manifest in manifests if manifest)
    assert 4_900 < pairs < 5_000


def test_a_higher_threshold_clusters_the_same_links_again(tmp_path: Path) -> None:
    records = Records(tmp_path, made_signatures(300, 3))
    groups = spread(300, 3, 3)
    for threshold in (0.7, 0.9):
        chosen = DuplicateSettings(bands=14, rows=4, similarity=threshold)
        rows = records.duplicates(groups, f"at {threshold}", chosen=chosen)
        assert records.by_name(rows, groups) == records.expected(threshold)
    at_70, at_90 = (
        [path.read_bytes() for path in sorted((tmp_path / name).glob("pair-verify/*/links.npy"))]
        for name in ("at 0.7", "at 0.9")
    )
    assert at_70 == at_90


def test_what_lost_as_an_exact_duplicate_finds_no_near_ones_but_shows_who_is_kept(
    tmp_path: Path,
) -> None:
    """The text that an exact copy lost to loses itself: both name the one that stays."""
    signatures = made_signatures(1, 4)[[0, 0, 0]]
    signatures[2, :5] += np.uint32(1)
    records = Records(tmp_path, signatures)
    records.known["rank"] = [1, 2, 0]
    exact = np.zeros(1, LOSS)
    exact["record"], exact["kept"], exact["kind"] = 1, 0, 1
    rows = records.duplicates([[0, 1, 2]], "run", exact=exact)
    assert [(row["record"], row["kept"], row["stage"]) for row in rows] == [
        (0, 2, "near_duplicate"), (1, 2, "same_text"),
    ]  # fmt: skip
    assert [row["similarity"] for row in rows] == [51 / 56, None]
    high, low = records.known["doc_id"][2].tolist()
    assert {row["duplicate_of"] for row in rows} == {f"{high << 64 | low:032x}"}


def components(folder: Path, files: Sequence[np.ndarray], partitions: int) -> tuple[Any, ...]:
    """Roots and most equal hashes of linked records; rounds; links, by way of the steps."""
    runner = InlineRunner()

    def run(tasks: Sequence[Task]) -> list[TaskResult]:
        return runner.run(tasks, folder / "tasks")

    params = {"hashes": 1, "similarity": 10, "partitions": partitions, "blocks": [0]}
    mapped = []
    for place, links in enumerate(files):
        np.save(folder / f"{place}.npy", links)
        given = TaskInput(folder / f"{place}.npy", str(place))
        mapped.append(Task(map_links, place, {"links": given}, params))
    results = run(mapped)
    edges = stars(run, results, partitions)
    listed = run(
        [
            Task(list_members, index, edges, {"partition": index, "blocks": [0]})
            for index in range(partitions)
        ]
    )
    members = read_parts([result.file(PARTS).path for result in listed], 0, MEMBER)
    close = read_parts([result.file(CLOSENESS).path for result in results], 0, CLOSE)
    best: dict[int, int] = {}
    for record, equal in close.tolist():
        best[record] = max(equal, best.get(record, 0))
    rounds = len({task.split("/")[0] for task in runner.ran if task.startswith("large-star")})
    assert len(members) == len(np.unique(members["record"]))
    return dict(members.tolist()), best, rounds


@given(
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40),
    st.integers(1, 4),
)
@settings(max_examples=15, deadline=None)
def test_clusters_are_the_components_that_a_graph_search_finds(
    tmp_path_factory: pytest.TempPathFactory,
    number: int,
    pairs: list[tuple[int, int]],
    partitions: int,
) -> None:
    pairs = [(a % number, b % number) for a, b in pairs if a % number != b % number]
    links = np.zeros(len(pairs), LINK)
    for place, (a, b) in enumerate(pairs):
        links[place] = (min(a, b) + 100, max(a, b) + 100, 10 + place)
    folder = tmp_path_factory.mktemp("links")
    roots, most_equal, _ = components(folder, np.array_split(links, 3), partitions)
    label = {node: node for pair in pairs for node in pair}
    for _ in label:
        for a, b in pairs:
            label[a] = label[b] = min(label[a], label[b])
    assert roots == {node + 100: label[node] + 100 for node in label}
    assert most_equal == {
        node + 100: max(10 + n for n, pair in enumerate(pairs) if node in pair) for node in label
    }


def test_a_chain_of_hundreds_over_many_files_becomes_a_star_in_a_few_rounds(
    tmp_path: Path,
) -> None:
    draw = np.random.Generator(np.random.PCG64(3))
    chain = draw.permutation(400).astype(np.uint64)
    links = np.zeros(399, LINK)
    links["first"], links["second"] = np.sort([chain[1:], chain[:-1]], axis=0)
    links["equal"] = 10
    draw.shuffle(links)
    roots, _, rounds = components(tmp_path, np.array_split(links, 5), 3)
    assert roots == dict.fromkeys(range(400), 0)
    assert rounds < 10


@pytest.mark.parametrize("function", [large_star, small_star, choose_kept, lose_exact])
def test_memory_does_not_grow_with_the_rows_of_one_record_or_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Any
) -> None:
    """Half a million rows of one record take no more than a hundred thousand."""
    monkeypatch.setattr(PartWriter, "MOST_ROWS", 1 << 13)
    monkeypatch.setattr(exchange, "CHUNK_ROWS", 1 << 13)

    def peak(number: int) -> int:
        dtypes = {choose_kept: _MARKED, lose_exact: _MEMBER}
        rows = np.zeros(number, dtypes.get(function, EDGE))
        name = next(name for name in ("child", "record") if name in (rows.dtype.names or ()))
        rows[name] = np.arange(1, number + 1) if function is not small_star else 1
        if function is large_star:
            rows["child"] %= 50_000
            rows["child"] += 2
            rows["parent"] = 1
        home = tmp_path / str(number)
        (home / "out").mkdir(parents=True)
        write_parts(home / PARTS, rows, np.zeros(number, np.uint16), 1)
        del rows
        given = TaskInput(home / PARTS, "")
        names = ("children", "parents") if function is large_star else ("parts",)
        params = {"partition": 0, "partitions": 2, "blocks": [0], "key": "text"}
        task = Task(function, 0, dict.fromkeys(names, given), params)
        tracemalloc.start()
        function(TaskContext(task, home / "out", frozenset(), None))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small = peak(100_000)
    assert peak(500_000) < 1.2 * small + (1 << 20)


def test_blocks_hold_consecutive_tasks_up_to_a_number_of_records() -> None:
    assert block_starts([5, 5, 5, 20, 1, 0], 10) == [0, 2, 3, 4]
    assert block_starts([], 10) == []
    for counts in combinations([1, 4, 9, 30], 3):
        assert len(block_starts(counts, 1_000)) == 1
