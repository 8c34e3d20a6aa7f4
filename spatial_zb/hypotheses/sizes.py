"""Tests that do not keep their level, and what to read instead; the parts of the chain as it is printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from spatial_zb.base.notes import Kind, tell
from spatial_zb.base.results import Row, TestTable
from spatial_zb.base.text import Language, Text
from spatial_zb.hypotheses.case import TESTS

if TYPE_CHECKING:
    import pandas as pd


Place = tuple[str, str, int]
SIGNS = {"rho": "ρ", "lam": "λ"}


@dataclass(frozen=True, slots=True)
class Measured:
    """How often a test rejects a true hypothesis at 5 %, and the spatial coefficient of the data where it is worst."""

    share: float
    coefficient: Literal["rho", "lam"]
    value: float

    @property
    def where(self) -> str:
        """The coefficient in the signs of any language."""
        return f"{SIGNS[self.coefficient]} = {self.value:g}"


#: Rejection of a true hypothesis at 5 %, for the tests that leave 4-6 % by more than twice the error of the simulation:
#: by (sparse or dense W, unit or two-way effects, n), with the ρ or λ of the data where it is worst. Two regressors,
#: T = 11, normal errors; sparse is contiguity, dense inverse distance; all tests in docs/validation/test_size.csv.
MEASURED: dict[str, dict[Place, Measured]] = {
    "LM lag, robust": {
        ("sparse", "unit", 11): Measured(0.127, "lam", 0.6),
        ("sparse", "unit", 41): Measured(0.161, "lam", 0.6),
        ("sparse", "unit", 90): Measured(0.172, "lam", 0.6),
        ("sparse", "two_way", 11): Measured(0.108, "lam", 0.6),
        ("sparse", "two_way", 41): Measured(0.161, "lam", 0.6),
        ("sparse", "two_way", 90): Measured(0.142, "lam", 0.6),
        ("dense", "unit", 11): Measured(0.314, "lam", 0.6),
        ("dense", "unit", 41): Measured(0.323, "lam", 0.6),
        ("dense", "unit", 90): Measured(0.288, "lam", 0.6),
        ("dense", "two_way", 11): Measured(0.082, "lam", 0.6),
        ("dense", "two_way", 41): Measured(0.083, "lam", 0.6),
        ("dense", "two_way", 90): Measured(0.095, "lam", 0.6),
    },
    "LM error, robust": {
        ("sparse", "unit", 11): Measured(0.021, "rho", 0.6),
        ("sparse", "unit", 41): Measured(0.237, "rho", 0.6),
        ("sparse", "unit", 90): Measured(0.31, "rho", 0.6),
        ("sparse", "two_way", 41): Measured(0.194, "rho", 0.6),
        ("sparse", "two_way", 90): Measured(0.301, "rho", 0.6),
        ("dense", "unit", 11): Measured(0.61, "rho", 0.6),
        ("dense", "unit", 41): Measured(0.92, "rho", 0.6),
        ("dense", "unit", 90): Measured(0.929, "rho", 0.6),
        ("dense", "two_way", 41): Measured(0.086, "rho", 0.6),
        ("dense", "two_way", 90): Measured(0.105, "rho", 0.6),
    },
    "LR SDM to SAR": {
        ("dense", "unit", 41): Measured(0.074, "rho", 0.3),
    },
    "Wald SDM to SEM": {
        ("dense", "unit", 11): Measured(0.089, "lam", 0.6),
        ("dense", "unit", 41): Measured(0.075, "lam", 0.6),
    },
    "LR SDM to SEM": {
        ("dense", "unit", 11): Measured(0.093, "lam", 0.6),
    },
    "Wald SDM to SAR": {
        ("dense", "unit", 11): Measured(0.077, "rho", 0.0),
    },
    "LM error from SDM": {
        ("dense", "unit", 41): Measured(0.076, "rho", 0.0),
    },
}
#: The same of their bootstrap p-values, at the ρ or λ where it is furthest from 5 %; docs/validation/null_sizes.csv.
BOOTSTRAP: dict[str, dict[Place, float]] = {
    "LM lag, robust": {
        ("sparse", "unit", 11): 0.043,
        ("sparse", "unit", 41): 0.041,
        ("sparse", "unit", 90): 0.057,
        ("sparse", "two_way", 11): 0.067,
        ("sparse", "two_way", 41): 0.052,
        ("sparse", "two_way", 90): 0.054,
        ("dense", "unit", 11): 0.059,
        ("dense", "unit", 41): 0.054,
        ("dense", "unit", 90): 0.042,
        ("dense", "two_way", 11): 0.056,
        ("dense", "two_way", 41): 0.045,
        ("dense", "two_way", 90): 0.048,
    },
    "LM error, robust": {
        ("sparse", "unit", 11): 0.044,
        ("sparse", "unit", 41): 0.045,
        ("sparse", "unit", 90): 0.046,
        ("sparse", "two_way", 41): 0.034,
        ("sparse", "two_way", 90): 0.045,
        ("dense", "unit", 11): 0.062,
        ("dense", "unit", 41): 0.03,
        ("dense", "unit", 90): 0.031,
        ("dense", "two_way", 41): 0.057,
        ("dense", "two_way", 90): 0.059,
    },
    "LR SDM to SAR": {
        ("dense", "unit", 41): 0.061,
    },
    "Wald SDM to SEM": {
        ("dense", "unit", 11): 0.065,
        ("dense", "unit", 41): 0.045,
    },
    "LR SDM to SEM": {
        ("dense", "unit", 11): 0.065,
    },
    "Wald SDM to SAR": {
        ("dense", "unit", 11): 0.047,
    },
    "LM error from SDM": {
        ("dense", "unit", 41): 0.067,
    },
}
#: Up to how many units the figures of each measured n are taken to hold.
REACH = ((11, 25), (41, 65), (90, 130))
#: Periods of the simulation, and those to which its sizes are taken to hold: elsewhere they are said to be unmeasured.
PERIODS, NEAR_PERIODS = 11, (8, 16)
#: What to read in place of a test whose size is off; where that is off as well, its bootstrap p-value.
INSTEAD: dict[str, str] = {
    "LM lag, robust": "LM lag from SEM",
    "LM error, robust": "LM error from SAR",
    "Wald SDM to SAR": "LM Durbin terms from SAR",
    "LR SDM to SAR": "LM Durbin terms from SAR",
    "Wald SDM to SEM": "LM common factor from SEM",
    "LR SDM to SEM": "LM common factor from SEM",
    "Hausman, spatial": "Mundlak, spatial",
}
#: The end of the sentence that sends there; without a test to read, to the bootstrap p-value.
READ: dict[str | None, Text] = {
    "LM lag from SEM": Text("read LM lag from SEM", "应看 SEM 之上空间滞后的 LM 检验"),
    "LM error from SAR": Text("read LM error from SAR", "应看 SAR 之上空间误差的 LM 检验"),
    "LM Durbin terms from SAR": Text("read LM Durbin terms from SAR", "应看 SAR 之上杜宾项的 LM 检验"),
    "LM common factor from SEM": Text("read LM common factor from SEM", "应看 SEM 公因子约束的 LM 检验"),
    "Mundlak, spatial": Text("read Mundlak, spatial", "应看空间 Mundlak 检验"),
    None: Text("read its bootstrap p-value", "应看其自助法 p 值"),
}


def _place(table: TestTable, dense: bool) -> Place | None:
    """Where the table's panel was measured: kind of W, effects, n; None beyond what was."""
    n_units, effects = table.facts["n_units"], table.facts["fixed_effects"]
    n = next((measured for measured, reach in REACH if n_units <= reach), None)
    if n is None or table.facts["n_periods"] == 1:
        return None
    return "dense" if dense else "sparse", "two_way" if effects in ("time", "two_way") else "unit", n


