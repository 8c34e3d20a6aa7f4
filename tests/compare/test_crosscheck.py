"""The same by spreg and esda: equal where nothing differs, and a reason that was checked where something does."""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from small_study import TEXT, write_study

import spatial_zb as zb
from spatial_zb.compare import differences
from spatial_zb.pipeline import run
from spatial_zb.report.tables.layouts.tests import crosscheck_table
from spatial_zb.study import load_study

module = importlib.import_module("spatial_zb.compare.crosscheck")  # the function hides it in its package
pytestmark = pytest.mark.filterwarnings("ignore::spatial_zb.SpatialZbWarning")
HERE = Path(__file__).parents[1] / "reference"


def reference(folder: str, unit: str) -> tuple[pd.DataFrame, zb.Weights]:
    data = pd.read_csv(HERE / folder / "data.csv", dtype={unit: str})
    links = pd.read_csv(HERE / folder / "edges.csv", dtype={"i": str, "j": str})
    ids = pd.Index(sorted(data[unit].unique()))
    places = ids.get_indexer(links["i"]), ids.get_indexer(links["j"])
    matrix = sparse.csr_array((np.ones(len(links)), places), shape=(len(ids),) * 2)
    return data, zb.Weights(matrix, ids, folder).standardise()


@pytest.fixture(scope="module")
def columbus() -> tuple[zb.Panel, zb.Weights]:
    data, W = reference("columbus", "NEIG")
    return zb.build_panel(data.assign(t=1), "NEIG", "t", units=W.ids), W


@pytest.fixture(scope="module")
def states() -> tuple[zb.Panel, zb.Weights]:
    """Six years of the 48 states."""
    data, W = reference("munnell", "STATE")
    data = data[data["YR"] < 1976]
    for name in ("GSP", "P_CAP", "EMP"):
        data[name] = np.log(data[name])
    return zb.build_panel(data, "STATE", "YR", units=W.ids), W


def counts(found) -> tuple[int, int, int]:
    row = found.glance().iloc[0]
    return row["agree"], row["explained"], row["unexplained"]


