"""The bootstrap of GMM: endogenous regressors are drawn with the errors that make them so."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
from small_examples import ring

import spatial_zb as zb
from spatial_zb.inference.bootstrap import source_of
from spatial_zb.models.gmm_sample import reduced_form_residuals

SAME = 1e-8
LAG = (("lag_x", ()),)
ENDOG = (("endog", ("w",)), ("instruments", ("z",)), ("lag_x", ()), ("fixed_effects", "unit"))
BOTH = (("endog", ("w",)), ("instruments", ("z",)), ("lag_x", ("w",)), ("lag_error", True))
SAC = (*LAG, ("lag_error", True))


@cache
def panel(seed: int = 5, n: int = 30, T: int = 8, strength: float = 0.8) -> zb.Panel:
    """Errors of y and w correlate by 0.6; ρ = 0.4, λ = 0.3."""
    W, rng = ring(n).matrix.toarray(), np.random.default_rng(seed)
    p = zb.simulate.durbin(ring(n), T, {"a": 1.0, "b": 1.0}, rng=seed)
    a, b, z = p.array("a"), p.array("b"), rng.standard_normal((T, n))
    e = rng.standard_normal((T, n))
    w = strength * z + 0.3 * a + 0.6 * e + 0.8 * rng.standard_normal((T, n))
    u = np.linalg.solve(np.eye(n) - 0.3 * W, e.T).T
    y = np.linalg.solve(np.eye(n) - 0.4 * W, (a - 0.5 * b + 0.7 * w + u).T).T
    return p.with_columns({"y": y, "w": w, "z": z})


@cache
def example(options: tuple, covariance: str = "information", powers: int = 2, textbook: bool = False, **data):
    p = panel(**data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        spec = zb.DurbinSpec("y", ["a", "b"], **dict(options))
        return zb.fit_durbin(
            spec,
            p,
            ring(len(p.units)),
            "gmm",
            covariance,
            powers=powers,
            bias_correction=False if textbook else None,
        )


@cache
def resampled(
    options: tuple, scheme: str = "residual", covariance: str = "information", replicates: int = 199
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        return zb.bootstrap(example(options, covariance), replicates, scheme, rng=1)


def test_reduced_form_residuals_written_out():
    """Least squares of w on the instruments, the structural residuals and dummies of units."""
    fit = example(ENDOG)
    p, W, (T, n) = fit.panel, fit.weights.matrix.toarray(), fit.residuals.shape
    found = []
    for name in ("a", "b", "z"):
        values = p.array(name)
        for _ in range(3):
            found.append(values.ravel())
            values = (W @ values.T).T
    assert len(found) == len(fit.convergence.instruments)
    dummies = np.tile(np.eye(n), (T, 1))
    columns = np.column_stack([*found, dummies, fit.residuals.ravel()])
    slopes = np.linalg.lstsq(columns, p.array("w").ravel(), rcond=None)[0]
    left = p.array("w").ravel() - columns[:, :-1] @ slopes[:-1]
    assert np.allclose(reduced_form_residuals(fit)[:, :, 0].ravel(), left, atol=SAME)


@pytest.mark.parametrize("options", [LAG, ENDOG, BOTH])
def test_what_is_drawn_solves_the_model(options):
    """Put into the model with its own effects, y* and w* leave errors that are drawn from the residuals."""
    fit = example(options)
    source, spec, params = source_of(fit), fit.spec, fit.params
    drawn = source.draw("parametric", np.random.default_rng(2))
    W, eye = fit.weights.matrix.toarray(), np.eye(fit.weights.n)
    change = {name: values - fit.panel.array(name) for name, values in drawn.items()}
    left = ((eye - params.get("rho", 0.0) * W) @ change["y"].T).T
    if spec.endog:
        left = left - params["w"] * change["w"] - params.get("W_w", 0.0) * (W @ change["w"].T).T
    errors = ((eye - params.get("lam", 0.0) * W) @ left.T).T + fit.residuals
    again = np.random.default_rng(2).standard_normal(source.residuals.shape)
    if not spec.endog:
        expected = again * np.sqrt(fit.sigma2)
    else:
        rows = source.residuals.reshape(-1, 2)
        expected = (again @ np.linalg.cholesky(rows.T @ rows / fit.nobs).T)[:, :, 0]
    assert np.allclose(errors, expected, atol=SAME)


SLOW = pytest.mark.slow
SCHEMES = [(ENDOG, scheme) for scheme in ("residual", "wild", "parametric")] + [
    (LAG, "residual"),
    *(pytest.param(LAG, scheme, marks=SLOW) for scheme in ("unit", "wild", "period", "parametric")),
    *(pytest.param(ENDOG, scheme, marks=SLOW) for scheme in ("unit", "period")),
]


@pytest.mark.parametrize(("options", "scheme"), SCHEMES)
def test_replicates_lie_around_the_estimate(options, scheme):
    result = resampled(options, scheme)
    fit = result.fit
    assert np.array_equal(result.centre, fit.params)
    apart = (result.draws.mean(axis=0) - result.centre)[:-1] / fit.bse[:-1]
    assert np.abs(apart).max() < 4 / np.sqrt(199) + 0.15
    if scheme in ("residual", "parametric"):
        ratio = result.draws.std(axis=0)[:-1] / fit.bse[:-1]
        assert np.abs(ratio - 1).max() < 4 / np.sqrt(2 * 199) + 0.08


@pytest.mark.parametrize(
    ("panels", "replicates", "apart"), [(1, 149, 0.25), pytest.param(4, 199, 0.12, marks=SLOW)]
)
def test_sign_flips_by_unit_have_the_errors_of_clusters(panels, replicates, apart):
    """In each of several panels, against the covariance that is clustered by unit."""
    ratios = []
    for seed in range(panels):
        fit = example(ENDOG, "cluster", seed=seed)
        ratios.append(zb.bootstrap(fit, replicates, "wild", rng=1).draws.std(axis=0)[:-1] / fit.bse[:-1])
    assert np.abs(np.mean(ratios, axis=0) - 1).max() < apart


@pytest.mark.parametrize("covariance", ["information", "robust"])
def test_endogeneity_and_errors_in_space_together(covariance):
    result = resampled(BOTH, "residual", covariance, 149)
    fit = result.fit
    apart = (result.draws.mean(axis=0) - result.centre)[:-1] / fit.bse[:-1]
    assert np.abs(apart).max() < 4 / np.sqrt(149) + 0.3  # 2SLS leans a little, λ̂ low
    table = result.effects().set_index(["term", "effect"])
    at = {name: result.draws[:, i] for i, name in enumerate(fit.params.index)}
    total = (at["w"] + at["W_w"]) / (1 - at["rho"])
    assert table.loc[("w", "total"), "conf_high"] == pytest.approx(np.quantile(total, 0.975))


def test_it_finds_the_lean_of_weak_instruments():
    """With a weak z the estimate leans to least squares, by 0.6 of what makes w endogenous; so do its replicates."""
    found = []
    for seed in range(5):
        fit = example(ENDOG, textbook=True, seed=seed, strength=0.12)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zb.SpatialZbWarning)
            found.append(zb.bootstrap(fit, 99, rng=1).tidy().set_index("term").loc["w", "bias"])
    assert np.median(found) > 0.02
    strong = resampled(ENDOG).tidy().set_index("term").loc["w", "bias"]
    assert abs(strong) < 0.02


def test_σ2_has_an_interval_and_studentised_ones_only_where_there_are_errors():
    table = resampled(LAG).tidy().set_index("term")
    assert np.isfinite(table.loc["sigma2", ["conf_low", "conf_high"]].astype(float)).all()
    studentised = resampled(LAG).tidy("studentised").set_index("term")
    assert np.isfinite(studentised.loc["rho", "conf_low"])
    assert np.isnan(studentised.loc["sigma2", "conf_low"])
    for interval in ("basic", "bca"):
        assert np.isfinite(resampled(LAG).effects(interval)["conf_low"]).all()


def test_powers_of_the_fit_go_with_every_replicate():
    fit = example(LAG, powers=1)
    source = source_of(fit)
    again = source.estimate(source.draw("residual", np.random.default_rng(1)))
    assert again.convergence.instruments == fit.convergence.instruments
    assert len(fit.convergence.instruments) < len(example(LAG).convergence.instruments)


def test_replicates_outside_the_interval_of_ρ_have_no_effects_and_are_said():
    fit = example(LAG, seed=1, n=11, T=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        result = zb.bootstrap(fit, 199, rng=1)
    outside = np.abs(result.draws[:, fit.params.index.get_loc("rho")]) >= 1
    assert outside.any()
    with pytest.warns(zb.SpatialZbWarning, match=f"{outside.sum()} of 199 replicates have ρ outside"):
        result.effects()


@pytest.mark.parametrize(("scheme", "why"), [("period", "moments of λ"), ("wild", "robust")])
def test_what_makes_no_sense_is_refused_by_name(scheme, why):
    with pytest.raises(zb.SpecificationError, match=why):
        zb.bootstrap(example(SAC), 99, scheme)
    if scheme == "wild":
        resampled(SAC, "wild", "robust", 99)
