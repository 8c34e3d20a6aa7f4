"""The bootstrap of single-equation fits: identities first, then what it is for."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from small_examples import durbin_fit, ring, star

import spatial_zb as zb
from spatial_zb.base.execute import Execution
from spatial_zb.core.laws import Moments, moments, solve_moments
from spatial_zb.core.laws.bootstrap import bca_limits, draw_errors, studentised_limits
from spatial_zb.core.transforms import demean, transformed_sample
from spatial_zb.inference.bootstrap import bootstrap, one_by_one, source_of
from spatial_zb.inference.bootstrap.record import effects_of
from spatial_zb.inference.bootstrap.static import StaticSource, generator_of, without_periods

#: Monte Carlo noise of a standard deviation from R normal replicates, relative: 1/√(2R), times four.
FOUR_SIGMA = 4 / np.sqrt(2 * 999)

#: What products of matrices of other widths may differ by.
ROUNDING = 1e-11


def first_draw(fit, scheme: str, seed: int) -> np.ndarray:
    """y* of the first replicate."""
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    return source_of(fit).draw(scheme, rng)[fit.spec.y]


@pytest.mark.parametrize("scheme", ["residual", "period", "unit", "wild", "parametric"])
@pytest.mark.parametrize("effects", ["none", "unit", "time", "two_way"])
def test_errors_have_the_variance_of_the_fit(scheme, effects):
    """Averaged over many draws, ε* after the transform has the variance that was estimated, and mean zero."""
    sample = transformed_sample(30, 10, effects, "lee_yu")
    residuals = demean(np.random.default_rng(0).standard_normal((10, 30)), effects)
    residuals -= residuals.mean()
    sigma2 = (residuals**2).sum() / sample.observations
    rng = np.random.default_rng(1)
    drawn = np.array([draw_errors(residuals, scheme, sigma2, sample, effects, rng) for _ in range(2000)])
    left = [(demean(errors, effects) ** 2).sum() / sample.observations for errors in drawn]
    # centring by what no effect has centred takes the expected share out, not the exact one
    assert np.mean(left) == pytest.approx(sigma2, rel=0.01 if effects == "two_way" else 0.05)
    assert np.abs(drawn.mean(axis=0)).max() < 6 * np.sqrt(sigma2 / 2000)


def test_wild_errors_only_change_sign_by_unit():
    sample = transformed_sample(12, 6, "unit", "lee_yu")
    residuals = demean(np.random.default_rng(0).standard_normal((6, 12)), "unit")
    drawn = draw_errors(residuals, "wild", 1.0, sample, "unit", np.random.default_rng(2))
    ratio = drawn / residuals
    assert np.allclose(ratio, ratio[0])
    assert np.allclose(np.abs(ratio), 1.0)  # the transform takes nothing from whole series a second time
    assert set(np.sign(ratio[0])) == {-1.0, 1.0}


@pytest.mark.parametrize("effects", ["none", "unit", "time", "two_way"])
def test_parametric_errors_agree_with_the_information_matrix(effects):
    fit = durbin_fit(fixed_effects=effects)
    result = bootstrap(fit, 999, "parametric", rng=1)
    ratio = result.tidy().set_index("term")["std_error"] / fit.bse
    assert np.all(np.abs(ratio - 1) < FOUR_SIGMA + 0.06)


@pytest.mark.parametrize("options", [{"lag_y": False, "lag_error": True}, {"lag_y": False}, {"lag_x": ["a"]}])
def test_other_families(options):
    fit = durbin_fit(**options)
    table = bootstrap(fit, 299, "parametric", rng=1).tidy().set_index("term")
    assert list(table.index) == list(fit.params.index)
    assert np.allclose(table["std_error"] / fit.bse, 1, atol=4 / np.sqrt(2 * 299) + 0.06)


def test_effects_are_the_effects_of_every_replicate():
    fit = durbin_fit()
    result = bootstrap(fit, 99, rng=5)
    beta = result.draws[:, 0]
    theta, rho = result.draws[:, 2], result.draws[:, 4]
    total = (beta + theta) / (1 - rho)
    table = result.effects().set_index(["term", "effect"])
    assert table.loc[("a", "total"), "std_error"] == pytest.approx(
        np.ptp(np.quantile(total, [0.25, 0.75])) / 1.3489795
    )
    assert table.loc[("a", "total"), "conf_low"] == pytest.approx(np.quantile(total, 0.025))
    point = zb.spatial_effects(fit).tidy().set_index(["term", "effect"])["estimate"]
    assert np.allclose(table["estimate"], point)


def test_same_seed_same_numbers_and_streams_do_not_depend_on_their_number():
    fit = durbin_fit()
    first, second = bootstrap(fit, 99, rng=7), bootstrap(fit, 150, rng=7)
    # Not to the last bit: on some processors a product of matrices rounds by how many columns it has.
    assert np.allclose(first.draws, second.draws[:99], rtol=ROUNDING, atol=ROUNDING)
    assert not np.allclose(first.draws, bootstrap(fit, 99, rng=8).draws, rtol=ROUNDING, atol=ROUNDING)


def test_scale_of_y_only_scales():
    fit = durbin_fit()
    bigger = fit.panel.with_columns({"y": fit.panel.array("y") * 1e9})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        scaled = zb.fit_durbin(fit.spec, bigger, fit.weights)
    a, b = bootstrap(fit, 99, rng=1).draws, bootstrap(scaled, 99, rng=1).draws
    assert np.allclose(a[:, 4], b[:, 4], atol=1e-7)
    assert np.allclose(a[:, 0] * 1e9, b[:, 0], rtol=1e-6)


def unequal(seed: int = 4):
    """A SAR whose errors differ in variance between units, and so whose likelihood is not true."""
    W = zb.as_weights(star())
    rng = np.random.default_rng(seed)
    panel = zb.simulate.durbin(
        W, 12, {"a": 1.0}, rho=0.5, process=zb.simulate.Process(unit_effects=0, time_effects=0), rng=seed
    )
    noise = rng.standard_normal((12, W.n)) * np.r_[4.0, np.ones(W.n - 1)]
    X = panel.array("a")
    y = np.linalg.solve(np.eye(W.n) - 0.5 * W.matrix.toarray(), (X + noise).T).T
    return zb.fit_durbin(
        zb.DurbinSpec("y", ["a"], lag_x=[], fixed_effects="unit"), panel.with_columns({"y": y}), W
    )


def test_sign_flips_are_compared_with_their_own_population():
    """Unequal variances move the estimator: replicates lie around the value it has in their population, not θ̂."""
    fit = unequal()
    result = bootstrap(fit, 1999, "wild", rng=1)
    place = fit.params.index.get_loc("rho")
    shift = result.centre[place] - fit.params["rho"]
    assert abs(shift) > 10 * result.draws[:, place].std() / np.sqrt(1999)
    assert abs(result.draws[:, place].mean() - result.centre[place]) < abs(shift) / 2
    row = result.tidy().set_index("term").loc["rho"]
    assert row["conf_low"] < fit.params["rho"] < row["conf_high"]


def test_the_population_of_sign_flips_is_the_limit_of_their_average():
    """Maximising the likelihood of the average squares of many flipped samples gives the same value."""
    fit = unequal()
    centre = bootstrap(fit, 99, "wild", rng=1).centre
    generator = generator_of(fit)
    seeds = np.random.SeedSequence(3).spawn(4000)
    source = StaticSource(fit, generator)
    Y = generator.panels(np.stack([source.errors("wild", np.random.default_rng(seed)) for seed in seeds]))
    found = moments(generator.model, Y)
    onto_y, onto_Wy = found.onto_y.mean(axis=0), found.onto_Wy.mean(axis=0)
    raw = [
        np.mean(found.squares[:, j] + (a * b).sum(axis=1)) - m @ k
        for j, (a, b, m, k) in enumerate(
            [
                (found.onto_y, found.onto_y, onto_y, onto_y),
                (found.onto_y, found.onto_Wy, onto_y, onto_Wy),
                (found.onto_Wy, found.onto_Wy, onto_Wy, onto_Wy),
            ]
        )
    ]
    mean = Moments(onto_y[None], onto_Wy[None], np.array([raw]), found.linear[:1])
    delta, rho, sigma2, _ = solve_moments(generator.model, mean)
    # 4,000 samples: a hundredth of the standard error of a single one
    assert np.allclose([*delta[0], rho[0], sigma2[0]], centre, atol=0.02)


@pytest.mark.parametrize("effects", ["none", "unit", "time", "two_way"])
@pytest.mark.parametrize("scheme", ["residual", "period", "unit", "wild", "parametric"])
def test_replicates_lie_around_their_centre(scheme, effects):
    """Over several panels without effects the mean of the replicates is near the centre, in standard errors."""
    apart, W = [], ring(30)
    for seed in range(6):
        panel = zb.simulate.durbin(
            W,
            10,
            {"a": 1.0, "b": -0.5},
            rho=0.3,
            process=zb.simulate.Process(unit_effects=0, time_effects=0),
            rng=seed,
        )
        fit = zb.fit_durbin(zb.DurbinSpec("y", ["a", "b"], fixed_effects=effects), panel, W)
        result = bootstrap(fit, 499, scheme, rng=1)
        apart.append(((result.draws.mean(axis=0) - result.centre) / fit.bse)[:-1])
        if scheme in ("residual", "unit", "parametric"):
            assert np.array_equal(result.centre, fit.params)
    assert np.sqrt(np.mean(np.square(apart))) < 0.15


def test_whole_periods_have_a_population_of_their_own():
    """Drawing the periods themselves leaves out (GZδ̂)'e, which is not zero at the estimate."""
    fit = durbin_fit(n=30, T=10, seed=4)
    result = bootstrap(fit, 1999, "period", rng=1)
    shift = result.centre - fit.params
    noise = result.draws.std(axis=0) / np.sqrt(1999)
    assert np.abs(shift / noise)[:-1].max() > 4
    assert np.abs((result.draws.mean(axis=0) - result.centre) / noise)[:-1].max() < 6


