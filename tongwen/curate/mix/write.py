"""The mix, second half: divide the tokens, copy the documents, shuffle them over files, report."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from tongwen.curate.mix.budget import Supply, allot
from tongwen.curate.mix.settings import MixSettings
from tongwen.curate.mix.weights import per_token
from tongwen.errors import RecipeError
from tongwen.files import read_json, write_json
from tongwen.flow.runner import TaskResult
from tongwen.flow.task import TaskContext
from tongwen.formats.documents import draw

_MOST_FILES = 4_096
_BUFFER_BYTES = 64 << 20
_ROW_GROUP_ROWS = 1_000
_KEY, _COPY = "mix_key", "mix_copy"


def plan_parameters(settings: MixSettings) -> dict[str, Any]:
    """What `mix-plan` depends on, as JSON values."""
    return {
        "share_by": settings.share_by,
        "shares": dict(settings.shares),
        "equal_shares": settings.equal_shares,
        "tokens": settings.tokens,
        "maximum_epochs": settings.maximum_epochs,
        "characters_per_token": dict(settings.characters_per_token),
        "file_bytes": settings.file_bytes,
    }


def plan_mix(context: TaskContext) -> Mapping[str, int]:
    """Divide the tokens among the groups: `plan.json` with how many copies a weight is worth in
    each, and into how many files the mixture goes. Inputs: all `supply.json`.

    Raises:
        RecipeError: nothing is left to mix, or shares are given and a group has none.
    """
    params = context.params
    rows = [row for path in context.inputs for row in read_json(path)]
    groups = _supplies(rows, params["characters_per_token"])
    shares = dict(params["shares"]) or None
    if params["equal_shares"]:
        shares = dict.fromkeys(groups, 1.0)
    if shares is not None:
        _check_shares(groups, shares, params["share_by"])
    allotments = allot(
        groups,
        shares=shares,
        tokens=params["tokens"],
        maximum_epochs=params["maximum_epochs"],
    )
    if not any(allotment.given for allotment in allotments.values()):
        raise RecipeError(
            "the mix keeps no document at all",
            hint="look at curate.mix.keep_if, weights and shares",
        )
    expected_bytes = sum(
        row["bytes"]
        * copies_wanted(row["weight"], allotments[row["group"]].scale, params["maximum_epochs"])
        for row in sorted(rows, key=lambda row: [str(value) for value in row.values()])
    )
    files = min(_MOST_FILES, max(1, ceil(expected_bytes / params["file_bytes"])))
    plan = {
        "maximum_epochs": params["maximum_epochs"],
        "files": files,
        "share_by": params["share_by"],
        "shares": shares,
        "tokens": params["tokens"],
        "groups": {
            name: {**asdict(allotment), "epochs": allotment.epochs}
            for name, allotment in allotments.items()
        },
    }
    write_json(context.out / "plan.json", plan)
    return {"files": files}


def _supplies(
    rows: Sequence[Mapping[str, Any]], characters_per_token: Mapping[str, float]
) -> dict[str, list[Supply]]:
    """Tokens by group and weight. Characters are whole numbers, so no order changes the sums."""
    characters: Counter[tuple[str, float, str]] = Counter()
    for row in rows:
        characters[row["group"], row["weight"], row["lang"]] += row["characters"]
    groups: dict[str, list[Supply]] = defaultdict(list)
    for (group, weight, lang), number in sorted(characters.items()):
        groups[group].append(Supply(weight, number / per_token(lang, characters_per_token)))
    return dict(groups)


def _check_shares(
    groups: Mapping[str, Sequence[Supply]], shares: Mapping[str, float], share_by: str
) -> None:
    for name in sorted(groups):
        if name not in shares and any(supply.weight for supply in groups[name]):
            raise RecipeError(
                f"curate.mix.shares says nothing of the {share_by} {name!r}, which has documents",
                hint=f'add "{name}" = 0 to leave them out, or a share; given are '
                + ", ".join(sorted(shares)),
            )


def copies_wanted(weight: float, scale: float, maximum_epochs: float) -> float:
    """How often a document is wanted, on average."""
    return min(maximum_epochs, scale * weight)


def copies_of(doc_id: str, wanted: float, seed: int) -> int:
    """How often a document is used: the whole part, and one more with the probability of the
    rest, drawn by its id.
    """
    whole = floor(wanted)
    return whole + (draw(doc_id, f"mix {seed}") < wanted - whole)


def shuffle_key(doc_id: str, copy: int, seed: int) -> int:
    """The place of a copy in the order of the whole mixture: uniform over 64 bits."""
    return xxhash.xxh3_64_intdigest(f"shuffle {seed}\0{doc_id}\0{copy}".encode())


def map_mix(context: TaskContext) -> Mapping[str, int]:
    """Copy the documents of one task to the files they go to.

    Inputs: `documents.parquet`, `weights.parquet`, `plan.json`. Params: `seed`.
    Writes `part-*` (Arrow streams) and `given.json`.
    """
    documents, weight_file, plan_file = context.inputs
    plan = read_json(plan_file)
    seed = context.params["seed"]
    weights = pq.read_table(weight_file).to_pylist()
    given: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    position = 0
    with _PartWriter(context.out, plan["files"], pq.read_schema(documents)) as writer:
        for batch in pq.ParquetFile(documents).iter_batches(batch_size=256):
            rows: list[int] = []
            keys: list[int] = []
            copies: list[int] = []
            ids, texts = batch["doc_id"].to_pylist(), batch["text"].to_pylist()
            sources, langs = batch["source"].to_pylist(), batch["lang"].to_pylist()
            for row, doc_id in enumerate(ids):
                weight, group = (weights[position + row][name] for name in ("weight", "group"))
                wanted = copies_wanted(
                    weight, plan["groups"][group]["scale"], plan["maximum_epochs"]
                )
                number = copies_of(doc_id, wanted, seed)
                rows += [row] * number
                copies += range(number)
                keys += [shuffle_key(doc_id, copy, seed) for copy in range(number)]
                counts = given[group, sources[row], langs[row]]
                length = len(texts[row])
                added = (1, length, number, number * length)
                given[group, sources[row], langs[row]] = [
                    old + new for old, new in zip(counts, added, strict=True)
                ]
            writer.write(batch, rows, keys, copies)
            position += len(batch)
    names = ("documents", "characters", "copies", "characters_given")
    write_json(
        context.out / "given.json",
        [
            dict(zip(("group", "source", "lang", *names), (*key, *counts), strict=True))
            for key, counts in sorted(given.items())
        ],
    )
    return {"documents": position, "copies": sum(counts[2] for counts in given.values())}


class _PartWriter:
    """Sorts rows into one Arrow stream a partition, some megabytes at a time."""

    def __init__(self, out: Path, partitions: int, schema: pa.Schema) -> None:
        self._schema = schema.remove_metadata().append(pa.field(_KEY, pa.uint64()))
        self._schema = self._schema.append(pa.field(_COPY, pa.int32()))
        self._partitions = partitions
        self._paths = [out / f"part-{number:05d}" for number in range(partitions)]
        self._pending: list[pa.Table] = []
        self._bytes = 0
        self._writers: list[Any] = []

    def __enter__(self) -> "_PartWriter":
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writers = [
            pa.ipc.new_stream(str(path), self._schema, options=options) for path in self._paths
        ]
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._flush()
        finally:
            for writer in self._writers:
                writer.close()

    def write(
        self, batch: pa.RecordBatch, rows: Sequence[int], keys: Sequence[int], copies: Sequence[int]
    ) -> None:
        """Add rows of a batch, each with its key."""
        table = pa.Table.from_batches([batch]).take(pa.array(rows, pa.int64()))
        table = table.append_column(_KEY, pa.array(keys, pa.uint64()))
        table = table.append_column(_COPY, pa.array(copies, pa.int32()))
        self._pending.append(table.cast(self._schema))
        self._bytes += table.nbytes
        if self._bytes >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        keys = table[_KEY].to_numpy()
        part_of = (keys >> np.uint64(32)) % np.uint64(self._partitions)
        for number in np.unique(part_of).tolist():
            rows: npt.NDArray[np.int64] = np.flatnonzero(part_of == number)
            self._writers[number].write_table(table.take(pa.array(rows)))
        self._pending, self._bytes = [], 0


def write_mix(context: TaskContext) -> Mapping[str, int]:
    """One file of the mixture, in the order of the keys: `documents.parquet`."""
    tables = []
    for path in context.inputs:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            tables.append(reader.read_all())
    table = pa.concat_tables(tables)
    order = [(_KEY, "ascending"), ("doc_id", "ascending"), (_COPY, "ascending")]
    indices = pc.sort_indices(table, sort_keys=order)
    table = table.drop_columns([_KEY, _COPY])
    with pq.ParquetWriter(
        context.out / "documents.parquet", table.schema, compression="zstd"
    ) as writer:
        for start in range(0, max(1, len(indices)), _ROW_GROUP_ROWS):
            writer.write_table(table.take(indices[start : start + _ROW_GROUP_ROWS]))
    return {"documents": table.num_rows}


def mix_report(
    settings: MixSettings, planned: TaskResult, mapped: Sequence[TaskResult]
) -> dict[str, Any]:
    """Content of `mix.json`: what was asked and what was given, by group and by source, with
    epochs and the tokens that could not be given. Tokens are estimates.
    """
    plan = read_json(planned.directory / "plan.json")
    rows = [row for result in mapped for row in read_json(result.directory / "given.json")]
    groups = _given(rows, "group", settings.characters_per_token)
    for name, row in groups.items():
        allotment = plan["groups"][name]
        row["tokens_wanted"] = round(allotment["wanted"])
        row["tokens_unmet"] = max(0, round(allotment["wanted"] - allotment["given"]))
    given = sum(row["tokens_given"] for row in groups.values())
    asked = settings.tokens
    planned_tokens = sum(allotment["given"] for allotment in plan["groups"].values())
    return {
        "asked": {
            "tokens": asked,
            "share_by": settings.share_by,
            "shares": plan["shares"],
            "maximum_epochs": settings.maximum_epochs,
            "seed": settings.seed,
        },
        "tokens_given": given,
        "tokens_unmet": 0 if asked is None else max(0, round(asked - planned_tokens)),
        "documents_given": sum(row["copies"] for row in groups.values()),
        "files": plan["files"],
        "groups": groups,
        "without_documents": sorted(set(plan["shares"] or ()) - set(groups)),
        "sources": _given(rows, "source", settings.characters_per_token),
    }


def _given(
    rows: Iterator[Mapping[str, Any]] | Sequence[Mapping[str, Any]],
    key: str,
    characters_per_token: Mapping[str, float],
) -> dict[str, dict[str, Any]]:
    """Documents, copies, tokens and epochs by group or source."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    characters: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for row in rows:
        sums[row[key]].update({"documents": row["documents"], "copies": row["copies"]})
        for name in ("characters", "characters_given"):
            characters[row[key]][name, row["lang"]] += row[name]
    result: dict[str, dict[str, Any]] = {}
    for name in sorted(sums):
        tokens = {"characters": 0.0, "characters_given": 0.0}
        for (kind, lang), number in sorted(characters[name].items()):
            tokens[kind] += number / per_token(lang, characters_per_token)
        available, given = tokens["characters"], tokens["characters_given"]
        result[name] = {
            "documents": sums[name]["documents"],
            "copies": sums[name]["copies"],
            "tokens_available": round(available),
            "tokens_given": round(given),
            "epochs": given / available if available else 0.0,
        }
    return result
