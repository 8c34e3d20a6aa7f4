"""Indices on labelled tables: equal to those on arrays, whatever the order; refusals name unit, sector, period."""

from __future__ import annotations

import doctest

import numpy as np
import pandas as pd
import pytest

from spatial_zb import AlignmentError, DataError, SpecificationError, indices
from spatial_zb.core import indices as formulas
from spatial_zb.core.indices import composite
from spatial_zb.indices import composite as labelled_composite
from spatial_zb.indices import concentration as labelled_concentration
from spatial_zb.indices import specialisation as labelled_specialisation

#: Sums of a few hundred shares in another order.
EXACT = 1e-12
UNITS, SECTORS, YEARS = [f"33{i:02d}" for i in range(7)], ["ict", "rd", "food"], [2017, 2019, 2020]


def amounts(seed: int = 1) -> pd.DataFrame:
    """Employment of units in sectors in one period."""
    return pd.DataFrame(np.random.default_rng(seed).gamma(1.0, 100.0, (7, 3)), UNITS, SECTORS)


def years() -> pd.DataFrame:
    """The same by (unit, period), rows in no order."""
    long = pd.concat({y: amounts(y) for y in YEARS}, names=["period", "unit"]).swaplevel()
    return long.sample(frac=1, random_state=1)


HHI = pd.Series({"food": 0.02, "rd": 0.2, "ict": 0.1})
EVEN = pd.Series(np.arange(1.0, 8), UNITS)
ABROAD = pd.Series({"rd": 500.0, "food": 9000.0, "ict": 800.0})

#: name: (function of a labelled table, the same on the array of one period).
BY_PERIOD = {
    "location quotients": (
        lambda t: indices.location_quotients(t, ABROAD),
        lambda a: formulas.location_quotient(
            a, a.sum(axis=1, keepdims=True), ABROAD[SECTORS].to_numpy(), ABROAD.sum()
        ),
    ),
    "location quotients of the units together": (
        indices.location_quotients,
        lambda a: formulas.location_quotient(a, a.sum(axis=1, keepdims=True), a.sum(axis=0), a.sum()),
    ),
    "shares": (indices.shares, lambda a: a / a.sum(axis=1, keepdims=True)),
    "density": (lambda t: indices.density(t, EVEN[::-1]), lambda a: a / EVEN.to_numpy()[:, None]),
    "herfindahl of units": (indices.herfindahl, lambda a: formulas.hhi(a, axis=1)),
    "herfindahl of sectors": (
        lambda t: indices.herfindahl(t, "sectors"),
        lambda a: formulas.hhi(a, axis=0),
    ),
    "krugman": (indices.krugman_specialisation, formulas.krugman_specialisation),
    "krugman abroad": (
        lambda t: indices.krugman_specialisation(t, ABROAD),
        lambda a: formulas.krugman_specialisation(a, ABROAD[SECTORS]),
    ),
    "gini": (indices.locational_gini, formulas.locational_gini),
    "gini against": (
        lambda t: indices.locational_gini(t, EVEN[::-1]),
        lambda a: formulas.locational_gini(a, EVEN),
    ),
    "ellison-glaeser": (
        lambda t: indices.ellison_glaeser(t, HHI),
        lambda a: formulas.ellison_glaeser(a, HHI[SECTORS]),
    ),
    "co-agglomeration": (
        lambda t: indices.coagglomeration(t, HHI),
        lambda a: formulas.ellison_glaeser_coagglomeration(a, HHI[SECTORS]),
    ),
    "pairs": (indices.pairwise_coagglomeration, formulas.pairwise_coagglomeration),
}


def test_the_examples_in_the_docstrings():
    results = [
        doctest.testmod(module)
        for module in (labelled_specialisation, labelled_concentration, labelled_composite)
    ]
    assert not any(result.failed for result in results)
    assert all(">>>" in getattr(indices, name).__doc__ for name in indices.__all__ if name != "EntropyIndex")


@pytest.mark.parametrize("case", BY_PERIOD)
def test_values_are_those_of_arrays(case):
    labelled, plain = BY_PERIOD[case]
    np.testing.assert_allclose(labelled(amounts()), plain(amounts().to_numpy()), rtol=EXACT)


@pytest.mark.parametrize("case", BY_PERIOD)
def test_order_of_rows_and_columns_changes_nothing(case):
    labelled, _ = BY_PERIOD[case]
    there = labelled(amounts())
    back = labelled(amounts().iloc[::-1, [2, 0, 1]])
    if isinstance(there, pd.DataFrame):
        back = back.loc[there.index, there.columns]
    elif isinstance(there, pd.Series):
        back = back.loc[there.index]
    np.testing.assert_allclose(back, there, rtol=EXACT)