def test_bias_correction_takes_the_bias_off():
    result = bootstrap(durbin_fit(), 199, rng=1)
    expected = result.fit.params - result.tidy().set_index("term")["bias"]
    assert np.allclose(result.bias_corrected(), expected)


def test_one_at_a_time_and_all_at_once_are_the_same():
    fit = durbin_fit(lag_x=["a"])
    together = bootstrap(fit, 99, rng=1)
    alone = one_by_one(source_of(fit), "residual", 99, np.random.SeedSequence(1), Execution())
    assert np.allclose(alone.draws, together.draws, atol=1e-9)
    assert np.allclose(alone.covariances, together.covariances, rtol=1e-7, atol=1e-12)


def test_a_robust_covariance_goes_with_every_replicate():
    fit = durbin_fit(lag_x=[])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        robust = zb.fit_durbin(fit.spec, fit.panel, fit.weights, covariance="cluster")
    result = bootstrap(robust, 99, "wild", rng=1)
    y = first_draw(robust, "wild", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        again = zb.fit_durbin(fit.spec, fit.panel.with_columns({"y": y}), fit.weights, covariance="cluster")
    assert np.allclose(result.covariances[0], again.cov)


def test_a_statistic_that_cannot_vary_is_its_own_studentised_limit():
    zero = np.zeros((99, 1))
    assert (studentised_limits(np.array([0.0]), np.array([0.0]), zero, zero, 0.05) == 0).all()


def test_studentised_limits_are_those_of_t():
    rng = np.random.default_rng(0)
    deviations, errors = rng.standard_normal((4999, 1)), np.full((4999, 1), 2.0)
    low, high = studentised_limits(np.array([1.0]), np.array([3.0]), deviations, errors, 0.05).ravel()
    q = np.quantile(deviations / 2.0, [0.025, 0.975])
    assert low == pytest.approx(1 - 3 * q[1])
    assert high == pytest.approx(1 - 3 * q[0])


def test_effects_have_the_delta_errors_of_every_replicate():
    """The first replicate's error of an effect equals that of its own fit."""
    fit = durbin_fit(lag_x=["a"])
    result = bootstrap(fit, 99, rng=2)
    y = first_draw(fit, "residual", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        again = zb.fit_durbin(fit.spec, fit.panel.with_columns({"y": y}), fit.weights)
    expected = zb.spatial_effects(again).tidy()["std_error"]
    assert np.allclose(effects_of(fit, "short").errors(result.draws[:1], result.covariances[:1])[0], expected)


def test_bca_without_skewness_is_percentile():
    draws = np.sort(np.random.default_rng(0).standard_normal(9999))
    draws = np.r_[draws, -draws][:, None]
    limits = bca_limits(np.array([0.0]), draws, None, 0.05)
    assert np.allclose(limits.ravel(), np.quantile(draws, [0.025, 0.975]), atol=1e-3)


def test_bca_of_a_biased_estimator_moves_the_right_way():
    draws = np.random.default_rng(0).standard_normal((4999, 1)) - 0.5  # replicates fall below the estimate
    low, high = bca_limits(np.array([0.0]), draws, None, 0.05).ravel()
    assert low > np.quantile(draws, 0.025)
    assert high > np.quantile(draws, 0.975)


def test_wild_errors_see_serial_correlation():
    """With errors that are nearly constant over five-year spells the information errors are too small."""
    W = ring(40)
    rng = np.random.default_rng(4)
    slow = np.repeat(rng.standard_normal((4, 40)), 5, axis=0)
    x = np.repeat(rng.standard_normal((4, 40)), 5, axis=0) + 0.1 * rng.standard_normal((20, 40))
    panel = zb.simulate.durbin(W, 20, {"a": 0.0}, rng=1).with_columns({"y": x + slow, "a": x})
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["a"], lag_x=[], fixed_effects="unit"), panel, W)
    wild = bootstrap(fit, 499, "wild", rng=1).tidy().set_index("term")["std_error"]
    assert wild["a"] > 1.5 * fit.bse["a"]


