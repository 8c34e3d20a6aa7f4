"""Derived variables: arithmetic in a study file, checked against a whitelist, never run as code.

Importing and compiling need the standard library only; NumPy and pandas load when numbers are computed.
"""

from __future__ import annotations

import ast
import difflib
import graphlib
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spatial_zb.errors import DataError, SpecificationError, listed

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["FUNCTIONS", "Expression", "compile_expression", "compile_expressions", "derive", "derive_frame"]

MAX_LENGTH = 500
MAX_DEPTH = 25
MAX_EXPONENT = 10
MAX_NUMBER = 1e100

# Number of arguments of each function; of those in SECTORS at least so many.
FUNCTIONS: Mapping[str, int] = {
    "log": 1,
    "log1p": 1,
    "exp": 1,
    "sqrt": 1,
    "abs": 1,
    "lq": 2,
    "hhi": 2,
    "krugman": 2,
}
# Functions of the amounts of all sectors of a unit.
SECTORS = ("hhi", "krugman")
# Functions that look at the reference region too.
REFERENCED = ("lq", "krugman")
ALLOWED = (
    "numbers, names, + - * / ** ( ), and the functions log, log1p, exp, sqrt, abs, lq(part, total), "
    "hhi(sector, sector, ...), krugman(sector, sector, ...)"
)

# Why a node is refused, by the word a reader knows it under.
_REFUSED: Mapping[type[ast.AST], str] = {
    ast.Attribute: "a dot (attribute)",
    ast.Subscript: "square brackets",
    ast.Lambda: "lambda",
    ast.List: "a list",
    ast.Tuple: "a comma outside a function",
    ast.Set: "a set",
    ast.Dict: "a dictionary",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.Compare: "a comparison",
    ast.BoolOp: "and / or",
    ast.IfExp: "if / else",
    ast.NamedExpr: ":=",
    ast.JoinedStr: "text in quotes",
    ast.Starred: "a star before a name",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.MatMult: "@",
    ast.BitXor: "^ (a power is written **)",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.Invert: "~",
    ast.Not: "not",
}

_Array = Any
_Cell = Callable[[int, int | None], str]


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
    """

    text: str
    names: tuple[str, ...]
    reference_names: tuple[str, ...]
    tree: ast.expr = field(repr=False, compare=False)

    def evaluate(
        self,
        columns: Mapping[str, np.ndarray],
        reference: Mapping[str, np.ndarray] | None = None,
        *,
        cell: _Cell | None = None,
    ) -> np.ndarray:
        """Compute the values.

        Parameters
        ----------
        columns : mapping of str to array (T, n)
            Every name in ``names``; a blank cell is NaN and stays NaN in the result.
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
        return _Evaluation(self, columns, reference or {}, cell or _position).run()


def compile_expression(text: str) -> Expression:
    """Check an expression against the whitelist.

    Raises
    ------
    SpecificationError
        The text is too long, nested too deeply, not arithmetic, or uses anything that is not allowed.
    """
    if not isinstance(text, str) or not text.strip():
        raise SpecificationError(f"An expression must be text such as log(gdp / population), not {text!r}.")
    if len(text) > MAX_LENGTH:
        raise SpecificationError(
            f"The expression {text[:40]!r}... has {len(text)} characters, more than {MAX_LENGTH}. "
            "Split it into several variables."
        )
    tree = _parse(text)
    _check_depth(tree, text)
    _check(tree, text, inside_lq=False)
    inside = [name for call in _calls(tree) if call.func.id in REFERENCED for name in _names(call.args)]  # type: ignore[attr-defined]
    return Expression(text, tuple(_names([tree])), tuple(dict.fromkeys(inside)), tree)


