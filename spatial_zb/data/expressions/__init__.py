"""Derived variables: arithmetic in a study file, checked against a whitelist, never run as code.

Importing and compiling need the standard library only; NumPy loads when numbers are computed.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh, numbered
from spatial_zb.base.text import Text, cell_of
from spatial_zb.data.expressions.syntax import (
    checked_tree,
    function_of,
    lag_depth,
    names_in,
    referenced_calls,
    text_names,
    unknown_name,
)
from spatial_zb.data.expressions.values import Cell, Evaluation, position

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression.

    Attributes
    ----------
    text : str
        As written.
    names : tuple of str
        Columns, constants and variables that it uses, in order of appearance.
    reference_names : tuple of str
        Those among them that stand inside ``lq(...)`` or ``krugman(...)`` and are needed for the reference region.
    text_names : tuple of str
        Those among them that are compared with text in quotes.
    lags : int
        Periods that it reaches back itself; :meth:`reach` counts those of the variables that it uses.
    """

    text: str
    names: tuple[str, ...]
    reference_names: tuple[str, ...]
    text_names: tuple[str, ...]
    lags: int
    tree: ast.expr = field(repr=False, compare=False)

    def reach(self, of: Callable[[str], int]) -> int:
        """Periods that it reaches back where each name reaches back as ``of`` says."""
        return lag_depth(self.tree, of)

    def evaluate(
        self,
        columns: Mapping[str, np.ndarray],
        reference: Mapping[str, np.ndarray] | None = None,
        *,
        cell: Cell | None = None,
    ) -> np.ndarray:
        """Compute the values.

        Parameters
        ----------
        columns : mapping of str to array (T, n)
            Every name in ``names``; a blank cell is NaN and stays NaN in the result. Arrays of objects hold text, None
            where blank.
        reference : mapping of str to array (T,), optional
            Every name in ``reference_names``: totals of the reference region by period.
        cell : callable, optional
            Words for the cell (t, i) in messages, for the period t where i is None. Default: its position.

        Returns
        -------
        array (T, n)

        Raises
        ------
        SpecificationError
            A name is in neither mapping.
        DataError
            A logarithm, root, power or quotient is not defined in some cells (named), or a value is infinite.
        """
        return Evaluation(self, columns, reference or {}, cell or position).run()


def compile_expression(text: str) -> Expression:
    """Check an expression against the whitelist.

    Raises
    ------
    SpecificationError
        The text is too long, nested too deeply, not arithmetic, or uses anything that is not allowed.
    """
    tree = checked_tree(text)
    inside = [name for call in referenced_calls(tree) for name in names_in(call.args)]
    return Expression(
        text,
        tuple(names_in([tree])),
        tuple(dict.fromkeys(inside)),
        tuple(text_names(tree)),
        lag_depth(tree, lambda name: 0),
        tree,
    )


def compile_expressions(
    texts: Mapping[str, str],
    *,
    known: Collection[str],
    reference: Collection[str] | None = None,
    place: Callable[[str], str | Text] = str,
) -> dict[str, Expression]:
    """Check several named expressions, which may use one another, and put them in order of use.

    Parameters
    ----------
    texts : mapping of str to str
        Expression by variable name.
    known : collection of str
        Columns and constants.
    reference : collection of str, optional
        Columns and constants that the reference region has.
    place : callable
        Where a variable is defined, for messages.

    Raises
    ------
    SpecificationError
        All mistakes in one numbered list: refused syntax, unknown names, circles.
    """
    compiled: dict[str, Expression] = {}
    problems: list[Text] = []

    def add(name: str, said: Text) -> None:
        where = Text.of(place(name))
        problems.append(Text(f"{where.en}: {said.en}", f"{where.zh}：{said.zh}"))

    for name, text in texts.items():
        try:
            compiled[name] = compile_expression(text)
        except SpecificationError as error:
            add(name, Text(str(error), error.zh))
    for name, expression in compiled.items():
        unknown = [used for used in expression.names if used not in known and used not in texts]
        for used in unknown:
            add(name, unknown_name(used, [*known, *texts]))
        for used in expression.reference_names:
            if used not in unknown and used not in (reference or ()):
                around = _around(expression, used)
                add(
                    name,
                    Text(
                        f"{used!r} stands inside {around}() but the reference region has no such column.",
                        f"{used!r}用在{around}()之内，但参照区域没有这一列。",
                    ),
                )
    order: list[str] = []
    try:
        uses = {name: [used for used in item.names if used in compiled] for name, item in compiled.items()}
        order = list(graphlib.TopologicalSorter(uses).static_order())
    except graphlib.CycleError as error:
        first, circle = error.args[1][0], " -> ".join(error.args[1])
        add(first, Text(f"variables define each other in a circle: {circle}.", f"变量循环定义：{circle}。"))
    if problems:
        raise SpecificationError(
            "Some variables cannot be derived.\n" + numbered(said.en for said in problems),
            "有变量无法计算。\n" + numbered(said.zh for said in problems),
        )
    return {name: compiled[name] for name in order}