FAMILIES = {
    "OLS": {"lag_y": False, "lag_x": []},
    "SLX": {"lag_y": False},
    "SAR": {"lag_x": []},
    "SDM": {"lag_x": ["INC"]},
    "SEM": {"lag_y": False, "lag_x": [], "lag_error": True},
    "SDEM": {"lag_y": False, "lag_error": True},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cross_section_agrees_to_rounding(family, columbus):
    fit = zb.fit_durbin(
        zb.DurbinSpec("CRIME", ["INC", "HOVAL"], fixed_effects="none", **FAMILIES[family]), *columbus
    )
    found = zb.crosscheck(fit)
    numbers = 2 * (len(fit.params) - 1) + 1  # but σ²; and ln L
    assert counts(found) == (numbers, 0, 0)
    tidy = found.tidy()
    assert list(tidy) == ["term", "quantity", "ours", "theirs", "difference", "reason"]
    assert np.abs(tidy["difference"]).max() < 1e-5
    np.testing.assert_allclose(tidy.loc[tidy["quantity"] == "estimate", "ours"], fit.params[:-1])


def test_maximum_likelihood_of_sac_is_beside_moments(columbus):
    spec = zb.DurbinSpec("CRIME", ["INC", "HOVAL"], lag_x=[], lag_error=True, fixed_effects="none")
    found = zb.crosscheck(zb.fit_durbin(spec, *columbus))
    assert counts(found) == (0, 10, 0)
    assert {note.kind.name for note in found.reasons} == {"other_estimator"}


MOMENTS = {
    "SAR": {"lag_x": []},
    "SEM": {"lag_y": False, "lag_x": [], "lag_error": True},
    "SAC": {"lag_x": [], "lag_error": True},
}


@pytest.mark.parametrize("family", MOMENTS)
def test_moments_agree_under_the_same_conventions(family, columbus):
    spec = zb.DurbinSpec("CRIME", ["INC", "HOVAL"], fixed_effects="none", **MOMENTS[family])
    same = zb.crosscheck(zb.fit_durbin(spec, *columbus, "gmm", "robust", bias_correction=False))
    assert counts(same)[1:] == (0, 0)
    own = zb.crosscheck(zb.fit_durbin(spec, *columbus, "gmm"))
    expected = {"SAR": {"many_instruments"}, "SEM": {"other_moments", "other_covariance"}}
    kinds = {note.kind.name for note in own.reasons}
    assert kinds == expected.get(family, {"many_instruments", "other_moments", "other_covariance"})
    assert counts(own)[2] == 0


@pytest.mark.parametrize("effects", ["unit", "time", "two_way"])
@pytest.mark.parametrize("family", ["SAR", "SEM", "SLX"])
def test_panels_differ_by_the_transform_alone(family, effects, states):
    spec = zb.DurbinSpec("GSP", ["P_CAP", "EMP"], fixed_effects=effects, **FAMILIES[family])
    direct = zb.crosscheck(zb.fit_durbin(spec, *states, "direct"))
    assert counts(direct)[1:] == (0, 0)
    found = zb.crosscheck(zb.fit_durbin(spec, *states))
    assert counts(found)[2] == 0
    if family == "SLX":  # least squares are least squares
        assert found.reasons == ()
    else:
        assert {note.kind.name for note in found.reasons} == {"transformation"}
    if effects == "unit" and family != "SLX":  # ρ, λ and β are those of dummies; σ² is not: T / (T − 1)
        tidy = found.tidy().set_index(["quantity", "term"])
        ratio = tidy.loc["std_error", "ours"] / tidy.loc["std_error", "theirs"]
        assert ratio["EMP"] == pytest.approx(np.sqrt(6 / 5), rel=1e-4) or family == "SEM"
        assert (tidy.loc["estimate", "reason"] == "").all()


def test_another_covariance_is_the_reason(states):
    spec = zb.DurbinSpec("GSP", ["P_CAP", "EMP"], lag_x=[], fixed_effects="unit")
    found = zb.crosscheck(zb.fit_durbin(spec, *states, "direct", "cluster"))
    tidy = found.tidy()
    assert (tidy["reason"] != "").equals(tidy["quantity"] == "std_error")
    assert {note.kind.name for note in found.reasons} == {"other_covariance"}


@pytest.mark.parametrize("effects", ["none", "two_way"])
def test_systems_by_two_stages(effects, states):
    equations = {
        "a": zb.Equation(y="GSP", endog=["EMP"], x=["P_CAP"], lag_y=True, lag_x=[]),
        "b": zb.Equation(y="EMP", endog=["GSP"], x=["UNEMP", "PC"], lag_y=False),
    }
    system = zb.SystemSpec(equations, fixed_effects=effects)
    textbook = zb.crosscheck(zb.fit_system(system, *states, "2sls", bias_correction=False))
    kinds = {note.kind.name for note in textbook.reasons}
    assert kinds == (set() if effects == "none" else {"degrees_of_freedom"})
    assert counts(textbook)[2] == 0
    with pytest.raises(zb.SpecificationError, match="spreg has no systems by gs3sls"):
        zb.crosscheck(zb.fit_system(system, *states, "gs3sls"))


def test_moran_global_and_local(columbus):
    panel, W = columbus
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    found = zb.crosscheck(zb.moran(panel, "CRIME", W, permutations=99, rng=1), panel, W)
    assert counts(found) == (4, 1, 0)
    assert found.tidy().set_index("quantity").loc["I", "difference"] == pytest.approx(0, abs=1e-12)
    local = zb.crosscheck(zb.local_moran(panel, "CRIME", W, permutations=999, rng=1), panel, W)
    assert counts(local) == (49, 49, 0)
    tidy = local.tidy()
    p = tidy[tidy["quantity"] == "p_sim"]
    assert np.median(p["ours"] / p["theirs"]) == pytest.approx(2, abs=0.2)  # two sides and one
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    with pytest.raises(zb.SpecificationError, match=r"crosscheck\(table, panel, W\)"):
        zb.crosscheck(zb.moran(panel, "CRIME", W, permutations=99, rng=1))


@pytest.mark.parametrize("effects", ["none", "unit", "time", "two_way"])
def test_lm_tests_differ_by_dummies_alone(effects, states):
    """Ours are of data without their effects; with dummies in their place they are spreg's, whatever rows of W sum to."""
    spec = zb.DurbinSpec("GSP", ["P_CAP", "EMP"], fixed_effects=effects)
    panel, W = states
    heavy = zb.Weights(W.matrix * np.linspace(0.5, 2, W.n)[:, None], W.ids, "heavy")
    for weights in (W, heavy):
        found = zb.crosscheck(spec, panel, weights)
        assert counts(found) == ((5, 0, 0) if effects == "none" else (0, 5, 0))
    table = zb.diagnose(spec, *states)
    tidy = zb.crosscheck(spec, *states).tidy().set_index("term")
    for name in ("LM lag", "LM error", "LM lag, robust", "LM error, robust", "LM lag and error, joint"):
        assert tidy.loc[name, "ours"] == pytest.approx(table.row(name).statistic, rel=1e-9)


def test_lm_tests_of_any_shape_are_nothing_that_spreg_has(states):
    """Units that come and go, and a W by period; either had a message of another program, or none."""
    panel, W = states
    there = np.ones(panel.present.shape, dtype=bool)
    there[:2, 5] = False
    values = np.where(there[..., None], panel.values, np.nan)
    late = zb.Panel(values, panel.periods, panel.units, panel.columns, present=there)
    other = zb.Weights(W.matrix[::-1, ::-1], W.ids, "turned")
    turning = zb.weights.by_period({t: W if t < 1973 else other for t in panel.periods})
    spec = zb.DurbinSpec("GSP", ["P_CAP"])
    for one, weights in ((late, W), (panel, turning)):
        with pytest.raises(zb.SpecificationError, match="spreg has no LM tests") as error:
            zb.crosscheck(spec, one, weights)
        assert "非平衡面板" in error.value.zh


def test_lm_tests_of_a_wrong_number_have_no_reason(states, monkeypatch):
    spec = zb.DurbinSpec("GSP", ["P_CAP", "EMP"], fixed_effects="two_way")
    own = module.core.lm_lag_error
    monkeypatch.setattr(module.core, "lm_lag_error", lambda u, *rest: own(1.01 * u, *rest))
    assert counts(zb.crosscheck(spec, *states))[2] > 0


def test_weights_have_the_properties_that_libpysal_says(states):
    _, W = states
    links = W.matrix.toarray()
    links[5], links[:, 5], links[1, 3] = 0, 0, 0.4  # a unit without neighbours, a link without a link back
    found = zb.crosscheck(zb.Weights(sparse.csr_array(links), W.ids, "odd"))
    assert counts(found) == (11, 2, 0)
    tidy = found.tidy().set_index("term")["ours"]
    i, j = np.nonzero(links)
    assert tidy["one_way_links"] == sum(links[b, a] == 0 for a, b in zip(i, j, strict=True))
    assert tidy["s1"] == pytest.approx(
        sum((links[a, b] + links[b, a]) ** 2 for a in range(48) for b in range(48)) / 2
    )
    assert tidy["traces"] == pytest.approx(np.trace(links.T @ links + links @ links))
    kinds = {note.kind.name for note in found.reasons}
    assert kinds == {"islands_are_components", "density"}
    assert counts(zb.crosscheck(W)) == (12, 1, 0)


def test_a_table_of_many_numbers_shows_those_that_differ_most(columbus):
    panel, W = columbus
    found = zb.crosscheck(zb.local_moran(panel, "CRIME", W, permutations=99, rng=1), panel, W)
    whole, short = crosscheck_table(found), crosscheck_table(replace(found, lines=found.lines[:40]))
    assert (len(whole.rows), len(short.rows)) == (24, 40)
    assert "Of 98 numbers the 24" in str(whole.notes[1])
    assert "Of " not in str(short.notes)


def test_a_number_that_is_wrong_has_no_reason(columbus):
    fit = zb.fit_durbin(zb.DurbinSpec("CRIME", ["INC", "HOVAL"], lag_x=[], fixed_effects="none"), *columbus)
    wrong = replace(fit, params=fit.params * [1, 1, 1.01, 1, 1])
    found = zb.crosscheck(wrong)
    assert counts(found)[2] == 1
    assert (
        found.tidy().set_index("term").loc["HOVAL", "reason"].iloc[0]
        == "no reason is known: please report it"
    )


def test_every_reason_is_said_in_both_languages():
    numbers = {
        "effects": "unit",
        "ours": 1,
        "theirs": 2,
        "covariance": "cluster",
        "permutations": 99,
        "count": 1,
    }
    for kind in vars(differences).values():
        if isinstance(kind, differences.Kind):
            given = {name: numbers[name] for name in kind._signature.parameters}
            text = kind(**given).text
            assert re.search("[一-鿿]", text.zh)
            assert not re.search("[一-鿿]", text.en)


def refused(columbus, states, change: str):
    panel, W = states
    spec = zb.DurbinSpec("GSP", ["P_CAP"], lag_x=[], fixed_effects="unit")
    match change:
        case "lags in time":
            return zb.fit_durbin(replace(spec, time_lag=True), panel, W)
        case "adjusted score":
            return zb.fit_durbin(spec, panel, W, "robust_score")
        case "fixed effects by random":
            return zb.fit_durbin(replace(spec, fixed_effects="random"), panel, W)
        case "panel with both lags":
            return zb.fit_durbin(replace(spec, lag_error=True), panel, W)
        case "instrumental estimates of panels":
            return zb.fit_durbin(spec, panel, W, "gmm")
    return panel


@pytest.mark.parametrize(
    "what",
    [
        "lags in time",
        "adjusted score",
        "fixed effects by random",
        "panel with both lags",
        "instrumental estimates of panels",
        "crosscheck compares a fit",
    ],
)
def test_what_they_lack_is_refused_with_a_word(what, columbus, states):
    with pytest.raises(zb.SpecificationError, match=what) as error:
        zb.crosscheck(refused(columbus, states, what))
    assert error.value.zh != str(error.value)


def test_without_the_extra_the_remedy_is_named(columbus, monkeypatch):
    fit = zb.fit_durbin(zb.DurbinSpec("CRIME", ["INC"], lag_x=[], fixed_effects="none"), *columbus)
    monkeypatch.setitem(sys.modules, "spreg", None)
    with pytest.raises(zb.SpecificationError, match=r"pip install 'spatial-zb\[crosscheck\]'"):
        zb.crosscheck(fit)


#: Maps of clusters are asked for, so that local Moran's I is put beside esda too.
BESIDE = """[maps]
variables = ["ly"]
periods = [2010, 2017]
clusters = "queen"
[output]
crosscheck = true
"""


def study_beside(tmp_path, stages):
    study = load_study(write_study(tmp_path / "a", TEXT.replace("[output]\n", BESIDE)))
    outcome = run(study, stages)
    tidy = pd.read_csv(study.results / "tidy" / "crosscheck.csv")
    assert not tidy["reason"].fillna("").str.contains("no reason").any()
    return study, tidy, {path.stem for path in outcome.files if path.parent.name == "tables"}


def test_a_study_puts_its_moran_beside_esda(tmp_path):
    _, tidy, tables = study_beside(tmp_path, ("moran", "crosscheck"))
    assert "crosscheck_moran_all_ly_queen" in tables
    assert set(tidy["program"]) == {"esda", "libpysal"}


def test_a_study_puts_lm_tests_clusters_and_weights_beside_others(tmp_path):
    study, tidy, tables = study_beside(tmp_path, ("tests", "crosscheck"))
    assert {"crosscheck_lm_m", "crosscheck_weights_queen", "crosscheck_local_ly_queen"} <= tables
    assert {"libpysal", "spreg"} <= set(tidy["program"])
    shown = (study.results / "tables" / "crosscheck_weights_queen.md").read_text("utf-8")
    assert "Most neighbours" in shown
    local = tidy[tidy["of"] == "local_ly_queen"]
    assert set(local["program"]) == {"esda"}
    statistics = local[local["quantity"] == "I"]
    assert len(statistics) == 12
    np.testing.assert_allclose(statistics["ours"], statistics["theirs"], atol=1e-9)


@pytest.mark.slow
def test_a_study_puts_its_models_beside_spreg(tmp_path):
    study, tidy, tables = study_beside(tmp_path, ("models", "crosscheck"))
    assert "crosscheck_m_all_queen_two_way" in tables
    assert set(tidy["program"]) == {"libpysal", "spreg"}
    shown = (study.results / "tables" / "crosscheck_m_all_queen_two_way.md").read_text("utf-8")
    assert "Lee–Yu transform" in shown
