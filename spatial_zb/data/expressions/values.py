"""Values of a checked expression: one walk over its tree, on arrays by period and unit."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.data.expressions.syntax import (
    SECTORS,
    function_of,
    is_condition,
    is_text,
    lag_of,
    unknown_name,
)

if TYPE_CHECKING:
    import numpy as np

    from spatial_zb.data.expressions import Expression


Cell = Callable[[int, int | None], Text]


def position(t: int, i: int | None) -> Text:
    """Describe a cell by its position where it has no labels."""
    if i is None:
        return Text(f"row {t + 1}", f"第{t + 1}行")
    return Text(f"row {t + 1}, column {i + 1}", f"第{t + 1}行第{i + 1}列")


_COMPARED: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _of_no_log(text: str) -> Text:
    return Text(f"{text} takes the log of values that are not positive", f"{text}对非正数取对数")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One walk over a checked tree; inside lq() once with the columns and once with the reference region.

    ``active``: cells whose value is taken, (T, n), or all: a branch of where() may be undefined in the others.
    """

    expression: Expression
    columns: Mapping[str, np.ndarray]
    reference: Mapping[str, np.ndarray]
    cell: Cell
    active: Any = True

    def run(self) -> np.ndarray:
        """Values (T, n)."""
        import numpy as np

        with np.errstate(all="ignore"):
            result = np.asarray(self.value(self.expression.tree, self.columns), dtype=float)
        shapes = [np.shape(self.columns[name]) for name in self.expression.names]
        shape = np.broadcast_shapes(*shapes) if shapes else result.shape
        return np.broadcast_to(result, np.broadcast_shapes(shape, result.shape)).copy()

    def value(self, node: ast.AST, scope: Mapping[str, np.ndarray]) -> Any:
        """Value of a node: array (T, n), or (T, 1) where it depends on the period only."""
        if isinstance(node, ast.Constant):
            assert isinstance(node.value, int | float), "no other constant passes the check"
            return float(node.value)
        if isinstance(node, ast.Name):
            return self.named(node.id, scope)
        if is_condition(node):
            return self.condition(node, scope)
        if isinstance(node, ast.UnaryOp):
            operand = self.value(node.operand, scope)
            return -operand if isinstance(node.op, ast.USub) else operand
        if isinstance(node, ast.BinOp):
            return self.binary(node, self.value(node.left, scope), self.value(node.right, scope))
        assert isinstance(node, ast.Call), "no other node passes the check"
        return self.call(node, scope)

    def named(self, name: str, scope: Mapping[str, np.ndarray]) -> Any:
        import numpy as np

        if name not in scope:
            where = (
                Text("the reference region", "参照区域")
                if scope is self.reference
                else Text("the data", "数据")
            )
            said = unknown_name(name, scope)
            raise SpecificationError(
                f"{self.expression.text!r}: {said.en} It is not in {where.en}.",
                f"{self.expression.text!r}：{said.zh}{where.zh}中没有。",
            )
        values = np.asarray(scope[name])
        if values.dtype.kind == "O":
            raise DataError(
                f"{self.expression.text!r}: {name} holds text; compare it with text in quotes, as in {name} == '…'.",
                f"{self.expression.text!r}：{name}为文字；请与引号中的文字比较，如{name} == '…'。",
            )
        values = values.astype(float)
        if scope is self.reference:
            values = values[:, None]
        self.refuse(np.isinf(values), values, Text(f"{name} is infinite", f"{name}为无穷大"))
        return values

    def condition(self, node: ast.AST, scope: Mapping[str, np.ndarray]) -> Any:
        """1 where it holds, 0 where not, blank where a value of it is blank."""
        import numpy as np

        if isinstance(node, ast.UnaryOp):
            return 1.0 - self.value(node.operand, scope)
        if isinstance(node, ast.BoolOp):
            parts = np.broadcast_arrays(*(self.value(part, scope) for part in node.values))
            joined = np.stack(parts)
            blank = np.isnan(joined).any(axis=0)
            held = joined.min(axis=0) if isinstance(node.op, ast.And) else joined.max(axis=0)
            return np.where(blank, np.nan, held)
        assert isinstance(node, ast.Compare), "no other node is a condition"
        sides = [node.left, *node.comparators]
        if any(map(is_text, sides)):
            return self.text_comparison(node)
        values = [self.value(side, scope) for side in sides]
        true: Any = np.True_
        missing: Any = np.False_
        for op, left, right in zip(node.ops, values[:-1], values[1:], strict=True):
            true = true & _COMPARED[type(op)](left, right)
            missing = missing | np.isnan(left) | np.isnan(right)
        return np.where(missing, np.nan, np.asarray(true, dtype=float))

    def text_comparison(self, node: ast.Compare) -> Any:
        """A column of text, such as names, with text in quotes."""
        import numpy as np

        sides = [node.left, *node.comparators]
        name = next(side.id for side in sides if isinstance(side, ast.Name))
        asked = next(side.value for side in sides if isinstance(side, ast.Constant))
        if name not in self.columns:
            self.named(name, self.columns)
        values = np.asarray(self.columns[name])
        if values.dtype.kind != "O":
            text = ast.unparse(node)
            raise SpecificationError(
                f"{text!r}: {name} holds numbers; compare it with a number, without quotes.",
                f"{text!r}：{name}为数值；请与数字比较，不加引号。",
            )
        flat = [
            np.nan if cell is None else float(str(cell).strip() == str(asked).strip()) for cell in values.flat
        ]
        same = np.array(flat).reshape(values.shape)
        return same if isinstance(node.ops[0], ast.Eq) else 1.0 - same

    def binary(self, node: ast.BinOp, left: Any, right: Any) -> Any:
        import numpy as np

        text = ast.unparse(node)
        if isinstance(node.op, ast.Div):
            self.refuse(np.equal(right, 0), right, Text(f"division by zero in {text}", f"{text}中除数为零"))
            result = np.divide(left, right)
        elif isinstance(node.op, ast.Pow):
            undefined = (np.equal(left, 0) & (right < 0)) | ((np.less(left, 0)) & (right != round(right)))
            self.refuse(undefined, left, Text(f"the power {text} is not defined", f"乘方{text}没有定义"))
            result = np.power(left, right)
        else:
            operation = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply}[type(node.op)]
            result = operation(left, right)
        self.refuse(
            np.isinf(result), result, Text(f"{text} is too large for a number", f"{text}超出数值范围")
        )
        return result

    def call(self, node: ast.Call, scope: Mapping[str, np.ndarray]) -> Any:
        import numpy as np

        name = function_of(node)
        text = ast.unparse(node)
        if name == "lq":
            return self.location_quotient(node, text)
        if name in SECTORS:
            return self.sectors(node, scope, text)
        if name == "where":
            return self.where(node, scope)
        if name == "lag":
            values = np.asarray(replace(self, active=True).value(node.args[0], scope))
            return self.lagged(values, lag_of(node))
        argument = self.value(node.args[0], scope)
        if name == "log":
            self.refuse(np.less_equal(argument, 0), argument, _of_no_log(text))
        elif name == "log1p":
            self.refuse(np.less_equal(argument, -1), argument, _of_no_log(text))
        elif name == "sqrt":
            self.refuse(
                np.less(argument, 0),
                argument,
                Text(f"{text} takes the root of negative values", f"{text}对负数开方"),
            )
        result = getattr(np, name)(argument)
        self.refuse(
            np.isinf(result), result, Text(f"{text} is too large for a number", f"{text}超出数值范围")
        )
        return result

    def where(self, node: ast.Call, scope: Mapping[str, np.ndarray]) -> Any:
        """Each branch only has to be defined in the cells that take it."""
        import numpy as np

        chosen = self.value(node.args[0], scope)
        yes = replace(self, active=self.active & np.equal(chosen, 1)).value(node.args[1], scope)
        no = replace(self, active=self.active & np.equal(chosen, 0)).value(node.args[2], scope)
        return np.where(np.isnan(chosen), np.nan, np.where(np.equal(chosen, 1), yes, no))

    def lagged(self, values: np.ndarray, back: int) -> np.ndarray:
        """Values of ``back`` periods before, (T, n); the first periods are blank."""
        import numpy as np

        lengths = [np.shape(self.columns[name])[0] for name in self.expression.names if name in self.columns]
        periods = max([*lengths, *np.shape(values)[:1]], default=1)
        whole = np.broadcast_to(values, np.broadcast_shapes(np.shape(values), (periods, 1)))
        before = np.full(whole.shape, np.nan)
        before[back:] = whole[: max(periods - back, 0)]
        return before

    def location_quotient(self, node: ast.Call, text: str) -> np.ndarray:
        import numpy as np

        from spatial_zb.core.indices import location_quotient

        part, total = (self.value(argument, self.columns) for argument in node.args)
        ref_part, ref_total = (self.value(argument, self.reference) for argument in node.args)
        self.refuse(
            np.less_equal(total, 0), total, Text(f"{text}: the total is not positive", f"{text}：合计不为正")
        )
        self.refuse(np.less(part, 0), part, Text(f"{text}: the part is negative", f"{text}：部分为负"))
        self.refuse_reference(
            ref_part, Text(f"{text}: the part in the reference region", f"{text}：参照区域的部分")
        )
        self.refuse_reference(
            ref_total, Text(f"{text}: the total of the reference region", f"{text}：参照区域的合计")
        )
        return location_quotient(part, total, ref_part, ref_total)

    def sectors(self, node: ast.Call, scope: Mapping[str, np.ndarray], text: str) -> np.ndarray:
        """Index of the amounts of a unit's sectors; a unit with a blank sector has none."""
        import numpy as np

        from spatial_zb.core.indices import hhi, krugman_specialisation

        amounts = np.stack(np.broadcast_arrays(*(self.value(a, scope) for a in node.args)), axis=-1)
        blank = np.isnan(amounts).any(axis=-1)
        self.refuse(
            ~blank & (amounts < 0).any(axis=-1),
            amounts.min(axis=-1),
            Text(f"{text}: a sector is negative", f"{text}：有行业为负"),
        )
        self.refuse(
            ~blank & (amounts.sum(axis=-1) <= 0),
            amounts.sum(axis=-1),
            Text(f"{text}: all sectors are zero", f"{text}：所有行业都为零"),
        )
        whole = np.where(blank[..., None], 1.0, amounts)
        if function_of(node) == "hhi":
            return np.where(blank, np.nan, hhi(whole))
        totals = [np.ravel(self.value(argument, self.reference)) for argument in node.args]
        for argument, values in zip(node.args, totals, strict=True):
            sector = ast.unparse(argument)
            self.refuse_reference(
                values, Text(f"{text}: {sector} of the reference region", f"{text}：参照区域的{sector}")
            )
        found = [
            krugman_specialisation(row, np.array(t))
            for row, t in zip(whole, zip(*totals, strict=True), strict=True)
        ]
        return np.where(blank, np.nan, np.stack(found))

    def refuse_reference(self, values: Any, said: Text) -> None:
        """The reference region must be positive in every period; NaN is not."""
        import numpy as np

        periods = np.flatnonzero(~(np.ravel(values) > 0))
        if periods.size:
            names = dict.fromkeys(self.cell(int(t), None) for t in periods)
            raise DataError(
                f"{said.en} is blank or not positive in {listed(names)}.",
                f"{said.zh}在{listed_zh(names)}空缺或不为正。",
            )

    def refuse(self, wrong: Any, values: Any, what: Text) -> None:
        """Raise with the cells where something is not defined; a blank cell (NaN) is never among them."""
        import numpy as np

        wrong = np.atleast_2d(wrong & self.active)
        if not wrong.any():
            return
        where = np.argwhere(wrong)
        zeros = int(np.count_nonzero(np.broadcast_to(np.atleast_2d(values), wrong.shape)[wrong] == 0))
        counted = Text(f" ({zeros} zero)", f"（其中零值{zeros}处）") if zeros else Text("", "")
        count = len(where)
        names = [self.cell(int(t), int(i)) for t, i in where]
        raise DataError(
            f"{what.en}: {count} {'cell' if count == 1 else 'cells'}{counted.en}: {listed(names)}. "
            "Correct the cells, leave these units or periods out, or choose another measure.",
            f"{what.zh}，共{count}处{counted.zh}：{listed_zh(names)}。请更正数据，剔除这些地区或时期，或改用其他度量。",
        )