@pytest.mark.parametrize(
    "options",
    [{}, {"lag_y": False}, {"lag_y": False, "lag_error": True, "lag_x": []}, {"fixed_effects": "none"}],
)
def test_periods_left_out_of_the_arrays_are_periods_left_out_of_the_panel(options):
    fit = durbin_fit(n=12, T=6, **options)
    source = StaticSource(fit, generator_of(fit))
    assert source.together
    kept = np.arange(6) != 2
    assert np.allclose(source.without(kept), without_periods(fit, kept), atol=1e-8)


@pytest.mark.slow
def test_workers_and_a_store_change_no_number(tmp_path):
    """Replicates one by one, in two processes, and half of them out of a store."""
    fit = durbin_fit(n=12, T=6, lag_error=True, lag_x=[])
    alone = bootstrap(fit, 99, rng=1)
    assert np.array_equal(alone.draws, bootstrap(fit, 99, rng=1, workers=2).draws)
    store = zb.base.result_store.ResultStore(tmp_path)
    for _ in range(2):
        assert np.array_equal(
            alone.covariances, bootstrap(fit, 99, rng=1, workers=zb.Execution(store=store)).covariances
        )
    longer = bootstrap(fit, 120, rng=1, workers=zb.Execution(store=store))
    assert np.array_equal(alone.draws, longer.draws[:99])


