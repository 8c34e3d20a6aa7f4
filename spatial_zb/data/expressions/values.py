"""Values of a checked expression: one walk over its tree, on arrays by period and unit."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spatial_zb.base.errors import DataError, SpecificationError, listed, listed_zh
from spatial_zb.base.text import Text
from spatial_zb.data.expressions.syntax import SECTORS, function_of, unknown_name

if TYPE_CHECKING:
    import numpy as np

    from spatial_zb.data.expressions import Expression


Cell = Callable[[int, int | None], Text]


def position(t: int, i: int | None) -> Text:
    """Describe a cell by its position where it has no labels."""
    if i is None:
        return Text(f"row {t + 1}", f"第{t + 1}行")
    return Text(f"row {t + 1}, column {i + 1}", f"第{t + 1}行第{i + 1}列")


def _of_no_log(text: str) -> Text:
    return Text(f"{text} takes the log of values that are not positive", f"{text}对非正数取对数")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One walk over a checked tree; inside lq() once with the columns and once with the reference region."""

    expression: Expression
    columns: Mapping[str, np.ndarray]
    reference: Mapping[str, np.ndarray]
    cell: Cell

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
        values = np.asarray(scope[name], dtype=float)
        if scope is self.reference:
            values = values[:, None]
        self.refuse(np.isinf(values), values, Text(f"{name} is infinite", f"{name}为无穷大"))
        return values

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

    def location_quotient(self, node: ast.Call, text: str) -> np.ndarray:
        import numpy as np

        from spatial_zb.core.indices.specialisation import location_quotient

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

        from spatial_zb.core.indices.specialisation import hhi, krugman_specialisation

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

        wrong = np.atleast_2d(wrong)
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
