"""Sets for weak instruments: reference values, a slow statistic by loops, identities, refusals, and a small simulation."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from small_examples import MUTUAL, rook, weights_of

import spatial_zb as zb
from spatial_zb.base.results import ConfidenceSet
from spatial_zb.base.text import Text
from spatial_zb.core.system.sets import Scalar, line_pieces, lowest, scalar_pieces, weak_moments
from spatial_zb.core.transforms import demean
from spatial_zb.report.tables.layouts.effects import pieces_cell
from spatial_zb.report.tables.table import TableStyle

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from validation import sets as study

pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")

FOLDER = Path(__file__).resolve().parents[1] / "reference"
ROUNDING = 1e-8  # two ways of computing one number
PRINTED = 0.006  # two decimals of the reference values
EQUATIONS = {
    "industry": zb.Equation(
        "industry", ["talent"], ["ln_pgdp", "fdi_gdp", "tertiary_share"], lag_endog=["talent"]
    ),
    "talent": zb.Equation(
        "talent", ["industry"], ["ln_pgdp", "ln_wage", "sci_share"], lag_endog=["industry"]
    ),
}
EVERY = ("ln_pgdp", "fdi_gdp", "tertiary_share", "ln_wage", "sci_share")


@pytest.fixture(scope="module")
def cities(real_cities) -> tuple[zb.Panel, zb.Weights]:
    """The system of the cities of the delta as it was when the reference values were computed."""
    data = pd.read_csv(FOLDER / "sets" / "data.csv", dtype={"city": str})
    W = real_cities["delta"][1]
    return zb.build_panel(data, "city", "year", units=W.ids), W


@pytest.fixture(scope="module")
def small() -> tuple[zb.SystemSpec, zb.Panel, zb.Weights]:
    W = weights_of(rook(5, 7), "rook")
    spec = zb.SystemSpec(
        {
            "industry": zb.Equation("ind", ["tal"], ["a"]),
            "talent": zb.Equation("tal", ["ind"], ["c", "d"], lag_y=True),
        },
        "two_way",
    )
    truth = zb.simulate.Truth(MUTUAL | {("talent", "d"): 0.7}, sigma=np.array([[1.0, 0.6], [0.6, 1.0]]))
    return spec, zb.simulate.system(spec, W, 7, truth, rng=4), W


# Reference values -----------------------------------------------------------------------------------------


def columns(panel: zb.Panel, names: list[str]) -> np.ndarray:
    return np.column_stack([demean(panel.array(name), "two_way").ravel() for name in names])


EXPECTED = json.loads((FOLDER / "sets" / "expected.json").read_text("utf-8"))
TWELVE = EXPECTED["weakest_f, twelve instruments"], EXPECTED["p of J, twelve instruments"]
FOUND = [(y, q, *(part[y] for part in TWELVE)) for y, q in (("industry", "talent"), ("talent", "industry"))]
LIMITS = EXPECTED["industry in the equation of talent, two instruments, W_industry = 0"]


@pytest.mark.parametrize(("y", "q", "weakest", "j_p"), FOUND)
def test_twelve_instruments_say_what_an_independent_program_found(cities, y, q, weakest, j_p):
    """All lags up to W² of all exogenous variables: more than the public function takes."""
    panel, W = cities
    dense = W.matrix.toarray()
    lag = lambda values, power: values @ np.linalg.matrix_power(dense, power).T  # noqa: E731
    own = EQUATIONS[y].x
    raw = [panel.array(v) for v in EVERY if v not in own]
    raw += [lag(panel.array(v), power) for power in (1, 2) for v in EVERY]
    Z = np.column_stack([demean(values, "two_way").ravel() for values in raw])
    Y = np.column_stack(
        [
            demean(v, "two_way").ravel()
            for v in (panel.array(q), lag(panel.array(y), 1), lag(panel.array(q), 1))
        ]
    )
    moments = weak_moments(
        demean(panel.array(y), "two_way").ravel(), Y, columns(panel, list(own)), Z, 41, True
    )
    assert (moments.k, moments.form) == (12, "score")
    away, least = (float(lowest(moments, span[None])[0][0]) for span in (np.eye(4)[:, 1:], np.eye(4)))
    assert moments.f(away, 2)[0] == pytest.approx(weakest, abs=PRINTED)
    assert moments.f(least, 3)[1] == pytest.approx(j_p, abs=PRINTED)
    b = moments.two_stage()
    scalar = Scalar(np.eye(4)[0], -np.eye(4)[1], np.eye(4)[:, 2:], float(b[0]), 1.0)
    assert scalar_pieces(moments, scalar, (moments.critical(0.95, 2),)) == [((-np.inf, np.inf),)]


def test_no_sign_is_known_of_the_cities(cities):
    spec = zb.SystemSpec(EQUATIONS, "two_way")
    found = {name: zb.confidence_set(spec, *cities, equation=name) for name in EQUATIONS}
    for name, weakest in EXPECTED["weakest_f, seven instruments"].items():
        assert found[name].facts["weakest_f"] == pytest.approx(weakest, abs=PRINTED)
        assert found[name].facts["instruments"] == 7
        assert not found[name].facts["bounded"]
        assert [one.shape for one in found[name]] == ["whole"] * 4
        assert [one.sign for one in found[name]] == [0] * 4
    assert found["industry"]["talent"].words("zh") == "任何取值"


@pytest.mark.parametrize(("said", "limits"), LIMITS.items())
def test_given_spatial_terms_leave_one_unknown(cities, said, limits):
    psi = float(said.split()[-1])
    spec = zb.SystemSpec(EQUATIONS, "two_way")
    given = {"W_industry": 0.0, "W_talent": psi}
    found = zb.confidence_set(
        spec, *cities, equation="talent", given=given, instruments=["fdi_gdp", "tertiary_share"]
    )
    assert found["industry"].pieces[0] == pytest.approx(tuple(limits), abs=PRINTED)
    assert found["industry"].guaranteed == found["industry"].pieces  # nothing to minimise over
    other = zb.confidence_set(spec, *cities, equation="industry", given={"W_industry": psi, "W_talent": 0.0})
    assert other["talent"].shape in ("whole", "gap", "interval")
    for end in np.ravel(other["talent"].pieces):
        if np.isfinite(end):
            assert other.test(talent=end) == pytest.approx(0.05, abs=ROUNDING)


# An independent slow statistic ------------------------------------------------------------------------------


class Slow:
    """The statistic from raw columns with dummies for effects, by loops over units."""

    def __init__(self, y, Y, X, Z, n: int, form: str) -> None:
        T = len(y) // n
        dummies = np.column_stack([np.tile(np.eye(n), (T, 1)), np.repeat(np.eye(T), n, axis=0)[:, 1:]])
        self.base, self.n, self.form = np.column_stack([dummies, X]), n, form
        self.y, self.Y = y, Y
        self.Z = np.linalg.qr(self.off(self.base, Z))[0]
        whole = np.column_stack([self.base, self.Z])
        self.left = np.eye(len(y)) - whole @ np.linalg.pinv(whole)

    @staticmethod
    def off(base, columns):
        return columns - base @ np.linalg.lstsq(base, columns, rcond=None)[0]

    def at(self, b) -> float:
        u = self.off(self.base, self.y - self.Y @ np.asarray(b))
        g = self.Z.T @ u
        omega, n = np.zeros((len(g), len(g))), self.n
        e = self.left @ u
        for i in range(n):
            rows = np.arange(i, len(u), n)
            if self.form == "score":
                r = self.Z[rows].T @ u[rows] - g / n
                omega += n / (n - 1) * np.outer(r, r)
            else:
                r = self.Z[rows].T @ np.linalg.pinv(self.left[np.ix_(rows, rows)], rcond=1e-8) @ e[rows]
                omega += (n - 1) / n * np.outer(r, r)
        return float(g @ np.linalg.solve(omega, g))


@pytest.fixture(scope="module")
def drawn():
    """Raw arrays of 12 units and 5 periods: y, two endogenous columns, one regressor, three middling instruments."""
    rng = np.random.default_rng(11)
    Z, X = rng.standard_normal((60, 3)), rng.standard_normal((60, 1))
    u, v, w = rng.standard_normal((3, 60))
    Y = np.column_stack(
        [0.9 * Z[:, 0] + 0.5 * Z[:, 1] + 0.7 * u + v, 0.8 * Z[:, 2] - 0.5 * Z[:, 0] + v - 0.4 * u + w]
    )
    return Y @ [0.4, -0.2] + X[:, 0] + u, Y, X, Z


def flat(values: np.ndarray) -> np.ndarray:
    return np.column_stack([demean(c.reshape(5, 12), "two_way").ravel() for c in np.atleast_2d(values.T)])


@pytest.mark.parametrize("form", ["score", "cr3"])
def test_loops_and_a_grid_give_the_same_sets(drawn, form):
    y, Y, X, Z = drawn
    slow = Slow(y, Y, X, Z, 12, form)
    moments = weak_moments(flat(y)[:, 0], flat(Y), flat(X), flat(Z), 12, True, form)
    for b in ([0.0, 0.0], [0.4, -0.2], [3.0, 5.0]):
        assert moments.value(np.array([1.0, *-np.array(b)])) == pytest.approx(slow.at(b), rel=ROUNDING)
    unit = np.eye(3)
    critical = moments.critical(0.95, 1)
    scalar = Scalar(unit[0], -unit[1], unit[:, [2]], float(moments.two_stage()[0]), 0.5)
    [pieces] = scalar_pieces(moments, scalar, (critical,))
    other = np.tan(np.linspace(-1.57, 1.57, 1501))
    for b in np.tan(np.linspace(-1.5, 1.5, 7)):
        least = min(slow.at([b, second]) for second in other[::50])
        candidates = moments.value(np.column_stack([np.ones(1501), np.full(1501, -b), -other]))
        least = min(least, float(candidates.min()))
        held = any(low <= b <= high for low, high in pieces)
        assert held == (least <= critical) or abs(least - critical) < 0.02 * critical
    ends = [end for end in np.ravel(pieces) if np.isfinite(end)]
    spans = np.array([np.column_stack([unit[0] - b * unit[1], unit[2]]) for b in ends]).reshape(-1, 3, 2)
    assert lowest(moments, spans)[0] == pytest.approx(critical, rel=1e-6)


def test_a_line_is_cut_exactly_where_the_statistic_crosses(drawn):
    y, Y, X, Z = drawn
    moments = weak_moments(flat(y)[:, 0], flat(Y), flat(X), flat(Z), 12, True)
    unit, grid = np.eye(3), np.tan(np.linspace(-1.55, 1.55, 3001))
    shapes = set()
    for second in (-3.0, -0.2, 0.0, 0.5, 4.0):
        c0 = unit[0] - second * unit[2]
        for critical in (2.0, 5.0, moments.critical(0.95), 60.0):
            pieces = line_pieces(moments, c0, -unit[1], critical)
            values = moments.value(c0 - grid[:, None] * unit[1])
            held = (
                np.any([(grid >= low) & (grid <= high) for low, high in pieces], axis=0)
                if pieces
                else grid > np.inf
            )
            assert np.array_equal(held, values <= critical)
            shapes.add(ConfidenceSet("b", 0.0, pieces, (-np.inf, np.inf), 0.95, critical).shape)
    assert len(shapes) > 1


def test_the_null_imposed_is_hotellings_statistic(drawn):
    y, Y, X, Z = drawn
    moments = weak_moments(flat(y)[:, 0], flat(Y), flat(X), flat(Z), 12, True, "score")
    c = np.array([1.0, -0.3, 0.6])
    Q = np.linalg.qr(flat(X))[0]
    V = np.column_stack([flat(y), flat(Y)])
    Zo = np.linalg.qr(flat(Z) - Q @ (Q.T @ flat(Z)))[0]
    h = np.array([Zo[i::12].T @ (V - Q @ (Q.T @ V))[i::12] @ c for i in range(12)])
    uncentred = h.sum(0) @ np.linalg.solve(h.T @ h, h.sum(0))
    assert moments.value(c) == pytest.approx(11 * uncentred / (12 - uncentred), rel=ROUNDING)
    assert moments.value(-7 * c) == pytest.approx(moments.value(c), rel=ROUNDING)
    t2 = stats.f.sf(moments.value(c) * 9 / (3 * 11), 3, 9)
    assert moments.f(float(moments.value(c)))[1] == pytest.approx(t2, rel=ROUNDING)


def test_no_minimum_is_missed():
    """Against sixty random starts, in panels with strong, weak and useless instruments."""
    for strength in (1.0, 0.2, 0.0):
        moments, _ = study.drawn((41, 3, 5, strength, "ar"), 3)
        unit = np.eye(4)
        spans = np.stack([np.column_stack([unit[0] - b * unit[1], unit[:, 2:]]) for b in (-1.0, 0.3, 2.0)])
        more = np.random.default_rng(1).standard_normal((3, 60, 3))
        found = lowest(moments, spans)[0]
        again = lowest(moments, spans, np.einsum("bsr,bpr->bsp", more, spans))[0]
        assert found == pytest.approx(again, rel=1e-6)


# Invariance -----------------------------------------------------------------------------------------------


def test_sets_follow_their_units_and_not_the_order_of_the_regions(small):
    spec, panel, W = small
    found = zb.confidence_set(spec, panel, W, equation="industry", parameters=["tal", "W_ind"])
    assert found.facts["form"] == "score"
    scaled = panel.with_columns({"tal": 100 * panel.array("tal")})
    other = zb.confidence_set(spec, scaled, W, equation="industry", parameters=["tal", "W_ind"])
    assert np.array(other["tal"].pieces) * 100 == pytest.approx(np.array(found["tal"].pieces), rel=1e-5)
    assert np.array(other["W_ind"].guaranteed) == pytest.approx(np.array(found["W_ind"].guaranteed), rel=1e-5)
    order = list(W.ids[np.random.default_rng(0).permutation(W.n)])
    again = zb.confidence_set(spec, panel.select(units=order), W, equation="industry", parameters=["tal"])
    assert np.array(again["tal"].pieces) == pytest.approx(np.array(found["tal"].pieces), rel=1e-6)


def test_the_guaranteed_set_is_wider_and_a_higher_level_too(small):
    spec, panel, W = small
    found = zb.confidence_set(spec, panel, W, equation="industry", parameters=["tal", "total:tal"])
    higher = zb.confidence_set(
        spec, panel, W, equation="industry", parameters=["tal", "total:tal"], level=0.99
    )
    for one, other in zip(found, higher, strict=True):
        (low, high), (lower, wider) = one.pieces[0], one.guaranteed[0]
        assert lower < low < high < wider
        assert other.conf_low < low < high < other.conf_high
        assert one.estimate in one
    truth = {"tal": 0.3, "W_ind": 0.3}
    assert (found.test(**truth) > 0.05) == (
        found.moments.value(np.array([1, -0.3, -0.3])) <= found.moments.critical(0.95)
    )


def test_a_total_effect_is_the_coefficient_where_nothing_spreads(small):
    spec, panel, W = small
    alone = zb.SystemSpec(
        dict(spec.equations) | {"industry": zb.Equation("ind", ["tal"], ["a"], lag_y=False)}, "two_way"
    )
    found = zb.confidence_set(alone, panel, W, equation="industry")
    assert found["total:tal"].pieces == found["tal"].pieces == found["tal"].guaranteed
    [(low, high)] = found["tal"].pieces
    assert [found.test(tal=low), found.test(tal=high)] == pytest.approx([0.05, 0.05], abs=1e-6)


def test_the_total_effect_has_the_profile_of_a_brute_search(small):
    """m(τ) over ψ: the least statistic over all (γ, ψ) with γ = τ(1 − ψ)."""
    spec, panel, W = small
    found = zb.confidence_set(spec, panel, W, equation="industry", parameters=["total:tal"])
    one = found["total:tal"]
    psi = np.tan(np.linspace(-1.56, 1.56, 20001))
    for tau, held in [
        (one.conf_low - 0.05, False),
        (one.conf_low + 0.02, True),
        (one.conf_high + 0.05, False),
    ]:
        c = np.column_stack([np.ones_like(psi), -tau * (1 - psi), -psi])
        assert (found.moments.value(c).min() <= one.critical) == held


def test_a_fit_puts_its_wald_limits_beside(small):
    spec, panel, W = small
    fit = zb.fit_system(spec, panel, W, "2sls", covariance="cluster")
    found = zb.confidence_set(fit, equation="industry")
    own = fit.tidy().set_index(["equation", "term"]).loc[("industry", "tal")]
    assert found.wald.loc["tal", ["estimate", "conf_low", "conf_high"]].to_numpy(float) == pytest.approx(
        own[["estimate", "conf_low", "conf_high"]].to_numpy(float)
    )
    gamma, psi = own["estimate"], fit.params[("industry", "W_ind")]
    assert found.wald.loc["total:tal", "estimate"] == pytest.approx(gamma / (1 - psi))
    assert found["tal"].estimate == own["estimate"]
    assert set(found.tidy()["set"]) == {"plug-in", "projection"}
    table = zb.tables.sets_table([found])
    assert table.notes[0].en.startswith("Sets and intervals of 95 %. ")
    assert [row.cells[0].en for row in table.rows[1:]] == ["tal", "W × ind", "Total: tal"]
    assert all(re.fullmatch(r"\[-?[\d.]+, -?[\d.]+\]", str(cell)) for cell in table.rows[1].cells[2:])


def test_every_shape_has_its_cell():
    style = TableStyle()
    assert pieces_cell(((-np.inf, 1.0), (2.5, np.inf)), style) == "(−∞, 1.000] ∪ [2.500, ∞)"
    assert pieces_cell(((-np.inf, np.inf),), style) == "(−∞, ∞)"
    assert Text.of(pieces_cell((), style)).zh == "空集"


# Words and refusals ---------------------------------------------------------------------------------------

INF = np.inf
SHAPES = {
    (): ("empty", "none: the data reject every value"),
    ((-INF, INF),): ("whole", "every value"),
    ((0.1, 0.5),): ("interval", "between 0.100 and 0.500"),
    ((-INF, 0.5),): ("ray", "up to 0.500"),
    ((0.25, INF),): ("ray", "from 0.250 upwards"),
    ((-INF, -1.0), (2.0, INF)): ("gap", "every value but those between -1.000 and 2.000"),
    ((-INF, -1.0), (0.0, 0.5), (2.0, INF)): (
        "pieces",
        "up to -1.000, or between 0.000 and 0.500, or from 2.000 upwards",
    ),
}


@pytest.mark.parametrize("pieces", SHAPES)
def test_every_shape_has_its_words(pieces):
    one = ConfidenceSet("b", 0.3, pieces, (-INF, INF), 0.95, 3.0)
    assert (one.shape, one.words()) == SHAPES[pieces]
    assert one.words("zh") != one.words()
    assert one.sign == (1 if pieces in (((0.1, 0.5),), ((0.25, INF),)) else 0)
    assert "None" not in repr(one)


def test_what_cannot_be_done_is_refused_with_the_remedy(small, cities):
    spec, panel, W = small
    ask = lambda **more: zb.confidence_set(spec, panel, W, **({"equation": "industry"} | more))  # noqa: E731
    cases = {
        "equation must be one of": {"equation": "wages"},
        "parameters must be one of": {"parameters": ["a"]},
        "parameters is a list": {"parameters": "tal"},
        "given must be one of": {"given": {"a": 1.0}},
        "nothing is left to find": {"given": {"tal": 0.1, "W_ind": 0.1}},
        "cannot be an instrument": {"instruments": ["a", "c"]},
        "need at least 2, and 35 units carry at most 7": {"instruments": ["c"]},
    }
    for words, options in cases.items():
        with pytest.raises(zb.SpecificationError, match=words) as caught:
            ask(**options)
        assert caught.value.zh != str(caught.value)
    few = list(W.ids[:11])
    eleven = panel.select(units=few)
    narrow = zb.Weights(W.matrix[:11][:, :11], few, "path").standardise()
    three = zb.SystemSpec(
        {
            "industry": zb.Equation("ind", ["tal"], ["a"], lag_endog=["tal"]),
            "talent": zb.Equation("tal", ["ind"], ["c", "d"]),
        },
        "two_way",
    )
    with pytest.raises(zb.SpecificationError, match=r"11 units\s*carry 2 .* Use 15 units or more"):
        zb.confidence_set(three, eleven, narrow, equation="industry")
    spatial = zb.SystemSpec(
        {
            "industry": zb.Equation("ind", ["tal"], ["a"], lag_error=True),
            "talent": zb.Equation("tal", ["ind"], ["c", "d"]),
        },
        "two_way",
    )
    with pytest.raises(zb.SpecificationError, match="lag_error=False"):
        zb.confidence_set(spatial, panel, W, equation="industry")
    over_time = zb.SystemSpec(dict(spec.equations), "two_way", time_lag=True)
    with pytest.raises(zb.SpecificationError, match="no lags in time"):
        zb.confidence_set(over_time, panel, W, equation="industry")
    with pytest.raises(zb.SpecificationError, match="a value for each of"):
        ask().test(tal=0.1)


# A small simulation ---------------------------------------------------------------------------------------


def test_useless_instruments_leave_sets_without_bounds():
    """Eleven units and two instruments of noise under errors that last over time."""
    table = study.run_cell((11, 1, 2, 0.0, "ar"), 150).set_index("of")
    assert stats.binomtest(round(150 * table.loc["joint", "coverage"]), 150, 0.95).pvalue > 0.01
    assert table.loc["gamma", "open"] > 0.9
    assert table.loc["gamma", "coverage_wald"] < 0.8
