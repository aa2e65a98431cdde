"""Expressions over attributes: names of columns, numbers, texts, `and`, `or`, `not`, comparisons
and `in`. Python's parser reads them, nothing else of Python works in them.

What was not measured compares false with everything; `X is None` asks for it.
"""

import ast
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tongwen.errors import RecipeError

NUMBER, TEXT = "number", "text"
Mask = npt.NDArray[np.bool_]

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}


def column_kinds(schema: pa.Schema) -> dict[str, str]:
    """Columns that an expression can name, and whether they are numbers or texts."""
    kinds = {}
    for field in schema:
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            kinds[field.name] = TEXT
        elif (
            pa.types.is_integer(field.type)
            or pa.types.is_floating(field.type)
            or pa.types.is_boolean(field.type)
        ):
            kinds[field.name] = NUMBER
    return kinds


@dataclass(frozen=True)
class Expression:
    """A checked expression.

    Attributes:
        text: as it was written.
        names: columns it looks at.
    """

    text: str
    names: frozenset[str]
    _tree: ast.expr

    def mask(self, columns: Mapping[str, npt.NDArray[Any]]) -> Mask:
        """Rows for which it is true.

        Args:
            columns: float64 for numbers, NaN where not measured; object for texts, None likewise.
        """
        return _evaluate(self._tree, columns)


def parse(text: str, kinds: Mapping[str, str], where: str) -> Expression:
    """Check an expression against the columns there are.

    Args:
        text: such as `quality > 0.7 and source in ("wiki", "books")`.
        kinds: of `column_kinds`.
        where: key of the recipe, for messages.

    Raises:
        RecipeError: not an expression of this language, an unknown column, or a text compared with
            a number.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RecipeError(f"{where} is {text!r}, which is no expression: {error}") from error
    names: set[str] = set()
    _Checker(text, kinds, where, names).condition(tree)
    return Expression(text, frozenset(names), tree)


class _Checker:
    """Lets through what the language has, and nothing else."""

    def __init__(self, text: str, kinds: Mapping[str, str], where: str, names: set[str]) -> None:
        self._text = text
        self._kinds = kinds
        self._where = where
        self._names = names

    def _refuse(self, node: ast.expr, problem: str, hint: str) -> RecipeError:
        part = ast.get_source_segment(self._text, node) or self._text
        return RecipeError(f"{self._where}: `{part}` {problem}", hint=hint)

    def condition(self, node: ast.expr) -> None:
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self.condition(value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.condition(node.operand)
        elif isinstance(node, ast.Compare):
            self._comparison(node)
        elif isinstance(node, ast.Name):
            if self._operand(node) != NUMBER:
                raise self._refuse(node, "is a text, not true or false", f'{node.id} == "..."')
        elif not (isinstance(node, ast.Constant) and isinstance(node.value, bool)):
            raise self._refuse(
                node, "is no condition", "use comparisons, joined by `and`, `or` and `not`"
            )

    def _comparison(self, node: ast.Compare) -> None:
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, ast.Is | ast.IsNot):
                if not isinstance(left, ast.Name) or not _is_none(right):
                    raise self._refuse(node, "is not allowed", "`is` goes with a column and None")
                self._operand(left)
            elif isinstance(operator, ast.In | ast.NotIn):
                self._membership(left, right, node)
            elif self._operand(left) != self._operand(right):
                raise self._refuse(
                    node, "compares a text with a number", "put texts in quotes, numbers not"
                )
            left = right

    def _membership(self, left: ast.expr, right: ast.expr, node: ast.Compare) -> None:
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            kinds = {self._operand(item) for item in right.elts}
            if not isinstance(left, ast.Name) or kinds != {self._operand(left)}:
                raise self._refuse(
                    node, "mixes texts and numbers", 'write `source in ("wiki", "books")`'
                )
        elif self._operand(left) != TEXT or self._operand(right) != TEXT:
            raise self._refuse(node, "is not allowed", 'write `"word" in url` or `x in ("a", "b")`')

    def _operand(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            if node.id not in self._kinds:
                near = difflib.get_close_matches(node.id, self._kinds, n=2)
                raise self._refuse(
                    node,
                    "is no column of the attributes",
                    f"did you mean {' or '.join(near)}?"
                    if near
                    else f"columns: {', '.join(sorted(self._kinds))}",
                )
            self._names.add(node.id)
            return self._kinds[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            if isinstance(node.operand, ast.Constant) and self._operand(node.operand) == NUMBER:
                return NUMBER
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                return TEXT
            if isinstance(node.value, bool | int | float):
                return NUMBER
        raise self._refuse(node, "is not allowed here", "use columns, numbers and quoted texts")


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _evaluate(node: ast.expr, columns: Mapping[str, npt.NDArray[Any]]) -> Mask:
    rows = len(next(iter(columns.values())))
    if isinstance(node, ast.BoolOp):
        masks = np.array([_evaluate(value, columns) for value in node.values])
        return np.asarray(masks.all(0) if isinstance(node.op, ast.And) else masks.any(0))
    if isinstance(node, ast.UnaryOp):
        return np.asarray(~_evaluate(node.operand, columns))
    if isinstance(node, ast.Name):
        return np.asarray(np.nan_to_num(columns[node.id]) != 0)
    if isinstance(node, ast.Constant):
        return np.full(rows, bool(node.value))
    assert isinstance(node, ast.Compare)
    result = np.ones(rows, bool)
    left = node.left
    for operator, right in zip(node.ops, node.comparators, strict=True):
        result &= _compared(operator, left, right, columns, rows)
        left = right
    return result


def _compared(
    operator: ast.cmpop,
    left: ast.expr,
    right: ast.expr,
    columns: Mapping[str, npt.NDArray[Any]],
    rows: int,
) -> Mask:
    first = _values(left, columns, rows)
    known = _known(first)
    if isinstance(operator, ast.Is):
        return np.asarray(~known)
    if isinstance(operator, ast.IsNot):
        return known
    if isinstance(right, ast.Tuple | ast.List | ast.Set):
        wanted = [_constant(item) for item in right.elts]
        inside = np.fromiter((value in wanted for value in first.tolist()), bool, rows)
        return np.asarray(known & (inside if isinstance(operator, ast.In) else ~inside))
    second = _values(right, columns, rows)
    known = known & _known(second)
    result = np.zeros(rows, bool)
    if isinstance(operator, ast.In | ast.NotIn):
        pairs = zip(first[known], second[known], strict=True)
        found = np.fromiter((part in whole for part, whole in pairs), bool, int(known.sum()))
        result[known] = found if isinstance(operator, ast.In) else ~found
    else:
        result[known] = _COMPARE[type(operator)](first[known], second[known]).astype(bool)
    return result


def _constant(node: ast.expr) -> Any:
    return ast.literal_eval(node)


def _values(node: ast.expr, columns: Mapping[str, npt.NDArray[Any]], rows: int) -> npt.NDArray[Any]:
    if isinstance(node, ast.Name):
        return columns[node.id]
    value = _constant(node)
    return np.full(rows, value, object if isinstance(value, str) else np.float64)


def _known(values: npt.NDArray[Any]) -> Mask:
    if values.dtype == object:
        return np.fromiter((value is not None for value in values), bool, len(values))
    return np.asarray(~np.isnan(values))