def _instead(test: str, place: Place) -> str | None:
    """The test to read in place of one; None where that is off as well."""
    other = INSTEAD.get(test)
    return None if other is None or place in MEASURED.get(other, {}) else other


def _by_bootstrap(share: float | None) -> Text:
    """What was measured of the bootstrap p-value, as the end of a clause."""
    if share is None:
        return Text("", "")
    return Text(f", {100 * share:.1f} % by bootstrap", f"，自助法为 {100 * share:.1f} %")


#: A test, what was measured of it and of its bootstrap p-value, and the test to read instead.
Off = tuple[str, Measured, float | None, str | None]


@Kind
def tests_off_level(units: int, periods: int, tests: tuple[Off, ...]) -> Text:
    """Tests whose size is off at a panel of this size."""
    listing = _listing(tests)
    return Text(
        f"With {units} units and {periods} periods these tests do not keep their level of 5 % (measured rejection of a true "
        f"hypothesis, where it is worst; what to do instead): {listing.en}. {BY_DRAWS.en}",
        f"{units}个地区、{periods}个时期时，以下检验达不到5 %的名义水平（括号内为实测的对真原假设的最差拒绝率与替代办法）："
        f"{listing.zh}。{BY_DRAWS.zh}",
    )


@Kind
def tests_off_elsewhere(units: int, periods: int, tests: tuple[Off, ...]) -> Text:
    """Tests whose size is off at another number of periods, and was not measured at this one."""
    listing = _listing(tests)
    return Text(
        f"Sizes of tests were measured at {PERIODS} periods, not at {periods}. With {units} units and {PERIODS} periods "
        f"these do not keep their level of 5 % (rejection of a true hypothesis, where it is worst; what to do instead): "
        f"{listing.en}. {BY_DRAWS.en}",
        f"检验水平是在{PERIODS}个时期下实测的，{periods}个时期时未经实测。{units}个地区、{PERIODS}个时期时，以下检验"
        f"达不到5 %的名义水平（括号内为对真原假设的最差拒绝率与替代办法）：{listing.zh}。{BY_DRAWS.zh}",
    )


BY_DRAWS = Text(
    "bootstrap = 999 in [study], or diagnose(..., replicates=999), adds p-values made for few units (spatial-zb docs "
    "validation/study)",
    "在[study]中设bootstrap = 999（或diagnose(..., replicates=999)）可给出适于少量地区的p值"
    "（spatial-zb docs validation/study）",
)


