"""Writing the mix: divide the tokens, copy the documents, shuffle them over files."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from tongwen.curate.mix.budget import Supply, allot
from tongwen.curate.mix.weights import per_token
from tongwen.errors import RecipeError
from tongwen.files import read_json, write_json
from tongwen.flow.exchange import PARTS, Part, PartFile
from tongwen.flow.task import TaskContext, step
from tongwen.formats.documents import draw

_MOST_FILES = 4_096  # each is a part of every task's exchange
_BUFFER_BYTES = 64 << 20
_ROW_GROUP_ROWS = 1_000  # what a reader holds at once, against Parquet's cost a group
_LENGTH_BYTES = 8
_KEY, _COPY = "mix_key", "mix_copy"


@step("mix-plan", inputs=("supplies",))
def plan_mix(context: TaskContext) -> Mapping[str, int]:
    """Divide the tokens among the groups: `plan.json` with how many copies a weight is worth in
    each, and into how many files the mixture goes.

    Raises:
        RecipeError: nothing is left to mix, or shares are given and a group has none.
    """
    params = context.params
    rows = [row for path in context.inputs["supplies"] for row in read_json(path)]
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


@step("mix-map", inputs=("documents", "weights", "plan"))
def map_mix(context: TaskContext) -> Mapping[str, int]:
    """Copy the documents of one task to the files they go to.

    Writes `parts`, an exchange of Arrow tables in their stream format, and `given.json`.
    """
    documents = context.file("documents")
    plan = read_json(context.file("plan"))
    seed = context.params["seed"]
    weights = pq.read_table(context.file("weights")).to_pylist()
    given: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    position = 0
    with _PartWriter(context.out / PARTS, plan["files"], pq.read_schema(documents)) as writer:
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
    """Writes rows to an exchange file, some megabytes at a time.

    Each piece is a whole Arrow stream behind its length, a number of 8 bytes. The part after the
    last partition is a stream without rows, for its schema.
    """

    def __init__(self, path: Path, partitions: int, schema: pa.Schema) -> None:
        self._schema = schema.remove_metadata().append(pa.field(_KEY, pa.uint64()))
        self._schema = self._schema.append(pa.field(_COPY, pa.int32()))
        self._partitions = partitions
        self._file = PartFile(path, partitions + 1)
        self._pending: list[pa.Table] = []
        self._bytes = 0

    def __enter__(self) -> "_PartWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._add(self._partitions, self._schema.empty_table())
        self._file.close()

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
            self._add(number, table.take(pa.array(np.flatnonzero(part_of == number))))
        self._pending, self._bytes = [], 0

    def _add(self, number: int, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_stream(sink, self._schema, options=options) as writer:
            writer.write_table(table)
        data = sink.getvalue().to_pybytes()
        data = len(data).to_bytes(_LENGTH_BYTES, "little") + data
        self._file.add([number], [len(data)], data)


def _tables(part: Part) -> Iterator[pa.Table]:
    """The tables of one part, as `_PartWriter` wrote them."""
    data = memoryview(part.read())
    place = 0
    while place < len(data):
        start = place + _LENGTH_BYTES
        place = start + int.from_bytes(data[place:start], "little")
        with pa.ipc.open_stream(data[start:place]) as reader:
            yield reader.read_all()


@step("mix-write", inputs=("parts",))
def write_mix(context: TaskContext) -> Mapping[str, int]:
    """One file of the mixture, in the order of the keys: `documents.parquet`."""
    paths, partition = context.inputs["parts"], context.params["partition"]
    parts = [Part(path, partition) for path in paths]
    schema = Part(paths[0], context.params["files"])
    table = pa.concat_tables([table for part in [schema, *parts] for table in _tables(part)])
    order = [(_KEY, "ascending"), ("doc_id", "ascending"), (_COPY, "ascending")]
    indices = pc.sort_indices(table, sort_keys=order)
    table = table.drop_columns([_KEY, _COPY])
    with pq.ParquetWriter(
        context.out / "documents.parquet", table.schema, compression="zstd"
    ) as writer:
        for start in range(0, max(1, len(indices)), _ROW_GROUP_ROWS):
            writer.write_table(table.take(indices[start : start + _ROW_GROUP_ROWS]))
    return {"documents": table.num_rows}
