"""Systems that cannot be estimated, and those that can but need a word."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from small_examples import MUTUAL, durbin_fit, lopsided_circle

from spatial_zb.base.errors import (
    AlignmentError,
    DataError,
    SpatialZbError,
    SpatialZbWarning,
    SpecificationError,
)
from spatial_zb.data.panel import Panel
from spatial_zb.hypotheses.nested import likelihood_ratio, restriction_tests
from spatial_zb.models.system import fit_system
from spatial_zb.models.system.spec import Equation, SystemSpec
from spatial_zb.simulate import system as simulate_system
from spatial_zb.weights.matrix import Weights


def system(
    first: dict | None = None, second: dict | None = None, fixed_effects: str = "two_way"
) -> SystemSpec:
    a = {"y": "ind", "endog": ["tal"], "x": ["a"], "lag_endog": ["tal"]} | (first or {})
    b = {"y": "tal", "endog": ["ind"], "x": ["c"], "lag_endog": ["ind"]} | (second or {})
    return SystemSpec({"industry": Equation(**a), "talent": Equation(**b)}, fixed_effects)


W40 = lopsided_circle(40)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return simulate_system(system(), W40, 8, MUTUAL, rng=1)


# The specification ----------------------------------------------------------------------------------------

BAD_EQUATIONS = {
    "text-for-list": ({"endog": "tal"}, "must be a list"),
    "repeated": ({"x": ["a", "a"]}, "more than once"),
    "explains-itself": ({"endog": ["ind"]}, "cannot explain itself"),
    "own-lag-as-cross-lag": ({"lag_endog": ["ind"]}, "lag_y=True"),
    "both-kinds": ({"endog": ["a"]}, "cannot be endogenous and exogenous"),
    "lag-of-a-stranger": ({"lag_x": ["z"]}, "not among x"),
}


@pytest.mark.parametrize("case", BAD_EQUATIONS)
def test_equations_that_contradict_themselves(case):
    changes, words = BAD_EQUATIONS[case]
    with pytest.raises(SpecificationError, match=words):
        Equation(**({"y": "ind", "endog": ["tal"], "x": ["a"]} | changes))


BAD_SYSTEMS = {
    "empty": (lambda: SystemSpec({}), "by name"),
    "not-an-equation": (lambda: SystemSpec({"one": "ind ~ a"}), "must be an Equation"),
    "same-y-twice": (
        lambda: system(second={"y": "ind", "endog": [], "lag_endog": []}),
        "same variable 'ind'",
    ),
    "no-equation-for-it": (lambda: system(first={"endog": ["wage"]}), "no equation .* explains wage"),
    "endogenous-as-x": (
        lambda: system(first={"endog": [], "x": ["tal"], "lag_endog": []}),
        "from x to endog",
    ),
    "unknown-effects": (lambda: system(fixed_effects="both"), "two_way"),
}


@pytest.mark.parametrize("case", BAD_SYSTEMS)
def test_systems_that_are_none(case):
    build, words = BAD_SYSTEMS[case]
    with pytest.raises(SpecificationError, match=words):
        build()


def test_all_stands_for_the_named_ones():
    equation = Equation("ind", ["tal"], ["a", "b"], lag_endog="all", lag_x="all")
    assert (equation.lag_endog, equation.lag_x) == (("tal",), ("a", "b"))
    assert equation.endogenous_terms == ("tal", "W_ind", "W_tal")


# Identification -------------------------------------------------------------------------------------------

UNIDENTIFIED = {
    "nothing-excluded": ({}, {"x": ["a", "c"]}, "'talent' is not identified.*left out"),
    "rank": (
        {"x": ["a", "c"], "lag_x": ["a"]},
        {"x": ["a", "c"], "lag_x": ["a", "c"]},
        "'talent' is not identified",
    ),
}


@pytest.mark.parametrize("method", ["2sls", "gs3sls", "fiml"])
@pytest.mark.parametrize("case", UNIDENTIFIED)
@pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")
def test_an_unidentified_equation_is_named_with_what_it_lacks(panel, case, method):
    first, second, words = UNIDENTIFIED[case]
    with pytest.raises(SpecificationError, match=words):
        fit_system(system(first, second), panel, W40, method)


def test_look_alikes_fail_the_rank_condition():
    spec = SystemSpec(
        {
            "one": Equation("y1", ["y2", "y3"], ["a"]),
            "two": Equation("y2", ["y1", "y3"], ["b", "d"], lag_y=False),
            "three": Equation("y3", ["y1", "y2"], ["a"], lag_y=False),
        },
        "unit",
    )
    rng = np.random.default_rng(0)
    panel = Panel(
        rng.standard_normal((6, 20, 6)),
        tuple(range(6)),
        lopsided_circle(20).ids,
        ("y1", "y2", "y3", "a", "b", "d"),
    )
    with pytest.raises(
        SpecificationError, match=r"'one' is not identified .rank condition.: a multiple of another"
    ):
        fit_system(spec, panel, lopsided_circle(20), "2sls")


def test_too_few_instruments_are_counted(panel):
    with pytest.raises(SpecificationError, match=r"3 endogenous regressor.*only 1 instrument"):
        fit_system(system(), panel, W40, "2sls", instrument_powers=0)


@pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")
def test_the_likelihood_needs_no_instruments():
    spec = SystemSpec({"only": Equation("ind", x=["a"])})
    panel = simulate_system(spec, W40, 6, {("only", "W_ind"): 0.4, ("only", "a"): 1.0}, rng=0)
    fit = fit_system(spec, panel, W40, "fiml", instrument_powers=0)
    assert fit.params["only", "W_ind"] == pytest.approx(0.4, abs=0.2)
    with pytest.raises(SpecificationError, match="only 0 instrument"):
        fit_system(spec, panel, W40, "gs2sls", instrument_powers=0)


# Data and weights -----------------------------------------------------------------------------------------


def changed(panel: Panel, **columns) -> Panel:
    return panel.with_columns({name: build(panel) for name, build in columns.items()})


def dense_equal(n: int) -> Weights:
    return Weights(sparse.csr_array(np.ones((n, n)) - np.eye(n)), W40.ids, "all").standardise("row")


def with_island() -> Weights:
    matrix = W40.matrix.toarray()
    matrix[0] = 0
    return Weights(sparse.csr_array(matrix), W40.ids, "holed", normalisation="row")


BAD_DATA = {
    "time-invariant-x": (
        lambda p: changed(p, a=lambda q: np.repeat(q.array("a")[:1], 8, axis=0)),
        {},
        DataError,
        "'industry': 'a' is absorbed by the two-way effects",
    ),
    "blank-cell": (
        lambda p: changed(p, c=lambda q: np.where(np.arange(40) == 3, np.nan, q.array("c"))),
        {},
        DataError,
        "c of u003 in 2001",
    ),
    "collinear-x": (
        lambda p: changed(p, b=lambda q: 2 * q.array("a")),
        {"first": {"x": ["a", "b"]}},
        DataError,
        "'industry'.*exact linear combination.*Drop one",
    ),
    "identity": (
        lambda p: changed(p, b=lambda q: q.array("ind") - q.array("a")),
        {"first": {"x": ["a", "b"]}},
        DataError,
        "explain 'ind' perfectly",
    ),
    "duplicate-equations": (
        lambda p: changed(p, tal=lambda q: 3 * q.array("ind")),
        {"first": {"endog": [], "lag_endog": []}, "second": {"endog": [], "lag_endog": []}},
        SpecificationError,
        "'industry' and 'talent' explain the same thing",
    ),
    "unknown-variable": (lambda p: p, {"first": {"x": ["aa"]}}, DataError, "no variable 'aa'"),
    "one-period": (lambda p: p.select(periods=[2001]), {}, SpecificationError, "single period"),
    "too-few": (lambda p: p.select(periods=[2001, 2002]), {"units": 6}, DataError, "leave 5 observations"),
}


@pytest.mark.parametrize("method", ["gs3sls", "fiml"])
@pytest.mark.parametrize("case", BAD_DATA)
@pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")
def test_data_that_cannot_be_used(panel, case, method):
    change, options, error, words = BAD_DATA[case]
    options = dict(options)
    W, data = W40, change(panel)
    if units := options.pop("units", None):
        W = lopsided_circle(units)
        data = data.select(units=W.ids)
    with pytest.raises(error, match=words):
        fit_system(system(**options), data, W, method)


@pytest.mark.parametrize("method", ["gs3sls", "fiml"])
@pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")
def test_errors_that_depend_on_each_other_make_sigma_singular(panel, method):
    """y2 is an exact function of y1 and exogenous variables, spread over two equations."""
    data = changed(panel, tal=lambda q: q.array("ind") + q.array("c") + 0.5 * q.array("a"))
    spec = SystemSpec(
        {
            "industry": Equation("ind", x=["a", "c"], lag_y=False),
            "talent": Equation("tal", x=["a", "c"], lag_y=False),
        }
    )
    with pytest.raises(SpecificationError, match="industry, talent"):
        fit_system(spec, data, W40, method)


BAD_WEIGHTS = {
    "not-row-normalised": (
        lambda: Weights(W40.matrix * 0.5, W40.ids, "half"),
        SpecificationError,
        r'standardise\("row"\)',
    ),
    "island": (with_island, SpecificationError, "u000 have no neighbour"),
    "all-neighbours-equal": (
        lambda: dense_equal(40),
        (SpecificationError, DataError),
        "spatial lag|combination|perfectly",
    ),
    "other-units": (lambda: lopsided_circle(39), AlignmentError, "u039"),
}


@pytest.mark.parametrize("method", ["2sls", "gs3sls", "fiml"])
@pytest.mark.parametrize("case", BAD_WEIGHTS)
@pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")
def test_weights_that_cannot_be_used(panel, case, method):
    build, error, words = BAD_WEIGHTS[case]
    with pytest.raises(error, match=words):
        fit_system(system(), panel, build(), method)


@pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")
def test_an_island_is_fine_without_time_effects(panel):
    fit = fit_system(system(fixed_effects="unit"), panel, with_island(), "fiml")
    assert fit.converged


BAD_OPTIONS = {
    "method": ({"method": "ols"}, "2sls, 3sls, gs2sls, gs3sls, fiml"),
    "covariance": ({"method": "fiml", "covariance": "robust"}, "information, sandwich"),
    "powers": ({"instrument_powers": 2.5}, "whole number"),
    "sigma": ({"method": "fiml", "sigma": "none"}, "full, diagonal"),
    "diagonal-3sls": ({"method": "3sls", "sigma": "diagonal"}, "gs2sls"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_options_that_do_not_exist(panel, case):
    options, words = BAD_OPTIONS[case]
    with pytest.raises(SpecificationError, match=words):
        fit_system(system(), panel, W40, **options)


def test_plain_methods_have_no_spatial_error(panel):
    with pytest.raises(SpecificationError, match=r"industry asks for.*gs2sls"):
        fit_system(system({"lag_error": True}), panel, W40, "2sls")


# Nested systems -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::spatial_zb.base.errors.SpatialZbWarning")
def test_likelihoods_that_cannot_be_compared(panel):
    full = fit_system(system(), panel, W40, "fiml")
    less = fit_system(system({"lag_endog": []}), panel, W40, "fiml")
    instrumental = fit_system(system(), panel, W40, "3sls")
    other = fit_system(system(), panel.select(periods=panel.periods[1:]), W40, "fiml")
    for pair, words in (
        ((instrumental, full), "fiml"),
        ((full, less), "industry: W_tal"),
        ((other, full), "sample"),
        ((full, full), "nothing to test"),
        ((durbin_fit(), durbin_fit()), "simplification_tests"),
    ):
        with pytest.raises(SpecificationError, match=words):
            likelihood_ratio(*pair)
    with pytest.raises(SpecificationError, match="fiml"):
        restriction_tests(instrumental)


# A word to the reader -------------------------------------------------------------------------------------


def messages(*arguments, **options) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_system(*arguments, **options)
    return " ".join(str(w.message) for w in caught if issubclass(w.category, SpatialZbWarning))


def test_weak_instruments_are_said_with_their_f(panel):
    truth = MUTUAL | {("talent", "c"): 0.03}
    weak = simulate_system(system(), W40, 8, truth, rng=3)
    assert "instruments of 'industry' are weak" in messages(system(), weak, W40)
    strong = SystemSpec({"only": Equation("ind", x=["a"])})
    data = simulate_system(strong, W40, 12, {("only", "W_ind"): 0.4, ("only", "a"): 2.0}, rng=0)
    assert messages(strong, data, W40) == ""


def test_many_instruments_and_few_units_are_said():
    W = lopsided_circle(10)
    spec = system({"x": ["a", "b"]}, {"x": ["c", "d"]})
    data = simulate_system(spec, W, 9, MUTUAL, rng=0)
    said = messages(spec, data, W)
    assert re.search(
        r"System of industry, talent by gs3sls under 'lopsided circle': 12 instruments for 90 unit-periods",
        said,
    ), said
    assert "only 10 units" in said


def test_an_unstable_estimate_is_said():
    W, spec = lopsided_circle(12), SystemSpec({"only": Equation("ind", x=["a"])}, "unit")
    data = simulate_system(spec, W, 8, {("only", "W_ind"): 0.9, ("only", "a"): 0.2}, rng=1)
    assert "not stable (spatial strength 1.10" in messages(spec, data, W, method="2sls")


def test_a_dense_matrix_and_few_clusters_are_said():
    rng = np.random.default_rng(0)
    matrix = rng.uniform(0.1, 1, (20, 20))
    np.fill_diagonal(matrix, 0)
    W = Weights(sparse.csr_array(matrix), lopsided_circle(20).ids, "dense").standardise("row")
    data = simulate_system(system(), W, 8, MUTUAL, rng=0)
    assert "'dense' links nearly all units" in messages(system(), data, W)
    assert "ψ is known only roughly" in messages(system(), data, W)
    assert "textbook estimator off by 0.1" in messages(system(), data, W, bias_correction=False)
    assert "bias_corrected()" in messages(system(), data, W, method="fiml")
    assert "few for a cluster" not in messages(system(), data, W, covariance="cluster")  # CR2
    errors = {name: replace(e, lag_error=True) for name, e in system().equations.items()}
    assert "20 units are few for a cluster" in messages(SystemSpec(errors), data, W, covariance="cluster")


def test_only_our_errors_escape(panel):
    """Whatever single column is broken, the answer is one of our errors or a fit."""
    broken = {
        "zero": lambda q: np.zeros((8, 40)),
        "constant": lambda q: np.ones((8, 40)),
        "copy": lambda q: q.array("a"),
        "tiny": lambda q: 1e-300 * q.array("a"),
    }
    for name in ("ind", "tal", "a", "c"):
        for build in broken.values():
            data = changed(panel, **{name: build})
            for method in ("gs3sls", "fiml"):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", SpatialZbWarning)
                    try:
                        fit_system(system(), data, W40, method)
                    except SpatialZbError:
                        continue