def compile_expressions(
    texts: Mapping[str, str],
    *,
    known: Collection[str],
    reference: Collection[str] | None = None,
    place: Callable[[str], str] = str,
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
    problems: list[str] = []
    for name, text in texts.items():
        try:
            compiled[name] = compile_expression(text)
        except SpecificationError as error:
            problems.append(f"{place(name)}: {error}")
    for name, expression in compiled.items():
        unknown = [used for used in expression.names if used not in known and used not in texts]
        problems += [f"{place(name)}: {_unknown(used, [*known, *texts])}" for used in unknown]
        problems += [
            f"{place(name)}: {used!r} stands inside {_around(expression, used)}() but the reference region has no "
            "such column."
            for used in expression.reference_names
            if used not in unknown and used not in (reference or ())
        ]
    order: list[str] = []
    try:
        uses = {name: [used for used in item.names if used in compiled] for name, item in compiled.items()}
        order = list(graphlib.TopologicalSorter(uses).static_order())
    except graphlib.CycleError as error:
        circle = error.args[1]
        problems.append(
            f"{place(circle[0])}: variables define each other in a circle: {' -> '.join(circle)}."
        )
    if problems:
        numbered = "\n".join(f"  {number}. {said}" for number, said in enumerate(problems, start=1))
        raise SpecificationError(f"Some variables cannot be derived.\n{numbered}")
    return {name: compiled[name] for name in order}


def derive(
    texts: Mapping[str, str],
    columns: Mapping[str, np.ndarray],
    *,
    units: Sequence[object],
    periods: Sequence[object],
    reference: Mapping[str, np.ndarray] | None = None,
    constants: Mapping[str, Mapping[int, float]] | None = None,
    place: Callable[[str], str] = str,
) -> dict[str, np.ndarray]:
    """Compute named expressions on arrays.

    Parameters
    ----------
    texts : mapping of str to str
        Expression by variable name; they may use one another.
    columns : mapping of str to array (T, n)
        Rows are ``periods``, columns are ``units``.
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
    shape = (len(periods), len(units))
    scope = {name: _as_floats(name, values, shape) for name, values in columns.items()}
    totals = {name: _as_floats(name, values, shape[:1]) for name, values in (reference or {}).items()}
    by_period = _by_period(constants, periods)
    compute = _Computation(scope, totals, by_period, _labels(units, periods), shape, place)
    return compute.run(texts)


def derive_frame(
    frame: pd.DataFrame,
    texts: Mapping[str, str],
    *,
    unit: str,
    period: str,
    reference: pd.DataFrame | None = None,
    constants: Mapping[str, Mapping[int, float]] | None = None,
    place: Callable[[str], str] = str,
) -> pd.DataFrame:
    """Add derived variables to a long table.

    Parameters
    ----------
    frame : DataFrame
        One row per unit and period, with the columns ``unit`` and ``period``.
    reference : DataFrame, optional
        One row per period of the reference region, with the column ``period``.
    texts, constants, place
        As for :func:`derive`.

    Returns
    -------
    DataFrame
        A copy of ``frame`` with one more column per expression; rows, order and index as they were.

    Raises
    ------
    SpecificationError, DataError
        As :func:`derive`; also when the reference table lacks a period or has one twice, or when a column
        that an expression uses holds text.
    """
    ids, times = frame[unit].tolist(), frame[period].tolist()
    compiled = [compile_expression(text) for text in texts.values()]
    needed = {name for expression in compiled for name in expression.names}
    # Each row of a long table is a "period" of its own with one unit, so that the arrays keep the row order.
    scope = {name: _numeric(frame, name)[:, None] for name in frame.columns if name in needed}
    inside = {name for expression in compiled for name in expression.reference_names}
    totals = {} if reference is None else _totals(reference, period, times, inside)
    by_period = _by_period(constants, times)
    rows: _Cell = lambda t, i: str(times[t]) if i is None else f"{ids[t]} in {times[t]}"  # noqa: E731
    compute = _Computation(scope, totals, by_period, rows, (len(frame), 1), place)
    return frame.assign(**{name: values[:, 0] for name, values in compute.run(texts).items()})


@dataclass(frozen=True, slots=True)
class _Computation:
    """Everything named expressions may refer to: columns (T, n), totals and constants (T,)."""

    columns: Mapping[str, np.ndarray]
    totals: Mapping[str, np.ndarray]
    constants: Mapping[str, np.ndarray]
    cell: _Cell
    shape: tuple[int, int]
    place: Callable[[str], str]

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
                values = expression.evaluate(scope, totals, cell=self.cell)
                scope[name] = np.broadcast_to(values, self.shape).copy()
            except DataError as error:
                raise DataError(f"{self.place(name)}: {error}") from None
        return {name: scope[name] for name in texts}


def _labels(units: Sequence[object], periods: Sequence[object]) -> _Cell:
    return lambda t, i: str(periods[t]) if i is None else f"{units[i]} in {periods[t]}"


def _as_floats(name: str, values: object, shape: tuple[int, ...]) -> np.ndarray:
    import numpy as np

    try:
        floats = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"{name!r} holds values that are not numbers.") from None
    if floats.shape != shape:
        raise DataError(f"{name!r} has the shape {floats.shape}, not {shape}.")
    return floats


def _by_period(
    constants: Mapping[str, Mapping[int, float]] | None, periods: Sequence[object]
) -> dict[str, np.ndarray]:
    """Look constants up by period: arrays (T,)."""
    import numpy as np

    found: dict[str, np.ndarray] = {}
    for name, values in (constants or {}).items():
        blank = sorted({period for period in periods if period not in values})  # type: ignore[type-var]
        if blank:
            raise DataError(f"The constant {name!r} has no number for {listed(blank)}.")
        found[name] = np.array([values[period] for period in periods], dtype=float)  # type: ignore[index]
    return found


def _numeric(frame: pd.DataFrame, name: str) -> np.ndarray:
    """Column of a table as floats; text in it is refused with its rows."""
    import pandas as pd

    values = frame[name]
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = values[numbers.isna() & values.notna()]
    if len(wrong):
        raise DataError(f"The column {name!r} holds text where numbers belong: {listed(map(repr, wrong))}.")
    return numbers.to_numpy(dtype=float, na_value=float("nan"))


def _totals(
    reference: pd.DataFrame, period: str, times: Sequence[object], names: Collection[str]
) -> dict[str, np.ndarray]:
    """Columns of the reference table, one value per row of the long table."""
    if period not in reference.columns:
        raise DataError(f"The reference table has no column {period!r}.")
    table = reference.set_index(period)
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()].unique()
        raise DataError(f"The reference table has more than one row for {listed(twice)}.")
    absent = sorted(set(times) - set(table.index))  # type: ignore[type-var]
    if absent:
        raise DataError(f"The reference table has no row for {listed(absent)}.")
    rows = table.index.get_indexer(list(times))
    return {name: _numeric(table, name)[rows] for name in names if name in table.columns}


# --- evaluation --------------------------------------------------------------------------------------------


def _position(t: int, i: int | None) -> str:
    return f"row {t + 1}" if i is None else f"row {t + 1}, column {i + 1}"


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """One walk over a checked tree; inside lq() once with the columns and once with the reference region."""

    expression: Expression
    columns: Mapping[str, np.ndarray]
    reference: Mapping[str, np.ndarray]
    cell: _Cell

    def run(self) -> np.ndarray:
        import numpy as np

        with np.errstate(all="ignore"):
            result = np.asarray(self.value(self.expression.tree, self.columns), dtype=float)
        shapes = [np.shape(self.columns[name]) for name in self.expression.names]
        shape = np.broadcast_shapes(*shapes) if shapes else result.shape
        return np.broadcast_to(result, np.broadcast_shapes(shape, result.shape)).copy()

    def value(self, node: ast.AST, scope: Mapping[str, np.ndarray]) -> Any:
        """Value of a node: array (T, n), or (T, 1) where it depends on the period only."""
        if isinstance(node, ast.Constant):
            return float(node.value)  # type: ignore[arg-type]
        if isinstance(node, ast.Name):
            return self.named(node.id, scope)
        if isinstance(node, ast.UnaryOp):
            operand = self.value(node.operand, scope)
            return -operand if isinstance(node.op, ast.USub) else operand
        if isinstance(node, ast.BinOp):
            return self.binary(node, self.value(node.left, scope), self.value(node.right, scope))
        return self.call(node, scope)  # type: ignore[arg-type]

    def named(self, name: str, scope: Mapping[str, np.ndarray]) -> Any:
        import numpy as np

        if name not in scope:
            where = "the reference region" if scope is self.reference else "the data"
            raise SpecificationError(
                f"{self.expression.text!r}: {_unknown(name, scope)} It is not in {where}."
            )
        values = np.asarray(scope[name], dtype=float)
        if scope is self.reference:
            values = values[:, None]
        self.refuse(np.isinf(values), values, f"{name} is infinite")
        return values

    def binary(self, node: ast.BinOp, left: Any, right: Any) -> Any:
        import numpy as np

        text = ast.unparse(node)
        if isinstance(node.op, ast.Div):
            self.refuse(np.equal(right, 0), right, f"division by zero in {text}")
            result = np.divide(left, right)
        elif isinstance(node.op, ast.Pow):
            undefined = (np.equal(left, 0) & (right < 0)) | ((np.less(left, 0)) & (right != round(right)))
            self.refuse(undefined, left, f"the power {text} is not defined")
            result = np.power(left, right)
        else:
            operation = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply}[type(node.op)]
            result = operation(left, right)
        self.refuse(np.isinf(result), result, f"{text} is too large for a number")
        return result

    def call(self, node: ast.Call, scope: Mapping[str, np.ndarray]) -> Any:
        import numpy as np

        name = node.func.id  # type: ignore[attr-defined]
        text = ast.unparse(node)
        if name == "lq":
            return self.location_quotient(node, text)
        if name in SECTORS:
            return self.sectors(node, scope, text)
        argument = self.value(node.args[0], scope)
        if name == "log":
            self.refuse(
                np.less_equal(argument, 0), argument, f"{text} takes the log of values that are not positive"
            )
        elif name == "log1p":
            self.refuse(
                np.less_equal(argument, -1), argument, f"{text} takes the log of values that are not positive"
            )
        elif name == "sqrt":
            self.refuse(np.less(argument, 0), argument, f"{text} takes the root of negative values")
        result = getattr(np, name)(argument)
        self.refuse(np.isinf(result), result, f"{text} is too large for a number")
        return result

    def location_quotient(self, node: ast.Call, text: str) -> np.ndarray:
        import numpy as np

        from spatial_zb.data.agglomeration import location_quotient

        part, total = (self.value(argument, self.columns) for argument in node.args)
        ref_part, ref_total = (self.value(argument, self.reference) for argument in node.args)
        self.refuse(np.less_equal(total, 0), total, f"{text}: the total is not positive")
        self.refuse(np.less(part, 0), part, f"{text}: the part is negative")
        self.refuse_reference(ref_part, f"{text}: the part in the reference region")
        self.refuse_reference(ref_total, f"{text}: the total of the reference region")
        return location_quotient(part, total, ref_part, ref_total)

    def sectors(self, node: ast.Call, scope: Mapping[str, np.ndarray], text: str) -> np.ndarray:
        """Index of the amounts of a unit's sectors; a unit with a blank sector has none."""
        import numpy as np

        from spatial_zb.data.agglomeration import hhi, krugman_specialisation

        amounts = np.stack(np.broadcast_arrays(*(self.value(a, scope) for a in node.args)), axis=-1)
        blank = np.isnan(amounts).any(axis=-1)
        self.refuse(
            ~blank & (amounts < 0).any(axis=-1), amounts.min(axis=-1), f"{text}: a sector is negative"
        )
        self.refuse(
            ~blank & (amounts.sum(axis=-1) <= 0), amounts.sum(axis=-1), f"{text}: all sectors are zero"
        )
        whole = np.where(blank[..., None], 1.0, amounts)
        if node.func.id == "hhi":  # type: ignore[attr-defined]
            return np.where(blank, np.nan, hhi(whole))
        totals = [np.ravel(self.value(argument, self.reference)) for argument in node.args]
        for argument, values in zip(node.args, totals, strict=True):
            self.refuse_reference(values, f"{text}: {ast.unparse(argument)} of the reference region")
        found = [
            krugman_specialisation(row, np.array(t))
            for row, t in zip(whole, zip(*totals, strict=True), strict=True)
        ]
        return np.where(blank, np.nan, np.stack(found))

    def refuse_reference(self, values: Any, said: str) -> None:
        """The reference region must be positive in every period; NaN is not."""
        import numpy as np

        periods = np.flatnonzero(~(np.ravel(values) > 0))
        if periods.size:
            names = dict.fromkeys(self.cell(int(t), None) for t in periods)
            raise DataError(f"{said} is blank or not positive in {listed(names)}.")

    def refuse(self, wrong: Any, values: Any, said: str) -> None:
        """Raise with the cells where something is not defined; a blank cell (NaN) is never among them."""
        import numpy as np

        wrong = np.atleast_2d(wrong)
        if not wrong.any():
            return
        where = np.argwhere(wrong)
        zeros = int(np.count_nonzero(np.broadcast_to(np.atleast_2d(values), wrong.shape)[wrong] == 0))
        counted = f" ({zeros} zero)" if zeros else ""
        cells = "1 cell" if len(where) == 1 else f"{len(where)} cells"
        names = [self.cell(int(t), int(i)) for t, i in where]
        raise DataError(
            f"{said}: {cells}{counted}: {listed(names)}. "
            "Correct the cells, leave these units or periods out, or choose another measure."
        )


# --- checks of the text ------------------------------------------------------------------------------------


def _parse(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        slips = sorted(set(text) & set("（）＋－＊／×÷，。“”"))
        slip = f" It has {' '.join(slips)}, which must be plain ASCII signs." if slips else ""
        raise SpecificationError(
            f"{text!r} is not arithmetic ({error.msg}).{slip} Allowed: {ALLOWED}."
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise SpecificationError(f"{text[:40]!r}... cannot be read. Allowed: {ALLOWED}.") from None


def _check_depth(tree: ast.expr, text: str) -> None:
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise SpecificationError(
        f"{text[:40]!r}... is nested more than {MAX_DEPTH} levels deep. Split it into several variables."
    )


def _refuse(what: str, text: str) -> SpecificationError:
    return SpecificationError(f"{text!r} uses {what}, which is not allowed. Allowed: {ALLOWED}.")


def _check(node: ast.AST, text: str, *, inside_lq: bool) -> None:
    """Walk the tree; its depth is already limited."""
    if isinstance(node, ast.Constant):
        _check_number(node, text)
    elif isinstance(node, ast.Name):
        if node.id in FUNCTIONS:
            raise SpecificationError(f"{text!r} uses {node.id} without brackets; write {node.id}(...).")
        if node.id.startswith("__"):
            raise _refuse(f"the name {node.id!r}", text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        _check(node.operand, text, inside_lq=inside_lq)
    elif isinstance(node, ast.BinOp) and isinstance(
        node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow
    ):
        if isinstance(node.op, ast.Pow):
            _check_exponent(node.right, text)
        _check(node.left, text, inside_lq=inside_lq)
        _check(node.right, text, inside_lq=inside_lq)
    elif isinstance(node, ast.Call):
        _check_call(node, text, inside_lq=inside_lq)
    else:
        culprit = node.op if isinstance(node, ast.UnaryOp | ast.BinOp) else node
        raise _refuse(_REFUSED.get(type(culprit), type(culprit).__name__), text)


def _check_number(node: ast.Constant, text: str) -> None:
    if isinstance(node.value, str | bytes):
        raise _refuse("text in quotes", text)
    if type(node.value) not in (int, float):
        raise _refuse(repr(node.value), text)
    if not abs(node.value) <= MAX_NUMBER:
        raise _refuse(f"a number beyond {MAX_NUMBER:g}", text)


def _check_exponent(node: ast.AST, text: str) -> None:
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        node = node.operand
    number = node.value if isinstance(node, ast.Constant) and type(node.value) in (int, float) else None
    if number is None or not abs(number) <= MAX_EXPONENT:
        raise SpecificationError(
            f"{text!r} has a power whose exponent is not a number from -{MAX_EXPONENT} to {MAX_EXPONENT}."
        )


def _check_call(node: ast.Call, text: str, *, inside_lq: bool) -> None:
    if not isinstance(node.func, ast.Name):
        raise _refuse(_REFUSED.get(type(node.func), "a call of something that is not a function"), text)
    name = node.func.id
    if name not in FUNCTIONS:
        near = difflib.get_close_matches(name, FUNCTIONS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise SpecificationError(f"{text!r} uses the unknown function {name!r}.{hint} Allowed: {ALLOWED}.")
    wrong = len(node.args) < FUNCTIONS[name] if name in SECTORS else len(node.args) != FUNCTIONS[name]
    if node.keywords or wrong:
        count = "1 argument" if FUNCTIONS[name] == 1 else f"{FUNCTIONS[name]} arguments"
        more = " or more" if name in SECTORS else ""
        raise SpecificationError(f"{text!r}: {name} takes {count}{more}, by position.")
    if name in REFERENCED and inside_lq:
        raise SpecificationError(f"{text!r} has {name} inside {' or '.join(REFERENCED)}.")
    for argument in node.args:
        _check(argument, text, inside_lq=inside_lq or name in REFERENCED)


def _calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _around(expression: Expression, name: str) -> str:
    """The function with the reference region inside which a name stands."""
    calls = [call for call in _calls(expression.tree) if call.func.id in REFERENCED]  # type: ignore[attr-defined]
    return next(call.func.id for call in calls if name in _names(call.args))  # type: ignore[attr-defined]


def _names(nodes: Iterable[ast.AST]) -> list[str]:
    """Names used in some trees, functions left out, in order of appearance."""
    found = [item for node in nodes for item in ast.walk(node) if isinstance(item, ast.Name)]
    ordered = sorted(found, key=lambda item: item.col_offset)
    return list(dict.fromkeys(item.id for item in ordered if item.id not in FUNCTIONS))


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{name!r} is neither a column, a constant nor a variable.{hint}"