def _listing(tests: tuple[Off, ...]) -> Text:
    """Each test with its worst size and what to read instead."""
    en, zh = ([], [])
    for test, measured, share, instead in tests:
        worst, drawn, read = f"{100 * measured.share:.0f} %", _by_bootstrap(share), READ[instead]
        en.append(f"{test} ({worst}, {measured.where}{drawn.en}; {read.en})")
        zh.append(f"{TESTS[test].zh}（{worst}，{measured.where}{drawn.zh}；{read.zh}）")
    return Text("; ".join(en), "；".join(zh))


def with_measured_sizes(table: TestTable, dense: bool) -> TestTable:
    """Write measured sizes into the notes of the rows, and warn once of all tests whose size is off."""
    place, off = _place(table, dense), {}
    for row in table.rows:
        measured = MEASURED.get(row.test, {}).get(place) if place else None
        if place and measured and np.isfinite(row.p_value) and not np.isfinite(row.p_bootstrap):
            share = BOOTSTRAP.get(row.test, {}).get(place)
            off[row.test] = (row.test, measured, share, _instead(row.test, place))
    if not place or not off:
        return table
    rows = [_with_size(row, place[2], off[row.test]) if row.test in off else row for row in table.rows]
    units, periods = table.facts["n_units"], table.facts["n_periods"]
    low, high = NEAR_PERIODS
    kind = tests_off_level if low <= periods <= high else tests_off_elsewhere
    note = kind(units, periods, tuple(off.values()))
    tell([note])
    return replace(table, rows=tuple(rows), notes=(*table.notes, note))


def _with_size(row: Row, n: int, off: Off) -> Row:
    _, measured, share, instead = off
    where, size = f"n = {n}, T = {PERIODS}, {measured.where}", f"{100 * measured.share:.1f} %"
    drawn, read = _by_bootstrap(share), READ[instead]
    note = Text(
        f"{row.note.en}; rejects {size} of true hypotheses at {where}{drawn.en}: {read.en}",
        f"{row.note.zh}；{where} 时对真原假设的拒绝率为 {size}{drawn.zh}：{read.zh}",
    )
    return replace(row, note=note)


#: Headings with their tests, in the order of print; within one, rows keep the order of the chain.
SECTIONS: dict[Text, tuple[str, ...]] = {
    Text("Spatial dependence of the least-squares residuals", "最小二乘残差的空间依赖性"): (
        "LM lag",
        "LM error",
        "LM lag, robust",
        "LM error, robust",
        "LM lag and error, joint",
    ),
    Text("Which spatial model", "空间模型的选择"): (
        "F Durbin terms, OLS to SLX",
        "LM Durbin terms from SAR",
        "LM error from SAR",
        "LM lag from SEM",
        "LM error from SDM",
        "Wald SDM to SAR",
        "LR SDM to SAR",
    ),
    Text("Common factor (SDM or SEM)", "公因子约束（SDM 或 SEM）"): (
        "LM common factor from SEM",
        "Wald SDM to SEM",
        "LR SDM to SEM",
    ),
    Text("Unit and time effects", "个体与时间效应"): (
        "F unit effects",
        "LR unit effects",
        "F time effects",
        "LR time effects",
        "F unit and time effects",
        "LR unit and time effects",
    ),
    Text("Fixed or random effects", "固定效应或随机效应"): (
        "Hausman",
        "Mundlak",
        "Hausman, spatial",
        "Mundlak, spatial",
    ),
    Text("Random effects and spatial errors", "随机效应与空间误差"): (
        "LM random effects (Breusch-Pagan)",
        "LM random effects and spatial error, joint (BSK)",
        "LM random effects, marginal (BSK)",
        "LM spatial error, marginal (BSK)",
        "LM spatial error given random effects (BSK)",
        "LM random effects given spatial error (BSK)",
    ),
    Text("Errors: over time, variances, law", "误差：时间相关、方差与分布"): (
        "Serial correlation (LM*)",
        "Serial correlation, forward and backward",
        "Variances and diagonal of G",
        "Variances and place in W",
        "Largest to smallest error sd of units",
        "Breusch-Pagan",
        "Koenker-Bassett",
        "Jarque-Bera",
    ),
    Text("Dependence left between units", "地区间剩余的相关性"): (
        "Cross-section dependence",
        "CD (Pesaran)",
        "Moran of residuals",
    ),
    Text("Collinearity (no tests)", "共线性（非检验）"): ("VIF", "Condition number"),
}


def by_section(
    table: TestTable, language: Language = "en", labels: Mapping[str, Text] | None = None
) -> list[tuple[Text, pd.DataFrame]]:
    """Pairs of heading and rows of the table as :meth:`~spatial_zb.base.results.TestTable.tidy` gives them.

    Every row is in one of them; a section without rows is left out.
    """
    parts = {
        heading: tuple(row for row in table.rows if row.test in tests) for heading, tests in SECTIONS.items()
    }
    return [
        (heading, replace(table, rows=rows).tidy(language, labels)) for heading, rows in parts.items() if rows
    ]
