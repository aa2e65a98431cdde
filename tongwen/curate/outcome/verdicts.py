"""What becomes of each record of one extraction task, all steps together: the first drop stands."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tongwen.curate.records.numbering import record_numbers
from tongwen.curate.rules.decide import CONTAMINATION, DECISION_SCHEMA, REPEATS, column_values


class Verdicts:
    """The decisions, added step by step in the order of the cascade.

    Args:
        decisions: what the rules said, `DECISION_SCHEMA`.
        task: number of the extraction task.
    """

    def __init__(self, decisions: pa.Table, task: int) -> None:
        self._rows = decisions.num_rows
        self._first = int(record_numbers(task, np.zeros(1, np.int64))[0])
        self._columns = {name: decisions[name].to_pylist() for name in DECISION_SCHEMA.names}
        self._duplicate_of: list[str | None] = [None] * self._rows
        self._sizes = np.ones(self._rows, np.int64)

    def _drop(self, row: int, *decision: Any) -> None:
        """Drop a row that is still open; the decision has a value for each column of the schema."""
        if self._columns["drop_stage"][row] is None:
            for name, value in zip(DECISION_SCHEMA.names, decision, strict=True):
                self._columns[name][row] = value

    def _own(self, records: Any) -> tuple[int, int]:
        """The range of this task's records among sorted numbers."""
        bounds = np.array([self._first, self._first + self._rows], np.uint64)
        low, high = np.searchsorted(records, bounds).tolist()
        return low, high

    def add_duplicates(self, duplicates: pa.Table, similarity: float | None) -> None:
        """Who lost to whom (`exact.DUPLICATE_SCHEMA`)."""
        low, high = self._own(duplicates["record"].to_numpy())
        for lost in duplicates.slice(low, high - low).to_pylist():
            row = lost["record"] - self._first
            threshold = None if lost["similarity"] is None else similarity
            self._drop(row, lost["stage"], lost["stage"], lost["similarity"], threshold)
            self._duplicate_of[row] = lost["duplicate_of"]

    def add_copies(self, copies: npt.NDArray[Any]) -> None:
        """For how many others each record stays (`kept.COPIES`)."""
        low, high = self._own(copies["record"])
        places = (copies["record"][low:high] - np.uint64(self._first)).astype(np.int64)
        self._sizes[places] += copies["copies"][low:high].astype(np.int64)

    def add_rests(self, attributes: pa.Table, thresholds: Mapping[str, float | None]) -> None:
        """Drop documents of which repeated paragraphs and spans leave too little."""
        characters = column_values(attributes, "characters")
        paragraphs = column_values(attributes, "repeated_paragraph_characters")
        cut = paragraphs + column_values(attributes, "repeated_span_characters")
        share, left = cut / np.maximum(1, characters), characters - cut
        for name, values in (
            ("maximum_repeated_share", share), ("minimum_remaining_characters", left)
        ):  # fmt: skip
            limit = thresholds[name]
            if limit is not None:
                is_outside = values > limit if name.startswith("maximum") else values < limit
                for row in np.flatnonzero((cut > 0) & is_outside).tolist():
                    self._drop(row, REPEATS, name, float(values[row]), float(limit))

    def add_contaminated(self, drops: pa.Table) -> None:
        """Drop documents that hold test items (`decontaminate.DROP_SCHEMA`)."""
        for drop in drops.to_pylist():
            self._drop(
                drop["record"] - self._first,
                CONTAMINATION,
                drop["drop_rule"],
                drop["drop_value"],
                drop["drop_threshold"],
            )

    def joined(self, attributes: pa.Table) -> pa.Table:
        """Attributes with the verdicts as further columns."""
        for name, values in self._columns.items():
            field = DECISION_SCHEMA.field(name)
            attributes = attributes.append_column(field, pa.array(values, field.type))
        attributes = attributes.append_column(
            "duplicate_of", pa.array(self._duplicate_of, pa.string())
        )
        return attributes.append_column("cluster_size", pa.array(self._sizes))
