"""Tests that do not keep their level, and what to read instead; the parts of the chain as it is printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from spatial_zb.base.notes import Kind, Note, tell
from spatial_zb.base.results import Row, TestTable
from spatial_zb.base.text import Language, Text
from spatial_zb.hypotheses.case import TESTS
from spatial_zb.hypotheses.over_time import SERIAL
from spatial_zb.hypotheses.panel import CROSS_SECTION, LAG_ERROR, SPREAD, VARIANCES
from spatial_zb.hypotheses.random import MARGINAL
from spatial_zb.models.notes import ROBUST_SCORE

if TYPE_CHECKING:
    import pandas as pd


Place = tuple[str, str, int]
SIGNS = {"rho": "ρ", "lam": "λ"}
#: Periods of the simulation, and those to which its sizes are taken to hold: elsewhere they are said to be unmeasured.
PERIODS, NEAR_PERIODS = 11, (8, 16)


@dataclass(frozen=True, slots=True)
class Measured:
    """How often a test rejects a true hypothesis at 5 %, and the spatial coefficient of the data where it is worst.

    ``drawn``: the same of its bootstrap p-value, where there is one.
    """

    share: float
    coefficient: Literal["rho", "lam"]
    value: float
    drawn: float | None = None
    periods: int = PERIODS

    @property
    def where(self) -> str:
        """The coefficient in the signs of any language."""
        return f"{SIGNS[self.coefficient]} = {self.value:g}"


#: Rejection of a true hypothesis at 5 %, for the tests that leave 4-6 % by more than twice the error of the simulation:
#: by (sparse or dense W, unit or two-way effects, n), with the ρ or λ of the data where it is worst, and the size of the
#: bootstrap p-value furthest from 5 %. Two regressors, T = 11, normal errors; sparse is contiguity, dense inverse
#: distance; all tests in docs/validation/test_size.csv and null_sizes.csv. Of "uneven" panels (half the units late,
#: contiguity) tests that reject too often at 4 or 11 periods: docs/validation/shape_tests.csv.
MEASURED: dict[str, dict[Place, Measured]] = {
    "LM lag, robust": {
        ("sparse", "unit", 11): Measured(0.127, "lam", 0.6, 0.043),
        ("sparse", "unit", 41): Measured(0.161, "lam", 0.6, 0.041),
        ("sparse", "unit", 90): Measured(0.172, "lam", 0.6, 0.057),
        ("sparse", "two_way", 11): Measured(0.108, "lam", 0.6, 0.067),
        ("sparse", "two_way", 41): Measured(0.161, "lam", 0.6, 0.052),
        ("sparse", "two_way", 90): Measured(0.142, "lam", 0.6, 0.054),
        ("dense", "unit", 11): Measured(0.314, "lam", 0.6, 0.059),
        ("dense", "unit", 41): Measured(0.323, "lam", 0.6, 0.054),
        ("dense", "unit", 90): Measured(0.288, "lam", 0.6, 0.042),
        ("dense", "two_way", 11): Measured(0.082, "lam", 0.6, 0.056),
        ("dense", "two_way", 41): Measured(0.083, "lam", 0.6, 0.045),
        ("dense", "two_way", 90): Measured(0.095, "lam", 0.6, 0.048),
        ("uneven", "unit", 11): Measured(0.1475, "lam", 0.6, periods=4),
        ("uneven", "unit", 41): Measured(0.1425, "lam", 0.6),
        ("uneven", "unit", 90): Measured(0.115, "lam", 0.6, periods=4),
        ("uneven", "two_way", 11): Measured(0.1175, "lam", 0.6),
        ("uneven", "two_way", 41): Measured(0.1775, "lam", 0.6),
        ("uneven", "two_way", 90): Measured(0.1325, "lam", 0.6),
    },
    "LM error, robust": {
        ("sparse", "unit", 11): Measured(0.021, "rho", 0.6, 0.044),
        ("sparse", "unit", 41): Measured(0.237, "rho", 0.6, 0.045),
        ("sparse", "unit", 90): Measured(0.31, "rho", 0.6, 0.046),
        ("sparse", "two_way", 41): Measured(0.194, "rho", 0.6, 0.034),
        ("sparse", "two_way", 90): Measured(0.301, "rho", 0.6, 0.045),
        ("dense", "unit", 11): Measured(0.61, "rho", 0.6, 0.062),
        ("dense", "unit", 41): Measured(0.92, "rho", 0.6, 0.03),
        ("dense", "unit", 90): Measured(0.929, "rho", 0.6, 0.031),
        ("dense", "two_way", 41): Measured(0.086, "rho", 0.6, 0.057),
        ("dense", "two_way", 90): Measured(0.105, "rho", 0.6, 0.059),
        ("uneven", "unit", 11): Measured(0.085, "rho", 0.6),
    },
    "LR SDM to SAR": {
        ("dense", "unit", 41): Measured(0.074, "rho", 0.3, 0.061),
    },
    "Wald SDM to SEM": {
        ("dense", "unit", 11): Measured(0.089, "lam", 0.6, 0.065),
        ("dense", "unit", 41): Measured(0.075, "lam", 0.6, 0.045),
    },
    "LR SDM to SEM": {
        ("dense", "unit", 11): Measured(0.093, "lam", 0.6, 0.065),
    },
    "Wald SDM to SAR": {
        ("dense", "unit", 11): Measured(0.077, "rho", 0.0, 0.047),
    },
    "LM error from SDM": {
        ("dense", "unit", 41): Measured(0.076, "rho", 0.0, 0.067),
    },
}
#: Up to how many units the figures of each measured n are taken to hold.
REACH = ((11, 25), (41, 65), (90, 130))
#: Errors as on city panels, by the test that finds them: which tests of spatial terms they put off is in UNDER.
CORRELATED, TIED = SERIAL[0], VARIANCES[1]
#: From this p-value on errors are taken to be so: that from which fits warn.
FOUND_P = 0.01
#: (Lowest, highest) share in which the tests of SPATIAL reject true hypotheses at 5 % under AR(1) errors of 0.6, or a spread
#: three times as large in the quarter of units with the largest (W²)_ii; and that of clustered Wald tests. By (n, T):
#: contiguity, two-way effects, ρ or λ of 0.3, regressors AR(1) 0.7; docs/validation/lifelike_tests.csv.
UNDER: dict[str, dict[tuple[int, int], tuple[float, float, float]]] = {
    CORRELATED: {
        (11, 4): (0.06, 0.115, 0.08),
        (11, 11): (0.115, 0.21, 0.085),
        (11, 20): (0.135, 0.225, 0.08),
        (41, 4): (0.035, 0.105, 0.065),
        (41, 11): (0.135, 0.21, 0.06),
        (41, 20): (0.15, 0.365, 0.085),
    },
    TIED: {
        (11, 4): (0.025, 0.085, 0.05),
        (11, 11): (0.015, 0.085, 0.02),
        (11, 20): (0.035, 0.085, 0.02),
        (41, 4): (0.05, 0.195, 0.035),
        (41, 11): (0.075, 0.255, 0.05),
        (41, 20): (0.07, 0.205, 0.06),
    },
}
#: Where that test finds the study's own residuals in a tenth of the panels only: the same shares under these.
HIDDEN, UNSEEN = "hidden", {(11, 4): (0.085, 0.13, 0.09)}
#: TIED on panels of any shape, whose robust score takes the units that are always there.
TIED_ROWS = "Variances and place in W, rows"
#: The tests of spatial terms that were measured under such errors.
SPATIAL = (
    *LAG_ERROR,
    "LM Durbin terms from SAR",
    "LM error from SAR",
    "LM lag from SEM",
    "LM common factor from SEM",
    "Wald SDM to SAR",
    "LR SDM to SAR",
    "Wald SDM to SEM",
    "LR SDM to SEM",
)
#: Up to how many periods the figures of each measured T are taken to hold.
REACH_PERIODS = ((4, 7), (11, 16), (20, 30))
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
#: Tests that allow for a small coefficient beside the one they test only.
SMALL_ONLY = {"LM lag, robust": "λ", "LM error, robust": "ρ"}
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
    n_units, effects, uneven = table.facts["n_units"], table.facts["fixed_effects"], _uneven(table)
    n = next((measured for measured, reach in REACH if n_units <= reach), None)
    if n is None or table.facts["n_periods"] == 1 or (uneven and dense):
        return None
    kind = "uneven" if uneven else "dense" if dense else "sparse"
    return (
        kind,
        "two_way" if effects in ("time", "two_way") or (uneven and "period" in effects) else "unit",
        n,
    )


def _uneven(table: TestTable) -> bool:
    """Whether the tests are those of a panel of any shape."""
    return table.facts["estimator"] == "adjusted_score"


def _instead(test: str, place: Place) -> str | None:
    """The test to read in place of one; None where that is off as well."""
    other = INSTEAD.get(test)
    return None if other is None or place in MEASURED.get(other, {}) else other


def _by_bootstrap(share: float | None) -> Text:
    """What was measured of the bootstrap p-value, as the end of a clause."""
    if share is None:
        return Text("", "")
    return Text(f", {100 * share:.1f} % by bootstrap", f"，自助法为 {100 * share:.1f} %")


#: A test, what was measured of it, and the test to read instead.
Off = tuple[str, Measured, str | None]


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


@Kind
def tests_off_on_rows(tests: tuple[Off, ...]) -> Text:
    """Tests whose size is off on panels of any shape with so many units."""
    listing = _listing(tests)
    return Text(
        "Measured with half the units late (contiguity, 4 and 11 periods), these tests reject true hypotheses more often "
        f"than 5 % (share where it is worst; what to do instead): {listing.en}. They have no bootstrap p-value here",
        "在半数地区晚进入的面板上实测（邻接、4与11个时期），以下检验对真原假设的拒绝率高于5 %"
        f"（括号内为最差的拒绝率与替代办法）：{listing.zh}。此处它们没有自助法p值",
    )


@Kind
def tests_under_errors(cause: str, measured: tuple[int, int, float, float, float] | None) -> Text:
    """Errors that the tests of spatial terms, and their bootstrap, do not allow for; what was measured of the tests here."""
    found, made = FINDINGS[cause], MADE[cause]
    if measured is None:
        shares = Text(
            "How far from 5 % that puts them was not measured for this W, number of units and of periods",
            "对本例的W、地区数与时期数，偏离5 %的程度未经实测",
        )
    else:
        n, T, low, high, _ = measured
        shares = Text(
            f"Under {made.en} ({n} units, {T} periods, a sparse W) they reject {100 * low:.0f}–{100 * high:.0f} % of true "
            "hypotheses at 5 %",
            f"{made.zh}下（{n}个地区、{T}个时期、稀疏W），"
            f"它们在5 %水平上对真原假设的拒绝率为{100 * low:.0f}–{100 * high:.0f} %",
        )
    read = READ_UNDER[cause]
    by = f" ({100 * measured[-1]:.0f} %)" if measured and cause != TIED else ""
    return Text(
        f"{found.en}. Tests of spatial lags, spatial errors and Durbin terms take errors as independent with equal "
        f"variances, and so do their bootstrap p-values. {shares.en}. {read.en}{by}",
        f"{found.zh}。空间滞后、空间误差与杜宾项的检验及其自助法p值都假定误差独立且方差相等。{shares.zh}。{read.zh}{by}",
    )


FINDINGS = {
    CORRELATED: Text("Errors of a unit are correlated over time", "同一地区的误差跨期相关"),
    TIED: Text("Variances of errors go with the place of units in W", "误差方差随地区在W中的位置而变"),
    HIDDEN: Text(
        "So few units and periods do not show whether errors last (found in 9 % of panels where they do)",
        "地区与时期太少，看不出误差是否持久（误差持久的面板中只有9 %被发现）",
    ),
}
MADE = {
    CORRELATED: Text("errors with a first-order correlation of 0.6", "一阶相关为0.6的误差"),
    TIED: Text(
        "a spread three times as large in units with the largest (W²)_ii", "(W²)_ii最大的地区误差标准差为三倍"
    ),
    HIDDEN: Text("errors that last as those of cities", "与城市面板同样持久的误差"),
}
READ_UNDER = {
    CORRELATED: Text(
        'Fit the spatial Durbin model with covariance="cluster" and read zb.tests.simplification_tests(fit), Wald',
        '请用covariance="cluster"估计SDM，并看zb.tests.simplification_tests(fit)的Wald检验',
    ),
    TIED: Text(f"Read the spatial Durbin model by {ROBUST_SCORE}", f"请看{ROBUST_SCORE}估计的SDM"),
    TIED_ROWS: Text(
        f"Compare the spatial Durbin model with {ROBUST_SCORE} of the units that are always there",
        f"请与各期齐全地区的{ROBUST_SCORE}估计的SDM比较",
    ),
}
READ_UNDER[HIDDEN], FINDINGS[TIED_ROWS], MADE[TIED_ROWS] = READ_UNDER[CORRELATED], FINDINGS[TIED], MADE[TIED]


def _under(table: TestTable, dense: bool) -> list[Note]:
    """Which errors the table itself finds, and what was measured of the other tests under them."""
    rows = {row.test: row.p_value for row in table.rows}
    n, T = (
        next((at for at, reach in reaches if table.facts[name] <= reach), None)
        for name, reaches in (("n_units", REACH), ("n_periods", REACH_PERIODS))
    )
    uneven = _uneven(table)
    place = None if dense or uneven or n is None or T is None else (n, T)  # complete panels were measured
    notes = []
    for cause, measured in UNDER.items():
        if rows.get(cause, np.nan) < FOUND_P:
            shares = measured.get(place) if place else None
            found = TIED_ROWS if uneven and cause == TIED else cause
            notes.append(tests_under_errors(found, (*place, *shares) if place and shares else None))
        elif cause == CORRELATED and cause in rows and place in UNSEEN:  # silence says nothing
            notes.append(tests_under_errors(HIDDEN, (*place, *UNSEEN[place])))
    return notes


BY_DRAWS = Text(
    "bootstrap = 999 in [study], or diagnose(..., replicates=999), adds p-values made for few units (spatial-zb docs "
    "validation/study)",
    "在[study]中设bootstrap = 999（或diagnose(..., replicates=999)）可给出适于少量地区的p值"
    "（spatial-zb docs validation/study）",
)


def _listing(tests: tuple[Off, ...]) -> Text:
    """Each test with its worst size and what to read instead."""
    en, zh = ([], [])
    for test, measured, instead in tests:
        worst, drawn, read = f"{100 * measured.share:.0f} %", _by_bootstrap(measured.drawn), READ[instead]
        en.append(f"{test} ({worst}, {measured.where}{drawn.en}; {read.en})")
        zh.append(f"{TESTS[test].zh}（{worst}，{measured.where}{drawn.zh}；{read.zh}）")
    return Text("; ".join(en), "；".join(zh))


def with_measured_sizes(table: TestTable, dense: bool) -> TestTable:
    """Write measured sizes into the notes of the rows; warn once of all tests off their size, and of errors that do it."""
    place, off, rows = _place(table, dense), {}, []
    for row in table.rows:
        if np.isfinite(row.p_value) and not np.isfinite(row.p_bootstrap):
            measured = MEASURED.get(row.test, {}).get(place) if place else None
            if place and measured:
                off[row.test] = (row.test, measured, _instead(row.test, place))
                row = _with_size(row, place, off[row.test])
            elif not place and row.test in SMALL_ONLY:
                row = _unmeasured(table, row)
        rows.append(row)
    table, notes = replace(table, rows=tuple(rows)), _under(table, dense)
    if off:
        units, periods, tests = table.facts["n_units"], table.facts["n_periods"], tuple(off.values())
        low, high = NEAR_PERIODS
        kind = tests_off_level if low <= periods <= high else tests_off_elsewhere
        notes.insert(0, tests_off_on_rows(tests) if _uneven(table) else kind(units, periods, tests))
    if not notes:
        return table
    tell(notes)
    return replace(table, notes=(*table.notes, *notes))


def _with_size(row: Row, place: Place, off: Off) -> Row:
    _, measured, instead = off
    late = Text(", half the units late", "（半数地区晚进入）") if place[0] == "uneven" else Text("", "")
    where = f"n = {place[2]}, T = {measured.periods}, {measured.where}"
    size, drawn, read = f"{100 * measured.share:.1f} %", _by_bootstrap(measured.drawn), READ[instead]
    note = Text(
        f"{row.note.en}; rejects {size} of true hypotheses at {where}{late.en}{drawn.en}: {read.en}",
        f"{row.note.zh}；{where}{late.zh or ' '}时对真原假设的拒绝率为 {size}{drawn.zh}：{read.zh}",
    )
    return replace(row, note=note)


def _unmeasured(table: TestTable, row: Row) -> Row:
    """What a robust test allows for, where how far that puts it off was not measured."""
    beside, instead = SMALL_ONLY[row.test], INSTEAD[row.test]
    other = table.row(instead)
    read = READ[instead] if other is not None and np.isfinite(other.p_value) else None
    note = Text(
        f"{row.note.en}; allows for a small {beside} only{f': {read.en}' if read else ''}",
        f"{row.note.zh}；仅容许较小的 {beside}{f'：{read.zh}' if read else ''}",
    )
    return replace(row, note=note)


#: Headings with their tests, in the order of print; within one, rows keep the order of the chain.
SECTIONS: dict[Text, tuple[str, ...]] = {
    Text("Spatial dependence of the least-squares residuals", "最小二乘残差的空间依赖性"): LAG_ERROR,
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
        *MARGINAL,
        "LM spatial error given random effects (BSK)",
        "LM random effects given spatial error (BSK)",
    ),
    Text("Errors: over time, variances, law", "误差：时间相关、方差与分布"): (
        *SERIAL,
        *VARIANCES,
        SPREAD,
        *CROSS_SECTION,
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
