"""Tests that do not keep their level: how often each rejects a true hypothesis, and what to read instead."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np

from spatial_zb.errors import SpatialZbWarning
from spatial_zb.recommendation import Row, TestTable
from spatial_zb.text import Text

__all__ = ["DENSE", "INSTEAD", "MEASURED", "with_measured_sizes"]

#: Rejection of a true hypothesis at 5 %, for the tests that leave 3.5-6.5 %, by (unit or two-way effects, n).
#: Two regressors, T = 11, normal errors, contiguity; all tests in docs/validation/test_size.csv.
MEASURED: dict[str, dict[tuple[str, int], float]] = {
    "LR unit effects": {
        ("unit", 11): 0.114,
        ("unit", 41): 0.1045,
        ("two_way", 11): 0.1235,
        ("two_way", 41): 0.108,
    },
    "LR time effects": {
        ("unit", 11): 0.1115,
        ("unit", 41): 0.1005,
        ("two_way", 11): 0.1185,
        ("two_way", 41): 0.084,
    },
    "LR unit and time effects": {
        ("unit", 11): 0.11,
        ("unit", 41): 0.098,
        ("two_way", 11): 0.118,
        ("two_way", 41): 0.0975,
    },
    "LM random effects (Breusch-Pagan)": {("unit", 11): 0.034},
    "LM random effects, marginal (BSK)": {("two_way", 11): 0.0695},
    "Wald SDM to SAR": {("unit", 41): 0.0655, ("two_way", 11): 0.068},
    "LM random effects given spatial error (BSK)": {("two_way", 11): 0.0675},
    "Hausman": {("unit", 41): 0.1007, ("two_way", 41): 0.1069},
    "Hausman, spatial": {
        ("unit", 11): 0.1248,
        ("unit", 41): 0.143,
        ("two_way", 11): 0.1237,
        ("two_way", 41): 0.1083,
    },
}
#: The same where every unit is a neighbour of every other (inverse distance), 1,000 panels.
DENSE: dict[str, dict[tuple[str, int], float]] = {
    "LR unit effects": {
        ("unit", 11): 0.123,
        ("unit", 41): 0.087,
        ("unit", 90): 0.093,
        ("two_way", 11): 0.127,
        ("two_way", 41): 0.085,
        ("two_way", 90): 0.115,
    },
    "LR time effects": {
        ("unit", 11): 0.131,
        ("unit", 41): 0.087,
        ("unit", 90): 0.094,
        ("two_way", 11): 0.125,
        ("two_way", 41): 0.09,
        ("two_way", 90): 0.082,
    },
    "LR unit and time effects": {
        ("unit", 11): 0.119,
        ("unit", 41): 0.081,
        ("unit", 90): 0.091,
        ("two_way", 11): 0.125,
        ("two_way", 41): 0.083,
        ("two_way", 90): 0.113,
    },
    "LM random effects (Breusch-Pagan)": {
        ("unit", 11): 0.027,
    },
    "LM spatial error, marginal (BSK)": {
        ("unit", 11): 0.025,
        ("unit", 41): 0.032,
        ("two_way", 90): 0.072,
    },
    "LM random effects and spatial error, joint (BSK)": {
        ("unit", 41): 0.034,
        ("two_way", 90): 0.076,
    },
    "LM lag, robust": {
        ("two_way", 11): 0.067,
    },
    "F Durbin terms, OLS to SLX": {
        ("two_way", 11): 0.068,
    },
    "Wald SDM to SAR": {
        ("unit", 11): 0.075,
        ("unit", 41): 0.072,
        ("two_way", 11): 0.0732,
    },
    "LR SDM to SAR": {
        ("unit", 11): 0.068,
        ("unit", 41): 0.074,
    },
    "Wald SDM to SEM": {
        ("unit", 11): 0.072,
        ("unit", 41): 0.073,
        ("two_way", 11): 0.0669,
    },
    "LR SDM to SEM": {
        ("unit", 11): 0.069,
        ("unit", 41): 0.068,
    },
    "Hausman": {
        ("unit", 41): 0.1129,
        ("unit", 90): 0.115,
        ("two_way", 41): 0.1057,
        ("two_way", 90): 0.1051,
    },
    "Hausman, spatial": {
        ("unit", 11): 0.2353,
        ("unit", 41): 0.3241,
        ("unit", 90): 0.2976,
        ("two_way", 41): 0.1842,
        ("two_way", 90): 0.1817,
    },
    "Mundlak, spatial": {
        ("two_way", 11): 0.069,
        ("two_way", 41): 0.086,
        ("two_way", 90): 0.09,
    },
}
#: Up to how many units the figures of each measured n are taken to hold, for sparse and for dense W.
REACH = ((11, 25), (41, 100))
DENSE_REACH = ((11, 25), (41, 65), (90, 130))
#: What to read in place of a test whose size is off.
INSTEAD: dict[str, Text] = {
    "LR unit effects": Text("read F unit effects", "应看个体效应的 F 检验"),
    "LR time effects": Text("read F time effects", "应看时间效应的 F 检验"),
    "LR unit and time effects": Text("read F unit and time effects", "应看个体与时间效应的 F 检验"),
    "LM random effects (Breusch-Pagan)": Text("read F unit effects", "应看个体效应的 F 检验"),
    "LM random effects, marginal (BSK)": Text("read F unit effects", "应看个体效应的 F 检验"),
    "LM random effects given spatial error (BSK)": Text("read F unit effects", "应看个体效应的 F 检验"),
    "Wald SDM to SAR": Text("read LM Durbin terms from SAR", "应看 SAR 之上杜宾项的 LM 检验"),
    "Hausman": Text("read Mundlak", "应看 Mundlak 检验"),
    "Hausman, spatial": Text("read Mundlak, spatial", "应看空间 Mundlak 检验"),
}
#: Under a dense W what would be read instead is off as well.
RESAMPLE = Text("read its bootstrap p-value", "应看其自助法 p 值")


def _measured(table: TestTable, row: Row) -> tuple[int, float] | None:
    """The n at which the test's size was measured and the size, where it is off 5 %."""
    sizes, reaches = (DENSE, DENSE_REACH) if table.dense else (MEASURED, REACH)
    n = next((measured for measured, reach in reaches if table.n_units <= reach), None)
    kind = "two_way" if table.effects in ("time", "two_way") else "unit"
    size = sizes.get(row.test, {}).get((kind, n)) if n else None
    return None if size is None or table.n_periods == 1 else (n, size)