REFUSED = {
    "scheme": (lambda f: bootstrap(f, 99, "block"), "residual"),
    "replicates": (lambda f: bootstrap(f, 10), "99"),
    "interval": (lambda f: bootstrap(f, 99, rng=1).tidy("normal"), "percentile"),
    "kind": (lambda f: bootstrap(f.panel, 99), "fit_durbin"),
    "bias": (lambda f: bootstrap(f, 99, rng=1).bias_corrected("mode"), "median"),
    "level": (lambda f: bootstrap(f, 99, rng=1).tidy(level=95), "0.95 for 95 %"),
    "level of effects": (lambda f: bootstrap(f, 99, rng=1).effects(level="x"), "0.95 for 95 %"),
    "seed": (lambda f: bootstrap(f, 99, rng="x"), "rng.*'x'"),
    "half a replicate": (lambda f: bootstrap(f, 99.5), "replicates.*whole number"),
    "store": (lambda f: bootstrap(f, 99, rng=1, workers=zb.Execution(store=3)), "store"),
    "workers": (lambda f: bootstrap(f, 99, rng=1, workers=0), "workers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_remedy(case):
    call, word = REFUSED[case]
    with pytest.raises(zb.SpecificationError, match=word):
        call(durbin_fit())


def test_a_store_that_cannot_be_written_is_refused_where_nothing_is_stored(tmp_path):
    """Replicates that are estimated all at once need no store; one that is asked for must be one all the same."""
    fit = durbin_fit()
    assert source_of(fit).together
    (tmp_path / "file").write_text("")
    with pytest.raises(zb.base.errors.OutputError, match="store"):
        bootstrap(fit, 99, rng=1, workers=zb.Execution(store=tmp_path / "file" / "folder"))
    bootstrap(fit, 99, rng=1, workers=zb.Execution(store=tmp_path / "folder"))
    assert not list((tmp_path / "folder").iterdir())


def test_a_cross_section_has_no_periods_to_draw():
    W = ring(40)
    panel = zb.simulate.durbin(
        W, 1, {"a": 1.0}, rho=0.3, process=zb.simulate.Process(unit_effects=0, time_effects=0), rng=1
    )
    fit = zb.fit_durbin(zb.DurbinSpec("y", ["a"], lag_x=[], fixed_effects="none"), panel, W)
    with pytest.raises(zb.SpecificationError, match="whole periods"):
        bootstrap(fit, 99, "period")
    for scheme in ("residual", "unit", "wild", "parametric"):
        apart = (bootstrap(fit, 199, scheme, rng=1).draws.mean(axis=0) - fit.params) / fit.bse
        assert np.abs(apart[:-1]).max() < 0.6, scheme


def test_many_replicates_without_a_maximum_are_said():
    """Nearly complete links: replicates pile up at the upper end, and the warning names what to read."""
    rng = np.random.default_rng(0)
    links = 1 + 0.3 * rng.random((8, 8))
    np.fill_diagonal(links, 0)
    W = zb.as_weights(links, ids=list("abcdefgh")).standardise("row")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zb.SpatialZbWarning)
        fits = [
            zb.fit_durbin(
                zb.DurbinSpec("y", ["a"], lag_x=[]),
                zb.simulate.durbin(W, 6, {"a": 1.0}, rho=0.6, rng=seed),
                W,
            )
            for seed in range(20)
        ]
    fit = max((f for f in fits if f.converged), key=lambda f: f.params["rho"])
    with pytest.warns(zb.SpatialZbWarning, match="median_unbiased"):
        result = bootstrap(fit, 99, rng=1)
    assert result.at_bound > 5
    assert np.isnan(result.covariances).any()
    assert np.isfinite(result.tidy("studentised")["conf_low"]).all()