@pytest.mark.parametrize("case", BY_PERIOD)
def test_every_period_is_that_period_alone(case):
    labelled, _ = BY_PERIOD[case]
    found = labelled(years())
    for year in YEARS:
        alone = labelled(amounts(year))
        if isinstance(found.index, pd.MultiIndex):
            part = found.xs(year, level="period")
            part = part.loc[alone.index] if "unit" in found.index.names else part
        else:
            part = found.loc[year]
        np.testing.assert_allclose(part, alone, rtol=EXACT)


def test_rows_of_a_panel_keep_their_labels():
    for index in (indices.location_quotients, indices.shares, indices.krugman_specialisation):
        assert index(years()).index.equals(years().index)


def test_a_total_that_holds_more_than_the_sectors():
    table = amounts().assign(all=1000.0)
    reference = pd.concat([ABROAD, pd.Series({"all": 20_000.0})])
    found = indices.location_quotients(table, reference, total="all")
    assert list(found) == SECTORS
    assert found.loc["3303", "rd"] == pytest.approx(table.loc["3303", "rd"] / 1000 / (500 / 20_000))


def test_a_reference_region_by_year():
    abroad = pd.DataFrame({2017: ABROAD, 2019: 2 * ABROAD, 2020: ABROAD.iloc[::-1].to_numpy()}).T
    abroad.columns = ABROAD.index
    found = indices.location_quotients(years(), abroad.iloc[::-1])
    alone = indices.location_quotients(amounts(2020), abroad.loc[2020])
    np.testing.assert_allclose(found.xs(2020, level="period").loc[UNITS], alone, rtol=EXACT)
    assert found.attrs["reference"] == "given"
    assert indices.location_quotients(amounts()).attrs["reference"] == "sum of the units of the table"


def test_a_sector_a_unit_does_not_have_has_the_quotient_zero():
    table = amounts()
    table.loc["3302", "rd"] = 0
    assert indices.location_quotients(table).loc["3302", "rd"] == 0


def test_composites_are_those_of_arrays():
    table = years()
    found = indices.entropy_weights(table, less=["food"])
    plain = composite.entropy_weights(table.to_numpy(), ["more", "more", "less"])
    np.testing.assert_allclose(found.indicators["weight"], plain.weights, rtol=EXACT)
    np.testing.assert_allclose(found.scores, plain.scores, rtol=EXACT)
    assert found.indicators["zeros"].tolist() == [1, 1, 1]  # the worst cell of each
    ideal = indices.topsis(table, less=["food"])
    np.testing.assert_allclose(
        ideal, composite.topsis(table.to_numpy(), plain.weights, ["more", "more", "less"]), rtol=EXACT
    )
    pair = indices.coupling_coordination(found.scores, ideal[::-1])
    plain_pair = composite.coupling_coordination(found.scores, ideal)
    np.testing.assert_allclose(pair["coordination"], plain_pair.coordination, rtol=EXACT)
    assert pair.index.equals(table.index)


def test_whole_numbers_as_ids_are_their_text():
    table, area = amounts(), EVEN.copy()
    table.index = table.index.astype(int)
    np.testing.assert_array_equal(indices.density(table, area), indices.density(amounts(), area))
    assert indices.density(table, area).index.equals(table.index)


def test_topsis_of_indicators_that_hardly_vary_keeps_its_digits():
    """Far from zero the root of the sum of squares is one number, so that closeness knows differences alone."""
    near = pd.DataFrame({"a": [0.0, 1.0, 4.0, 8.0], "b": [8.0, 2.0, 1.0, 0.0]})
    even = pd.Series({"a": 1.0, "b": 1.0})
    to_best, to_worst = (
        np.hypot(*(near - near.max()).to_numpy().T),
        np.hypot(*(near - near.min()).to_numpy().T),
    )
    np.testing.assert_allclose(
        indices.topsis(near + 2.0**43, even), to_worst / (to_best + to_worst), rtol=1e-10
    )


def changed(unit: str, sector: str, value: object) -> pd.DataFrame:
    table = amounts().astype({sector: object})
    table.loc[unit, sector] = value
    return table


def without(sector: str) -> pd.DataFrame:
    return amounts().assign(**{sector: 0.0})


