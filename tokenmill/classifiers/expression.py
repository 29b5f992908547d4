"""Expressions over scores: `max(edu_bin, dclm_bin)`, `0.7 * edu_score + 0.3 * dclm_score`, and nothing else.

Names of columns, numbers, + - * /, comparisons (1.0 where they hold, else 0.0), and the functions `max`, `min`, `mean`,
`where(condition, then, otherwise)`, `sigmoid`. Parsed with Python's grammar, read as a tree, never run as code.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenmill.core.errors import ConfigError, did_you_mean

Numbers = npt.NDArray[np.float64]
Columns = Mapping[str, Numbers]
Evaluate = Callable[[Columns], Any]

_LONGEST = 10_000
"""Characters; deeper trees than fit into these would only exhaust the parser's stack."""
_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
}
_COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _sigmoid(values: Sequence[Any]) -> Any:
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(values[0], np.float64)))  # exp overflows where tanh does not


def _folded(fold: Callable[[Any, Any], Any]) -> Callable[[Sequence[Any]], Any]:
    def over(values: Sequence[Any]) -> Any:
        found = values[0]
        for value in values[1:]:
            found = fold(found, value)
        return found

    return over


_FUNCTIONS: dict[str, tuple[Callable[[Sequence[Any]], Any], int, int]] = {
    "max": (_folded(np.maximum), 1, 100),
    "min": (_folded(np.minimum), 1, 100),
    "mean": (lambda values: _folded(operator.add)(values) / len(values), 1, 100),
    "where": (lambda values: np.where(np.asarray(values[0]) != 0, values[1], values[2]), 3, 3),
    "sigmoid": (_sigmoid, 1, 1),
}
"""Name -> what it does with its arguments, fewest and most of them."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression. `names`: the columns that it reads, sorted."""

    text: str
    names: tuple[str, ...]
    _evaluate: Evaluate

    def __call__(self, columns: Columns) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        """(values, whether there is one) from columns of equal length: (n,) float64 and (n,) bool.

        columns: (n,) float64 each, NaN where there is no number. No value where any column that is named has none, or
        where the result is not finite (a division by zero).
        """
        used = [columns[name] for name in self.names]
        rows = len(used[0]) if used else 0
        with np.errstate(all="ignore"):
            values = np.broadcast_to(np.asarray(self._evaluate(columns), np.float64), (rows,))
        valid = np.isfinite(values)
        for column in used:
            valid = valid & ~np.isnan(column)
        return np.where(valid, values, np.nan), valid


def parse_expression(text: str, where: str = "expression") -> Expression:
    """The expression that a text describes; ConfigError with the place of anything that is not allowed.

    where: what the text is, for messages (`ensemble.expression`).
    """
    if len(text) > _LONGEST:
        raise ConfigError(f"the expression has {len(text)} characters", where=where, why=f"{_LONGEST} are the most")
    try:
        body = ast.parse(text.strip(), mode="eval").body
        names: set[str] = set()
        found = _Reader(text.strip(), where, names).read(body)
    except SyntaxError as error:
        place = _place(where, text.strip(), max((error.offset or 1) - 1, 0))
        raise ConfigError("the expression cannot be read", where=place, why=error.msg) from error
    except (ValueError, MemoryError, RecursionError) as error:  # null characters; parentheses without end
        raise ConfigError("the expression cannot be read", where=where, why=str(error)) from error
    if not names:
        raise ConfigError("the expression names no column", where=f"{where}: {text[:80]}", fix="max(edu_bin, dclm_bin)")
    return Expression(text.strip(), tuple(sorted(names)), found)


def _place(where: str, text: str, column: int) -> str:
    return f"{where}, character {column + 1}: {text[column : column + 40]!r}"


@dataclass(frozen=True)
class _Reader:
    """Turns a syntax tree into a function; refuses every kind of node that it does not know."""

    text: str
    where: str
    names: set[str]

    def read(self, node: ast.expr) -> Evaluate:
        if isinstance(node, ast.Constant):
            return self._number(node)
        if isinstance(node, ast.Name):
            name = node.id
            if name in _FUNCTIONS:
                raise self._refused(node, f"{name} is a function", f"{name}(edu_score, dclm_score)")
            self.names.add(name)
            return lambda columns: columns[name]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            inner, sign = self.read(node.operand), -1.0 if isinstance(node.op, ast.USub) else 1.0
            return lambda columns: sign * inner(columns)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            left, right, act = self.read(node.left), self.read(node.right), _OPERATORS[type(node.op)]
            return lambda columns: act(left(columns), right(columns))
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        raise self._refused(node, "an expression has columns, numbers, + - * /, comparisons and functions")

    def _number(self, node: ast.Constant) -> Evaluate:
        value = node.value
        try:
            number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._refused(node, "it is no finite number")
        constant = np.float64(number)  # of numpy: 1 / 0 gives infinity and no exception
        return lambda columns: constant

    def _comparison(self, node: ast.Compare) -> Evaluate:
        compare = _COMPARISONS.get(type(node.ops[0]))
        if compare is None or len(node.ops) > 1:
            raise self._refused(node, "a comparison has two sides and one of < <= > >= == !=")
        left, right = self.read(node.left), self.read(node.comparators[0])
        return lambda columns: np.asarray(compare(left(columns), right(columns)), np.float64)

    def _call(self, node: ast.Call) -> Evaluate:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _FUNCTIONS:
            raise self._refused(node, f"no such function; {did_you_mean(name, _FUNCTIONS)}")
        function, fewest, most = _FUNCTIONS[name]
        if node.keywords or not fewest <= len(node.args) <= most:
            count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise self._refused(node, f"{name} takes {count} arguments without names")
        arguments = [self.read(argument) for argument in node.args]
        return lambda columns: function([argument(columns) for argument in arguments])

    def _refused(self, node: ast.expr, why: str, fix: str = "") -> ConfigError:
        # ast counts UTF-8 bytes, and every line from its own beginning
        lines = self.text.splitlines(keepends=True)
        before = lines[node.lineno - 1].encode()[: node.col_offset].decode(errors="ignore")
        column = len("".join(lines[: node.lineno - 1])) + len(before)
        return ConfigError(
            "the expression has something that is not allowed",
            where=_place(self.where, self.text, column),
            why=why,
            fix=fix or f"functions: {', '.join(_FUNCTIONS)}",
        )