def with_measured_sizes(table: TestTable) -> TestTable:
    """Write measured sizes into the notes, and warn once of all tests whose size is off."""
    rows: list[Row] = []
    said: dict[str, Text] = {}
    for row in table.rows:
        read = np.isfinite(row.p_value) and not np.isfinite(row.p_bootstrap)
        found = _measured(table, row) if read else None
        if found is not None:
            n, size = found
            instead = RESAMPLE if table.dense else INSTEAD[row.test]
            said[row.test] = Text(
                f"{row.test} ({100 * size:.0f} %; {instead.en})",
                f"{row.name.zh}（{100 * size:.0f} %；{instead.zh}）",
            )
            note = Text(
                f"{row.note.en}; rejects {100 * size:.1f} % of true hypotheses at n = {n}, T = 11: {instead.en}",
                f"{row.note.zh}；n = {n}、T = 11 时对真原假设的拒绝率为 {100 * size:.1f} %：{instead.zh}",
            )
            row = replace(row, note=note)
        rows.append(row)
    if said:
        warnings.warn(
            SpatialZbWarning(
                f"With {table.n_units} units and {table.n_periods} periods these tests do not keep their level of 5 % "
                "(measured rejection of a true hypothesis; what to do instead): "
                f"{'; '.join(text.en for text in said.values())}. "
                "bootstrap = 999 in [study], or diagnose(..., bootstrap=999), adds p-values that do "
                "(docs/validation/study.md).",
                f"{table.n_units}个地区、{table.n_periods}个时期时，以下检验达不到5 %的名义水平"
                "（括号内为实测的对真原假设的拒绝率与替代办法）："
                f"{'；'.join(text.zh for text in said.values())}。"
                "在[study]中设bootstrap = 999（或diagnose(..., bootstrap=999)）可给出可靠的p值"
                "（docs/validation/study.md）。",
            ),
            stacklevel=3,
        )
    return replace(table, rows=tuple(rows))