REFUSED = {
    "blank": (lambda: indices.shares(changed("3302", "rd", None)), DataError, ["3302 rd", "blank"]),
    "negative": (lambda: indices.herfindahl(changed("3302", "rd", -1)), DataError, ["3302 rd"]),
    "text": (lambda: indices.shares(changed("3302", "rd", "many")), DataError, ["'rd'", "3302", "text"]),
    "an array": (lambda: indices.shares(np.ones((2, 2))), DataError, ["DataFrame"]),
    "a unit twice": (
        lambda: indices.shares(amounts().rename(index={"3301": "3300"})),
        DataError,
        ["rows twice: 3300"],
    ),
    "an empty unit": (
        lambda: indices.shares(amounts().assign(ict=0, rd=0, food=[0, 1, 1, 1, 1, 1, 1])),
        DataError,
        ["3300"],
    ),
    "an empty sector": (lambda: indices.locational_gini(without("rd")), DataError, ["rd", "Leave"]),
    "an empty sector in a year": (
        lambda: indices.ellison_glaeser(
            years().where(lambda t: ~(t.index.get_level_values("period") == 2019)[:, None] | (t > 1e9), 0.0),
            HHI,
        ),
        DataError,
        ["ict", "2019"],
    ),
    "a sector the reference lacks": (
        lambda: indices.location_quotients(amounts(), ABROAD.drop("rd")),
        AlignmentError,
        ["rd", "reference"],
    ),
    "a sector with zero reference": (
        lambda: indices.location_quotients(amounts(), ABROAD.where(ABROAD.index != "rd", 0.0)),
        DataError,
        ["rd"],
    ),
    "a total that is less": (
        lambda: indices.shares(amounts().assign(all=1.0), "all"),
        DataError,
        ["'all'", "does not contain"],
    ),
    "no such total": (lambda: indices.shares(amounts(), "all"), DataError, ["'all'", "ict"]),
    "no area": (lambda: indices.density(amounts(), EVEN.drop("3304")), AlignmentError, ["3304", "area"]),
    "area of zero": (lambda: indices.density(amounts(), EVEN * 0), DataError, ["3300", "not positive"]),
    "no plants": (
        lambda: indices.ellison_glaeser(amounts(), HHI.drop("food")),
        AlignmentError,
        ["food", "plant_hhi"],
    ),
    "one plant": (lambda: indices.ellison_glaeser(amounts(), HHI * 0 + 1), DataError, ["single plant"]),
    "an unlabelled area": (lambda: indices.density(amounts(), np.ones(7)), DataError, ["Series"]),
    "levels without period": (
        lambda: indices.shares(years().rename_axis(["unit", "year"])),
        DataError,
        ["'period'"],
    ),
    "less of nothing": (
        lambda: indices.entropy_weights(amounts(), less=["wage"]),
        SpecificationError,
        ["'wage'"],
    ),
    "other rows": (
        lambda: indices.coupling_coordination(EVEN / 10, EVEN.drop("3304") / 10),
        AlignmentError,
        ["3304"],
    ),
    "a reference without anything": (
        lambda: indices.location_quotients(amounts(), ABROAD * 0),
        DataError,
        ["reference region has no employment"],
    ),
    "a reference total that is less": (
        lambda: indices.location_quotients(
            amounts().assign(all=1e12), pd.concat([ABROAD, pd.Series({"all": 1.0})]), "all"
        ),
        DataError,
        ["'all'", "does not contain"],
    ),
    "a total and nothing else": (
        lambda: indices.shares(amounts()[["ict"]], "ict"),
        DataError,
        ["no column but"],
    ),
    "periods without order": (
        lambda: indices.herfindahl(
            pd.concat({2010: amounts(), "2011": amounts()}, names=["period", "unit"]), "sectors"
        ),
        DataError,
        ["2010", "'2011'"],
    ),
    "a reference without the year": (
        lambda: indices.locational_gini(years(), years()["ict"].xs(2017, level="period", drop_level=False)),
        AlignmentError,
        ["nothing for 2019"],
    ),
    "a shift that is no number": (
        lambda: indices.entropy_weights(amounts(), shift=np.nan),
        SpecificationError,
        ["shift", "nan"],
    ),
    "alpha as text": (
        lambda: indices.coupling_coordination(EVEN / 10, EVEN / 10, alpha="0.5"),
        SpecificationError,
        ["alpha", "'0.5'"],
    ),
    "of what": (lambda: indices.herfindahl(amounts(), "rows"), SpecificationError, ["'rows'"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_culprit(case):
    action, error, words = REFUSED[case]
    with pytest.raises(error) as caught:
        action()
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)


def test_the_callers_table_is_not_changed():
    table = changed("3302", "rd", "12.5")
    before = table.copy()
    indices.shares(table)
    pd.testing.assert_frame_equal(table, before)