def _around(expression: Expression, name: str) -> str:
    """The function with the reference region inside which a name stands."""
    calls = referenced_calls(expression.tree)
    return next(function_of(call) for call in calls if name in names_in(call.args))


def derive(
    texts: Mapping[str, str],
    columns: Mapping[str, np.ndarray],
    *,
    units: Sequence[object],
    periods: Sequence[object],
    reference: Mapping[str, np.ndarray] | None = None,
    constants: Mapping[str, Mapping[int, float]] | None = None,
    place: Callable[[str], str | Text] = str,
) -> dict[str, np.ndarray]:
    """Compute named expressions on arrays.

    Parameters
    ----------
    texts : mapping of str to str
        Expression by variable name; they may use one another.
    columns : mapping of str to array (T, n)
        Rows are ``periods``, columns are ``units``; arrays of objects hold text.
    reference : mapping of str to array (T,), optional
        Totals of the reference region.
    constants : mapping of str to mapping of period to float, optional
        Numbers by period, the same for all units.

    Returns
    -------
    dict of str to array (T, n)
        In the order of ``texts``.

    Raises
    ------
    SpecificationError, DataError
        As :func:`compile_expressions` and :meth:`Expression.evaluate`, naming variable, unit and period.
    """
    import numpy as np

    shape = (len(periods), len(units))
    scope = {
        name: _as_floats(name, values, shape) for name, values in columns.items() if not _is_text(values)
    }
    scope |= {name: np.asarray(values) for name, values in columns.items() if _is_text(values)}
    totals = {name: _as_floats(name, values, shape[:1]) for name, values in (reference or {}).items()}
    by_period = _by_period(constants, periods)
    compute = _Computation(scope, totals, by_period, _labels(units, periods), shape, place, tuple(periods))
    return compute.run(texts)


@dataclass(frozen=True, slots=True)
class _Computation:
    """Everything named expressions may refer to: columns (T, n), totals and constants (T,)."""

    columns: Mapping[str, np.ndarray]
    totals: Mapping[str, np.ndarray]
    constants: Mapping[str, np.ndarray]
    cell: Cell
    shape: tuple[int, int]
    place: Callable[[str], str | Text]
    periods: tuple[Any, ...]

    def run(self, texts: Mapping[str, str]) -> dict[str, np.ndarray]:
        """Compute every expression in order of use; give them in the order asked for."""
        import numpy as np

        everywhere = {
            name: np.broadcast_to(values[:, None], self.shape) for name, values in self.constants.items()
        }
        scope = {**self.columns, **everywhere}
        totals = {**self.totals, **self.constants}
        compiled = compile_expressions(texts, known=scope, reference=totals, place=self.place)
        for name, expression in compiled.items():
            try:
                self.refuse_gaps(expression)
                values = expression.evaluate(scope, totals, cell=self.cell)
                scope[name] = np.broadcast_to(values, self.shape).copy()
            except DataError as error:
                where = Text.of(self.place(name))
                raise DataError(f"{where.en}: {error}", f"{where.zh}：{error.zh}") from None
        return {name: scope[name] for name in texts}

    def refuse_gaps(self, expression: Expression) -> None:
        """A lag is of the period before, which must be there."""
        pairs = zip(self.periods, self.periods[1:], strict=False)
        gaps = [f"{a}, {b}" for a, b in pairs if b - a != 1] if expression.lags else []
        if gaps:
            raise DataError(
                f"lag() is the value of the period before, and the periods have gaps ({listed(gaps)}). Add the rows "
                "between, or leave lag() out.",
                f"lag()取前一时期的值，而各时期之间有间断（{listed_zh(gaps)}）。"
                "请补充其间各行，或不用lag()。",
            )


def _labels(units: Sequence[object], periods: Sequence[object]) -> Cell:
    return lambda t, i: Text.of(str(periods[t])) if i is None else cell_of(units[i], periods[t])


def _is_text(values: object) -> bool:
    """Whether a column holds text, as arrays of objects do."""
    return getattr(getattr(values, "dtype", None), "kind", "") == "O"


def _as_floats(name: str, values: object, shape: tuple[int, ...]) -> np.ndarray:
    import numpy as np

    try:
        floats = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError(
            f"{name!r} holds values that are not numbers.", f"{name!r}含有不是数值的内容。"
        ) from None
    if floats.shape != shape:
        raise DataError(
            f"{name!r} has the shape {floats.shape}, not {shape}.",
            f"{name!r}的形状为{floats.shape}，而不是{shape}。",
        )
    return floats


def _by_period(
    constants: Mapping[str, Mapping[int, float]] | None, periods: Sequence[Any]
) -> dict[str, np.ndarray]:
    """Look constants up by period: arrays (T,)."""
    import numpy as np

    found: dict[str, np.ndarray] = {}
    for name, values in (constants or {}).items():
        blank = sorted({period for period in periods if period not in values})
        if blank:
            raise DataError(
                f"The constant {name!r} has no number for {listed(blank)}.",
                f"常数{name!r}没有{listed_zh(blank)}的数值。",
            )
        found[name] = np.array([values[period] for period in periods], dtype=float)
    return found
