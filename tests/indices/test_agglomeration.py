"""Agglomeration indices: identities first, then worked examples (the docstrings), then refusals."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from spatial_zb.base.errors import DataError, SpecificationError
from spatial_zb.core import indices as formulas
from spatial_zb.core.indices import composite as co
from spatial_zb.core.statistics import dispersion

# Sums of products of a few hundred shares: round-off only.
EXACT = 1e-12


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20190101)


@pytest.fixture
def employment(rng: np.random.Generator) -> np.ndarray:
    """Employment of 9 units in 4 sectors."""
    return rng.gamma(1.0, 100.0, (9, 4))


#: What the formulas share to check their arrays.
CHECKS = {"floats", "numbers", "amounts", "unit_table", "refuse", "shares_along"}


def test_the_examples_in_the_docstrings() -> None:
    results = [doctest.testmod(module) for module in (formulas, co, dispersion)]
    assert not any(result.failed for result in results)
    assert sum(result.attempted for result in results) >= 14


def test_every_public_function_has_an_example() -> None:
    for name, item in [
        (n, f)
        for m in (formulas, co)
        for n, f in vars(m).items()
        if n not in CHECKS and not n.startswith("_") and getattr(f, "__module__", None) == m.__name__
    ]:
        if callable(item) and not isinstance(item, type):
            assert ">>>" in item.__doc__, name


# --- location quotients ------------------------------------------------------------------------------------


def test_location_quotients_weighted_by_size_average_to_one(employment: np.ndarray) -> None:
    total = employment.sum(axis=1)
    for sector in employment.T:
        quotient = formulas.location_quotient(sector, total, sector.sum(), total.sum())
        assert np.average(quotient, weights=total) == pytest.approx(1.0, abs=EXACT)


def test_the_location_quotient_is_one_where_the_unit_is_the_reference() -> None:
    assert formulas.location_quotient(7.0, 31.0, 7.0, 31.0) == pytest.approx(1.0, abs=EXACT)


def test_location_quotients_of_a_panel_use_the_reference_of_their_period() -> None:
    part, total = np.array([[1.0, 2.0], [1.0, 2.0]]), np.full((2, 2), 10.0)
    quotient = formulas.location_quotient(part, total, np.array([[1.0], [2.0]]), np.array([[10.0], [10.0]]))
    np.testing.assert_allclose(quotient, [[1.0, 2.0], [0.5, 1.0]], rtol=EXACT)


def test_a_blank_cell_of_a_location_quotient_stays_blank() -> None:
    assert np.isnan(formulas.location_quotient([np.nan, 1.0], [2.0, 2.0], 1.0, 2.0)).tolist() == [
        True,
        False,
    ]


# --- scale, order and bounds -------------------------------------------------------------------------------

OF_TABLES = {
    "hhi": lambda e: formulas.hhi(e, axis=0),
    "krugman": formulas.krugman_specialisation,
    "gini": formulas.locational_gini,
    "ellison_glaeser": lambda e: formulas.ellison_glaeser(e, [0.1, 0.02, 0.3, 0.0]),
    "group": lambda e: formulas.ellison_glaeser_coagglomeration(e, [0.1, 0.02, 0.3, 0.0]),
    "pairs": formulas.pairwise_coagglomeration,
}


@pytest.mark.parametrize("index", OF_TABLES.values(), ids=OF_TABLES.keys())
def test_indices_do_not_depend_on_the_unit_of_measurement(index, employment: np.ndarray) -> None:
    np.testing.assert_allclose(index(1e6 * employment), index(employment), rtol=1e-10)


@pytest.mark.parametrize("index", OF_TABLES.values(), ids=OF_TABLES.keys())
def test_indices_do_not_depend_on_the_order_of_units(index, employment: np.ndarray, rng) -> None:
    order = rng.permutation(len(employment))
    shuffled, kept = index(employment[order]), index(employment)
    if index is formulas.krugman_specialisation:  # one value per unit moves with its unit
        kept = kept[order]
    np.testing.assert_allclose(shuffled, kept, rtol=1e-10)


def test_an_even_spread_has_no_concentration() -> None:
    even = np.outer([1.0, 2.0, 5.0], [10.0, 30.0])
    np.testing.assert_allclose(formulas.krugman_specialisation(even), 0.0, atol=EXACT)
    np.testing.assert_allclose(formulas.locational_gini(even), 0.0, atol=EXACT)
    np.testing.assert_allclose(formulas.ellison_glaeser(even, [0.0, 0.0]), 0.0, atol=EXACT)
    assert dispersion.theil(even[:, 0], even.sum(axis=1)).total == pytest.approx(0.0, abs=EXACT)
    np.testing.assert_allclose(formulas.hhi(np.ones(8)), 1 / 8, rtol=EXACT)


def test_all_in_one_unit_is_the_most_there_can_be() -> None:
    reference = np.array([10.0, 20.0, 70.0])
    alone = np.array([[1.0], [0.0], [0.0]])
    assert formulas.hhi(alone[:, 0]) == 1.0
    assert formulas.locational_gini(alone, reference)[0] == pytest.approx(1 - 0.1, abs=EXACT)
    assert dispersion.theil(alone[:, 0], reference).total == pytest.approx(np.log(10), abs=EXACT)


def test_the_gini_against_equal_units_is_the_mean_difference(rng: np.random.Generator) -> None:
    values = rng.gamma(1.0, 1.0, 12)
    difference = np.abs(values[:, None] - values).mean() / (2 * values.mean())
    assert formulas.locational_gini(values[:, None], np.ones(12))[0] == pytest.approx(difference, abs=EXACT)


# --- Ellison and Glaeser -----------------------------------------------------------------------------------


def test_plants_thrown_at_random_have_an_expected_index_of_zero(rng: np.random.Generator) -> None:
    """The property that defines the index, by simulation: plants of unequal size choose units with chances x."""
    chances = np.array([0.4, 0.3, 0.2, 0.1])
    sizes = np.array([5.0, 3.0, 2.0, 1.0, 1.0, 1.0])
    draws = 4000
    places = rng.choice(4, size=(draws, 6), p=chances)
    employment = np.zeros((4, draws))
    for plant, size in enumerate(sizes):
        employment[places[:, plant], np.arange(draws)] += size
    gamma = formulas.ellison_glaeser(employment, np.full(draws, formulas.hhi(sizes)), chances)
    assert abs(gamma.mean()) < 4 * gamma.std() / np.sqrt(draws)
    assert np.abs(gamma).max() > 0.1  # single draws are far from zero


def test_the_index_of_a_group_is_the_weighted_mean_of_its_pairs(employment: np.ndarray) -> None:
    """Ellison-Glaeser of the group = Ellison-Glaeser-Kerr of the pairs, weights w_j w_k: plant sizes drop out."""
    reference = employment.sum(axis=1)
    pairs = formulas.pairwise_coagglomeration(employment, reference)
    size = employment.sum(axis=0) / employment.sum()
    weights = np.outer(size, size)
    np.fill_diagonal(weights, 0.0)
    expected = np.sum(weights * pairs) / weights.sum()
    for plants in ([0.0] * 4, [0.1, 0.02, 0.3, 0.4]):
        assert formulas.ellison_glaeser_coagglomeration(employment, plants) == pytest.approx(
            expected, abs=EXACT
        )


def test_pairs_are_symmetric_and_their_diagonal_is_the_concentration_without_plants(employment) -> None:
    reference = employment.sum(axis=1)
    pairs = formulas.pairwise_coagglomeration(employment, reference)
    np.testing.assert_array_equal(pairs, pairs.T)
    np.testing.assert_allclose(
        np.diag(pairs), formulas.ellison_glaeser(employment, np.zeros(4), reference), rtol=1e-10
    )


# --- Theil -------------------------------------------------------------------------------------------------


def test_theil_within_is_the_weighted_theil_of_the_groups(rng: np.random.Generator) -> None:
    values, population = rng.gamma(1.0, 1.0, 20), rng.gamma(2.0, 1.0, 20)
    groups = np.repeat(["a", "b", "c"], [8, 7, 5])
    result = dispersion.theil(values, population, groups)
    within = sum(
        values[groups == g].sum()
        / values.sum()
        * dispersion.theil(values[groups == g], population[groups == g]).total
        for g in "abc"
    )
    assert result.within == pytest.approx(within, abs=EXACT)
    assert result.total == pytest.approx(result.between + result.within, abs=EXACT)
    assert dispersion.theil(values, population).between == pytest.approx(0.0, abs=EXACT)
    assert dispersion.theil(values, population, range(20)).within == pytest.approx(0.0, abs=EXACT)


# --- composite indices -------------------------------------------------------------------------------------


def test_entropy_weights_do_not_depend_on_units_of_measurement_or_the_shape_of_the_panel(rng) -> None:
    panel = rng.gamma(1.0, 1.0, (3, 5, 4))
    result = co.entropy_weights(panel)
    rescaled = co.entropy_weights(panel * [1.0, 1e6, 1e-6, 3.0] + [0.0, 5.0, 1.0, -2.0])
    np.testing.assert_allclose(rescaled.weights, result.weights, rtol=1e-7)
    flat = co.entropy_weights(panel.reshape(15, 4))
    np.testing.assert_array_equal(flat.weights, result.weights)
    np.testing.assert_array_equal(flat.scores.reshape(3, 5), result.scores)
    assert result.weights.sum() == pytest.approx(1.0, abs=EXACT)
    assert result.scores.min() >= 0
    assert result.scores.max() <= 1
    assert (result.zeros == 1).all()  # the smallest of each indicator


def test_entropy_weights_by_hand_with_a_plain_loop(rng: np.random.Generator) -> None:
    values = rng.gamma(1.0, 1.0, (7, 3))
    spread = []
    for column in values.T:
        scaled = (column - column.min()) / (column.max() - column.min()) + 0.01
        parts = scaled / scaled.sum()
        spread.append(1 + sum(p * np.log(p) for p in parts) / np.log(7))
    np.testing.assert_allclose(
        co.entropy_weights(values, shift=0.01).weights, np.array(spread) / sum(spread), rtol=1e-10
    )


def test_less_is_more_turned_round(rng: np.random.Generator) -> None:
    values = rng.gamma(1.0, 1.0, (6, 2))
    turned = values * [1.0, -1.0]
    np.testing.assert_allclose(
        co.entropy_weights(values, ["more", "less"]).scores, co.entropy_weights(turned).scores, rtol=1e-10
    )
    np.testing.assert_allclose(
        co.topsis(values, [1.0, 2.0], ["more", "less"]), co.topsis(turned, [1.0, 2.0]), rtol=1e-10
    )


def test_topsis_puts_the_best_in_everything_at_one_and_ignores_scale(rng: np.random.Generator) -> None:
    values = rng.gamma(1.0, 1.0, (6, 3))
    values = np.vstack([values, values.max(axis=0), values.min(axis=0)])
    closeness = co.topsis(values, [0.2, 0.3, 0.5])
    assert closeness[-2:].tolist() == [1.0, 0.0]
    np.testing.assert_allclose(co.topsis(values * [1.0, 1e6, 1e-3], [2.0, 3.0, 5.0]), closeness, rtol=1e-10)


def test_coupling_of_equal_systems_is_one_and_coordination_is_their_root() -> None:
    level = np.linspace(0.01, 1.0, 25)
    result = co.coupling_coordination(level, level, alpha=0.3)
    np.testing.assert_allclose(result.coupling, 1.0, rtol=EXACT)
    np.testing.assert_allclose(result.coordination, np.sqrt(level), rtol=EXACT)


def test_coupling_without_one_of_the_systems_is_zero() -> None:
    result = co.coupling_coordination([0.0, 0.0], [0.0, 0.8])
    assert result.coordination.tolist() == [0.0, 0.0]
    assert result.level.tolist() == [0.0, 0.4]


@pytest.mark.parametrize(
    ("degree", "words"),
    [
        (0.0, "极度失调"),
        (0.0999, "极度失调"),
        (0.1, "严重失调"),
        (0.5, "勉强协调"),
        (0.9, "优质协调"),
        (1.0, "优质协调"),
    ],
)
def test_grades(degree: float, words: str) -> None:
    assert co.coordination_grade(degree).zh == words


# --- refusals ----------------------------------------------------------------------------------------------

TABLE = [[1.0, 2.0], [3.0, 4.0]]
REFUSED = {
    "share of nothing": (lambda: formulas.share([1.0], [0.0]), DataError, "total is not positive"),
    "negative part": (
        lambda: formulas.share([1.0, -1.0], [2.0, 2.0]),
        DataError,
        "index 1: a part is negative",
    ),
    "infinite": (lambda: formulas.share([np.inf], [2.0]), DataError, "infinite"),
    "text": (lambda: formulas.share(["x"], [2.0]), DataError, "must be numbers"),
    "no area": (lambda: formulas.density([1.0], [0.0]), DataError, "area is not positive"),
    "negative amount": (lambda: formulas.density([-1.0], [1.0]), DataError, "amount is negative"),
    "sector absent": (
        lambda: formulas.location_quotient(0.0, 1.0, 0.0, 1.0),
        DataError,
        "absent from the reference",
    ),
    "hhi of zeros": (lambda: formulas.hhi([0.0, 0.0]), DataError, "is zero"),
    "hhi of a blank": (lambda: formulas.hhi([np.nan, 1.0]), DataError, "blank"),
    "one row of sectors": (
        lambda: formulas.krugman_specialisation([1.0, 2.0]),
        DataError,
        "units in rows",
    ),
    "empty unit": (
        lambda: formulas.krugman_specialisation([[0.0, 0.0], [1.0, 2.0]]),
        DataError,
        "is zero",
    ),
    "reference of another length": (
        lambda: formulas.locational_gini(TABLE, [1.0]),
        DataError,
        "2 units",
    ),
    "unit without reference": (
        lambda: formulas.locational_gini(TABLE, [1.0, 0.0]),
        DataError,
        "no employment",
    ),
    "plants of another length": (lambda: formulas.ellison_glaeser(TABLE, [0.1]), DataError, "2 sectors"),
    "one plant": (lambda: formulas.ellison_glaeser(TABLE, [0.1, 1.0]), DataError, "single plant"),
    "reference in one unit": (
        lambda: formulas.ellison_glaeser(TABLE, [0.1, 0.1], [1.0, 0.0]),
        DataError,
        "one unit",
    ),
    "group of one": (
        lambda: formulas.ellison_glaeser_coagglomeration([[1.0], [2.0]], [0.1]),
        DataError,
        "two sectors",
    ),
    "theil lengths": (lambda: dispersion.theil([1.0, 2.0], [1.0]), DataError, "do not match"),
    "theil without people": (lambda: dispersion.theil([1.0, 2.0], [1.0, 0.0]), DataError, "population"),
    "constant indicator": (lambda: co.entropy_weights([[1.0, 2.0], [1.0, 3.0]]), DataError, "constant"),
    "one row": (lambda: co.entropy_weights([[1.0, 2.0]]), DataError, "two rows"),
    "unknown direction": (
        lambda: co.entropy_weights(TABLE, ["up", "more"]),
        SpecificationError,
        "'more' or 'less'",
    ),
    "too few directions": (lambda: co.topsis(TABLE, [1.0, 1.0], ["more"]), SpecificationError, "2 words"),
    "negative shift": (lambda: co.entropy_weights(TABLE, shift=-1.0), SpecificationError, "shift"),
    "weights of another length": (lambda: co.topsis(TABLE, [1.0]), SpecificationError, "2 indicators"),
    "index above one": (lambda: co.coupling_coordination([1.2], [0.5]), DataError, "outside 0 to 1"),
    "index blank": (lambda: co.coupling_coordination([np.nan], [0.5]), DataError, "blank"),
    "indices of two shapes": (
        lambda: co.coupling_coordination([0.1], [0.1, 0.2]),
        DataError,
        "different shapes",
    ),
    "alpha": (lambda: co.coupling_coordination([0.1], [0.1], alpha=2.0), SpecificationError, "alpha"),
    "grade of nothing": (lambda: co.coordination_grade(float("nan")), DataError, "between 0 and 1"),
}


@pytest.mark.parametrize(("call", "error", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals(call, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
